"""What the main mixes gain on other scanners and on the own one, as points with intervals: docs/images/other-scanners.png.

    python tests/benchmarks/scanners_picture.py

From docs/benchmarks/other-scanners.json, which study S3 of hearts.py writes.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from page_table import DOCS, kept

from evaluation.report.style import AUGMENTED_COLOUR, BASELINE_COLOUR, GREY, INK, RULE, STRUCTURE_COLOURS, sober

#: Heading -> arm -> in plain words.
ARMS = {
    "in three looks of other scanners": {
        "copies+phantom_3looks50to00": "copies and phantoms",
        "mix+phantom_donor_3looks50to00": "rendered, and phantoms",
        "bent_3looks50to00": "bent copies",
        "mix_donor_3looks50to00": "rendered: generated, in patients' pixels",
        "mix_painter_3looks50to00": "generated, painted",
        "mix_3looks50to00": "generated, decoded",
        "mix+phantom_donor_3looks50to00_DA5": "rendered, and phantoms, on top of DA5",
    },
    "in their own look": {
        "copies+phantom50to00": "copies and phantoms",
        "copies50to00": "copies",
        "mix_painter50to00": "generated, painted",
        "mix50to00": "generated, decoded",
        "mix_donor50to00": "rendered: generated, in patients' pixels",
    },
    "heavy augmentation of real patients": {"real_DA5": "nnU-Net's DA5", "real_DAExtGPU": "SmaugLab 2.0"},
}
#: Arms that answer other questions; the page tells of them.
LEFT_OUT = {"copies+phantom_3looks50", "copies+phantom_3painted50to00", "copies+phantom_3levels50to00"}
PANELS = {"pooled": "three other scanners", "validation": "ACDC, the training patients' scanner"}


def main() -> None:
    found = kept("benchmarks/other-scanners")["differences"]
    shown = {arm for arms in ARMS.values() for arm in arms}
    if unknown := set(found["pooled"]) - shown - LEFT_OUT:
        raise SystemExit(f"neither shown nor left out: {', '.join(sorted(unknown))}")
    rows: list[tuple[float, str, str, str]] = []  # height, colour, arm, words
    headings: list[tuple[float, str]] = []
    y = 0.0
    for colour, (heading, arms) in zip((AUGMENTED_COLOUR, STRUCTURE_COLOURS[1], BASELINE_COLOUR), ARMS.items(), strict=True):
        headings.append((y, heading))
        for arm, words in arms.items():
            if arm in found["pooled"]:
                y -= 1
                rows.append((y, colour, arm, words))
        y -= 1.4
    with sober():
        figure, axes = plt.subplots(1, 2, figsize=(9.2, 0.28 * -y + 0.9), sharey=True, sharex=True)
        for panel, (test, title) in zip(axes, PANELS.items(), strict=True):
            panel.axvline(0, color=RULE, lw=1)
            for height, colour, arm, _ in rows:
                one = found[test][arm]
                mean: dict[str, Any] = next(r for r in one["rows"] if (r["structure"], r["metric"]) == ("mean", "Dice"))
                several = len(one["seeds"]) > 2
                panel.plot([mean["ci_low"], mean["ci_high"]], [height] * 2, color=colour, lw=1.8 if several else 1)
                panel.plot(mean["difference"], height, "o", ms=6, mec=colour, mfc=colour if several else "white")
            panel.set_title(title)
            panel.spines["left"].set_visible(False)
            panel.tick_params(axis="y", length=0)
        trainings = {arm: len(found["pooled"][arm]["seeds"]) for _, _, arm, _ in rows}
        axes[0].set_yticks([h for h, *_ in rows], [f"{words} ({trainings[arm]})" for _, _, arm, words in rows])
        for height, heading in headings:
            axes[0].annotate(
                heading,
                (0, height),
                (-6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                color=GREY,
            )
        axes[0].set_xticks([0, 0.05, 0.1], ["0", "+0.05", "+0.10"])
        figure.supxlabel("mean Dice, difference from real patients alone; filled: three trainings, open: fewer", fontsize=9, color=INK)
        figure.tight_layout(w_pad=2)
        figure.savefig(path := DOCS / "images" / "other-scanners.png", dpi=110)
        print(path)


if __name__ == "__main__":
    main()
