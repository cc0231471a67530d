"""The sections of docs/results/evaluation.md from the figures in docs/evaluation: no number is typed by hand.

A section is a function from the contents of all JSON files there (by name) to Markdown, named in ``SECTIONS`` with the file without
which it is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import metrics_page
import report_section
from metrics_page import Files, wrapped
from page_table import table

from nnunet_synth_aug.core.files import read_json

SIMULATIONS = """## Simulated studies

Made by `tests/benchmarks/simulations.py`: {studies} studies per row, seed {seed}, {machine}, {seconds:.0f} s of processor time in all,
{date}, version {version}. {which}A study has 10 to 100 patients, two phases, three structures, and Dice and HD of two arms. Dice is bounded
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
- Folds as trainings, and two trainings per arm, were not simulated.

### Power

The augmented arm is better by the true difference in the first row. Share of studies that state each difference, and any of them.

{power}
Three trainings tell little about how much trainings differ, so that the larger part of true differences of this size is not stated,
however many patients there are: the rule errs on the side of caution.
"""

WHICH = """All tables but the last are of studies that no rule of the report was chosen by, see
[exploration and confirmation](#exploration-and-confirmation).

"""

CONFIRMATION = """### Exploration and confirmation

Two rules of the report were decided after looking at simulated studies of seed {before} (exploration, {date}): the BCa interval is
widened to Student's t, and where trainings vary, the arm whose trainings spread more stands for both. Then both were left as they are, and
the studies of seed {after} (confirmation) were made once. Coverage is of Dice / HD; the last two columns are the share of studies that
state any difference, as the report does, where there is none.

{rows}
{judged}
"""


def percent(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def short(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.0f} %"


def simulations(files: Files) -> str:
    """Of the confirmation where there is one, and both side by side."""
    explored, confirmed = files["simulations.json"], files.get("confirmation.json")
    if confirmed is None:
        return simulated(explored, "")
    return simulated(confirmed, WHICH) + "\n" + side_by_side(explored, confirmed)


WIDENED, OVER_TRAININGS = "covered BCa widened to t", "methods covered by patients and trainings"


def side_by_side(explored: dict[str, Any], confirmed: dict[str, Any]) -> str:
    """Both corrected rules in the studies they were chosen by and in fresh ones."""
    others = {(p["scenario"]["name"], p["n"]): p for p in confirmed["parts"]}
    rows, widened, trained, false = [], [], [], []
    for first in explored["parts"]:
        second = others[first["scenario"]["name"], first["n"]]
        pair = (first, second)
        none = first["scenario"]["swapped"] or not first["scenario"]["gain"]
        cells = [_covered(p, kind) for kind in (WIDENED, OVER_TRAININGS) for p in pair]
        rows.append([first["scenario"]["name"], str(first["n"]), *cells, *(short(p["any_holm_runs"]) if none else "-" for p in pair)])
        widened += [c["share"] for c in second["coverage"][WIDENED].values()]
        trained += [c["share"] for c in second["coverage"].get(OVER_TRAININGS, {}).values()]
        false += [second["any_holm_runs"]["share"]] if none and first["scenario"]["trainings"] > 1 else []
    at_worst = min(confirmed["parts"], key=lambda p: min(c["share"] for c in p["coverage"][WIDENED].values()))
    worst = f"{at_worst['n']} patients ({at_worst['scenario']['name']})"
    judged = (
        f"In the confirmation the widened interval holds the truth in {100 * min(widened):.1f} to {100 * max(widened):.1f} % of studies, "
        f"the interval over patients and trainings in {100 * min(trained):.1f} to {100 * max(trained):.1f} %, and where trainings are "
        f"repeated a difference between methods is stated falsely in at most {100 * max(false):.1f} %. The intervals are cautious in most "
        "rows; "
        f"{_below(widened)} of the {len(widened)} shares of the widened one lie below 95 %, the lowest at {worst}."
    )
    both = [f"{what}, {when}" for what in ("widened", "over trainings", "false") for when in ("exploration", "confirmation")]
    return CONFIRMATION.format(
        before=explored["seed"],
        after=confirmed["seed"],
        date=explored["date"],
        rows=table(["scenario", "patients", *both], rows),
        judged=wrapped(judged),
    )


def _covered(part: dict[str, Any], kind: str) -> str:
    return " / ".join(f"{100 * c['share']:.1f}" for c in part["coverage"][kind].values()) + " %" if kind in part["coverage"] else "-"


def _below(shares: list[float]) -> int:
    return sum(share < 0.95 for share in shares)


def simulated(data: dict[str, Any], which: str) -> str:
    parts = data["parts"]
    swapped = [p for p in parts if p["scenario"]["swapped"]]
    gain = [p for p in parts if p["scenario"]["gain"] and not p["scenario"]["swapped"]]
    reseeded = [p for p in parts if not p["scenario"]["gain"]]
    return SIMULATIONS.format(
        **{key: data[key] for key in ("seed", "machine", "date", "version")},
        studies=parts[0]["studies"],
        which=which,
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


#: File in docs/evaluation/ -> the section that needs it, in the order of the page.
SECTIONS: dict[str, Callable[[Files], str]] = {
    metrics_page.MADE_UP: metrics_page.section,
    report_section.FILE: report_section.section,
    "simulations.json": simulations,
}


def read(folder: Path) -> Files:
    """All figures in ``folder``, by the names of their files."""
    return {path.name: read_json(path) for path in sorted(folder.glob("*.json"))}


def figures(folder: Path) -> str:
    """All sections that the JSON files in ``folder`` allow."""
    files = read(folder)
    return "\n".join(make(files) for name, make in SECTIONS.items() if name in files)
