"""docs/evaluation.md from the figures in docs/evaluation/, so that no number is typed by hand.

python tests/benchmarks/evaluation_page.py [docs/evaluation]

A new section is a function from one JSON file's content to Markdown, named in ``SECTIONS``; files that do not exist are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnunet_synth_aug.files import read_json, write_text

INTRO = """# Evaluation

How far the numbers of `synthaug compare` can be trusted. Definitions and conventions are in [CORRECTNESS.md](CORRECTNESS.md); what is below
was measured and is written from [evaluation/](evaluation) by `tests/benchmarks/evaluation_page.py`.
"""

SIMULATIONS = """## Simulated studies

Made by `tests/benchmarks/simulations.py`: {studies} studies per row, seed {seed}, {machine}, {seconds:.0f} s of processor time in all,
{date}, version {version}. A study has 10 to 100 patients, two phases, three structures, and Dice and HD of two arms. Dice is bounded
and skewed, HD has heavy tails (2 % of masks have an island far from the heart, 0.2 % have failed: Dice 0, HD 350 mm), and all are
correlated within a patient and a network. Means and spreads are about those of nnU-Net on ACDC. Each study is analysed with the
functions that the report uses. Brackets are 95 % intervals (Clopper-Pearson).

### Two arms that are the same by construction

The values of two different arms are exchanged at random within each patient. Share of studies in which any of the six primary
hypotheses is stated as a difference, after Holm's correction; and share of single uncorrected tests below 0.05.

{swapped}
Over all rows: {pooled}. The test is exact here, so that rates differ from row to row by chance alone.

### The same method, trained again

Both arms are the same method with other seeds, so that every stated difference is a false one about the method. The first column tests
patients alone, as a study with one training per arm must; the second also needs the test over patients and trainings, as the report
does where both arms were trained several times.

{reseeded}
In the first column the tests are not wrong: the two networks do differ, by the luck of training, and the more patients, the surer that
is seen. Therefore a comparison of one training per arm speaks of two networks, not of two methods, and the report says so. Seeds: logit
of Dice varies by {seed_sd} between trainings (about 0.003 of mean Dice), with scarce data by {scarce_sd}.

### Coverage

Share of intervals of the mean difference that hold the truth; nominal 95 %. The truth of the first three is the mean difference of the
trained networks over all patients, that of the last three the mean difference of the methods, over all patients and trainings.

{coverage}
- BCa alone is too narrow: a single failed prediction looks like skewness, and the correction for it moves the interval away from the
  truth. More patients do not mend that while failures are rare. Hence the report widens it to Student's t interval on the side where
  that reaches farther.
- An interval over patients alone does not hold for methods. The report shows it as the headline all the same, because every study has
  it, and beside it the interval over patients and trainings; what it says about a method needs both.
- The two-way bootstrap draws patients, and trainings within each arm. With three trainings it has only ten different draws per arm,
  and it is too narrow where training matters most: scarce data and many patients.
- Fewer than 10 patients were not simulated.
- Widening BCa, and letting the arm whose trainings spread more stand for both, were decided after earlier runs of these simulations
  with the same seed. What they changed is therefore described here, not confirmed on fresh studies. Folds as trainings, and two
  trainings per arm, were not simulated.

### Power

The augmented arm is better by the true difference in the first row. Share of studies that state each difference, and any of them.

{power}
Three trainings tell little about how much trainings differ, so that the larger part of true differences of this size is not stated,
however many patients there are: the rule errs on the side of caution.
"""


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def percent(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def short(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.0f} %"


def simulations(data: dict[str, Any]) -> str:
    parts = data["parts"]
    swapped = [p for p in parts if p["scenario"]["swapped"]]
    gain = [p for p in parts if p["scenario"]["gain"] and not p["scenario"]["swapped"]]
    reseeded = [p for p in parts if not p["scenario"]["gain"]]
    return SIMULATIONS.format(
        **{key: data[key] for key in ("seed", "machine", "date", "version")},
        studies=parts[0]["studies"],
        seconds=sum(p["cpu_seconds"] for p in parts),
        swapped=table(
            ["patients", "any false difference", "single tests"],
            [[str(p["n"]), percent(p["any_holm"]), percent(p["each_uncorrected"])] for p in swapped],
        ),
        pooled=f"{percent(data['swapped_together'])} of {data['swapped_together']['of']} studies",
        reseeded=table(
            ["trainings per arm", "patients", "patients alone", "patients and trainings"],
            [
                [trainings(p), str(p["n"]), percent(p["any_holm"]), percent(p["any_holm_runs"]) if p["scenario"]["trainings"] > 1 else "-"]
                for p in reseeded
            ],
        ),
        seed_sd=f"{min(p['scenario']['seed_sd'] for p in reseeded):g}",
        scarce_sd=f"{max(p['scenario']['seed_sd'] for p in reseeded):g}",
        coverage=coverage(parts),
        power="\n".join(
            power([p for p in gain if p["scenario"]["trainings"] == k]) for k in sorted({p["scenario"]["trainings"] for p in gain})
        ),
    )


def trainings(part: dict[str, Any]) -> str:
    return f"{part['scenario']['trainings']}{', scarce data' if 'scarce' in part['scenario']['name'] else ''}"


def coverage(parts: list[dict[str, Any]]) -> str:
    """One row per scenario and number of patients; Dice and HD of all structures in each cell."""
    kinds = list(dict.fromkeys(kind for p in parts for kind in p["coverage"]))
    rows = []
    for p in parts:
        cells = [" / ".join(short(c) for c in p["coverage"][kind].values()) if kind in p["coverage"] else "-" for kind in kinds]
        rows.append([p["scenario"]["name"], str(p["n"]), *cells])
    titles = [kind.removeprefix("covered ").replace("methods covered by", "method:") for kind in kinds]
    return table(["scenario", "patients", *(f"{t} (Dice / HD)" for t in titles)], rows)


def power(parts: list[dict[str, Any]]) -> str:
    columns = list(parts[0]["true_difference"])
    k = parts[0]["scenario"]["trainings"]
    truth = [f"{parts[0]['true_difference'][c]:+.{4 if 'Dice' in c else 2}f}{' mm' if 'HD' in c else ''}" for c in columns]
    rows = [["true difference", *truth, ""]]
    for p in parts:
        rows.append([f"{p['n']} patients", *(short(p["each_holm_runs"][c]) for c in columns), short(p["any_holm_runs"])])
    return table([f"{k} training{'s' if k > 1 else ''} per arm", *columns, "any"], rows)


#: File in docs/evaluation/ -> its section, in the order of the page.
SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {"simulations.json": simulations}


def write_page(folder: Path) -> Path:
    """``folder``.md beside ``folder``, from the JSON files in it."""
    page = folder.with_suffix(".md")
    sections = [make(read_json(folder / name)) for name, make in SECTIONS.items() if (folder / name).is_file()]
    write_text(page, "\n".join([INTRO, *sections]))
    return page


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/evaluation")))
