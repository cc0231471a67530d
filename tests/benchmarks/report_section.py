"""The section of docs/results/evaluation.md about a report on real predictions, from report.json."""

from __future__ import annotations

from typing import Any

from metrics_page import Files
from page_table import table

FILE = "report.json"

SECTION = """## A report on real predictions

{data} {patients} patients, {predictions} predictions per arm; made by `synthaug compare` version {version}, {date}, and shown here
in Chromium by `tests/benchmarks/report_pictures.py` with `--no-images`, because pictures of patients are not published. With images the
section of the most changed and worst cases has a page per patient: both phases, the middle slice and the one with most wrong voxels, ground
truth and both arms.

{headline}
What the report says:

{conclusion}

{failures}

{agreement}
![Top of the report](../images/report_top.png)

![Patients in both arms, and the list of most changed and worst cases](../images/report_patients.png)

![Differences by diagnosis](../images/report_groups.png)

![Clinical volumes with Bland-Altman plots](../images/report_volumes.png)

The same page 400 pixels wide, and the first of its {sheets} sheets as printed to PDF:

![On a telephone](../images/report_narrow.png)

![Printed](../images/report_print.png)
"""


def section(files: Files) -> str:
    found = files[FILE]
    n = found["failures"]
    failed = (
        f"{n} structure{'s' if n != 1 else ''} had exactly one empty mask, in both arms together."
        if n
        else "No structure failed in either arm."
    )
    return SECTION.format(
        **{key: found[key] for key in ("data", "patients", "predictions", "version", "date", "sheets")},
        headline=headline(found),
        conclusion="\n".join(f"> {sentence}\n>" for sentence in found["conclusion"]).removesuffix("\n>"),
        failures=failed,
        agreement=agreement(found),
    )


def headline(found: dict[str, Any]) -> str:
    rows = []
    for row in found["headline"]:
        digits = 3 if row["metric"] == "Dice" else 2
        unit = f" [{row['unit']}]" if row["unit"] else ""
        interval = f"{row['difference']:+.{digits}f} [{row['ci_low']:+.{digits}f}, {row['ci_high']:+.{digits}f}]"
        means = [f"{row[f'{side}_mean']:.{digits}f}" for side in ("baseline", "augmented")]
        p = "-" if row["p_holm"] is None else f"{row['p_holm']:.3f}"
        rows.append([row["structure"], f"{row['metric']}{unit}", *means, interval, p, f"{row['better']} / {row['ties']} / {row['worse']}"])
    return table(["structure", "metric", *found["names"], "difference [95 % CI]", "Holm p", "better / tied / worse"], rows)


def agreement(found: dict[str, Any]) -> str:
    if not found["agreement"]:
        return ""
    names = dict(zip(("baseline", "augmented"), found["names"], strict=True))
    rows = [
        [
            row["quantity"],
            names[row["model"]],
            f"{row['bias']:+.1f}",
            f"{row['limit_low']:+.1f} to {row['limit_high']:+.1f}",
            f"{row['mae']:.1f}",
        ]
        for row in found["agreement"]
    ]
    return table(["ejection fraction [%]", "arm", "bias", "limits of agreement", "mean absolute error"], rows)
