"""The tables of docs/results/evaluation.md, and those of docs/reference/metrics.md, from docs/evaluation/*.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from page_table import kept, made, table

Figures = dict[str, Any]
WIDENED, OVER_TRAININGS = "covered BCa widened to t", "methods covered by patients and trainings"
METRICS = ("Dice", "IoU", "HD", "HD95", "ASSD")
DATA = {"metrics": "made-up hearts, 256 x 256 x 12", "metrics_acdc": "ACDC, ES against ED"}


def percent(share: Figures) -> str:
    return f"{100 * share['share']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def short(share: Figures) -> str:
    return f"{100 * share['share']:.0f} %"


# ---------------------------------------------------------------------- simulated studies


def about(data: Figures) -> str:
    seconds = sum(part["cpu_seconds"] for part in data["parts"])
    return f"{data['parts'][0]['studies']} studies per row, seed {data['seed']}, {seconds:.0f} s of processor time in all, {made(data)}"


def swapped(data: Figures) -> str:
    parts = [part for part in data["parts"] if part["scenario"]["swapped"]]
    rows = [[part["n"], percent(part["any_holm"]), percent(part["each_uncorrected"])] for part in parts]
    rows.append([f"all {data['swapped_together']['of']} studies", percent(data["swapped_together"]), None])
    return table(["patients", "any false difference", "single tests"], rows)


def reseeded(data: Figures) -> str:
    rows = []
    for part in (part for part in data["parts"] if not part["scenario"]["gain"]):
        several = part["scenario"]["trainings"] > 1
        of = part["scenario"]["name"].removeprefix("reseeded, ")
        rows.append([of, part["n"], percent(part["any_holm"]), percent(part["any_holm_runs"]) if several else None])
    return table(["trainings per arm", "patients", "patients alone", "patients and trainings"], rows)


def coverage(data: Figures) -> str:
    """One row per scenario and number of patients; Dice and HD of all structures in each cell."""
    kinds = list(dict.fromkeys(kind for part in data["parts"] for kind in part["coverage"]))
    rows = []
    for part in data["parts"]:
        found = [part["coverage"].get(kind) for kind in kinds]
        rows.append([part["scenario"]["name"], part["n"], *(f and " / ".join(map(short, f.values())) for f in found)])
    titles = [kind.removeprefix("covered ").replace("methods covered by", "method:") for kind in kinds]
    return table(["scenario", "patients", *(f"{title} (Dice / HD)" for title in titles)], rows)


def power(data: Figures) -> str:
    gain = [part for part in data["parts"] if part["scenario"]["gain"] and not part["scenario"]["swapped"]]
    columns = list(gain[0]["true_difference"])
    truth = [f"{gain[0]['true_difference'][c]:+.{4 if 'Dice' in c else 2}f}{' mm' if 'HD' in c else ''}" for c in columns]
    rows = [["the true difference", None, *truth, None]]
    rows += [
        [part["scenario"]["trainings"], part["n"], *(short(part["each_holm_runs"][c]) for c in columns), short(part["any_holm_runs"])]
        for part in gain
    ]
    return table(["trainings per arm", "patients", *columns, "any"], rows)


def confirmation(explored: Figures, confirmed: Figures) -> str:
    """Both corrected rules in the studies they were chosen by and in fresh ones, and what the fresh ones say."""
    rows, widened, trained, false = [], [], [], []
    for pair in zip(explored["parts"], confirmed["parts"], strict=True):
        scenario, n = pair[1]["scenario"], pair[1]["n"]
        same = scenario["swapped"] or not scenario["gain"]
        cells = [
            found and " / ".join(f"{100 * c['share']:.1f}" for c in found.values()) + " %"
            for kind in (WIDENED, OVER_TRAININGS)
            for found in (part["coverage"].get(kind) for part in pair)
        ]
        rows.append([scenario["name"], n, *cells, *(short(part["any_holm_runs"]) if same else None for part in pair)])
        widened += [c["share"] for c in pair[1]["coverage"][WIDENED].values()]
        trained += [c["share"] for c in pair[1]["coverage"].get(OVER_TRAININGS, {}).values()]
        false += [pair[1]["any_holm_runs"]["share"]] if same and scenario["trainings"] > 1 else []
    both = [f"{what}, {when}" for what in ("widened", "over trainings", "false") for when in ("exploration", "confirmation")]
    return (
        f"{table(['scenario', 'patients', *both], rows)}\n"
        f"In the confirmation the widened interval holds the truth in {100 * min(widened):.1f} to {100 * max(widened):.1f} % of studies, "
        f"the interval over patients and trainings in {100 * min(trained):.1f} to {100 * max(trained):.1f} %, and where trainings are "
        f"repeated a difference between methods is stated falsely in at most {100 * max(false):.1f} %. "
        f"{sum(share < 0.95 for share in widened)} of the {len(widened)} shares of the widened interval lie below 95 %."
    )


def between(data: Figures) -> str:
    """The test between groups: single tests, and studies with any finding."""
    rows = [
        [part["scenario"], " + ".join(map(str, part["sizes"])), *(percent(part[k]) for k in ("Dice", "HD", "any_holm"))]
        for part in data["parts"]
    ]
    said = (
        f"{data['parts'][0]['studies']} studies per row, seed {data['seed']}, {data['cpu_seconds']:.0f} s of processor time, {made(data)}"
    )
    return f"{said}\n\n{table(['studies', 'patients', 'single tests, Dice', 'single tests, HD', 'any of six, after Holm'], rows)}"


# ---------------------------------------------------------------------- distances


def agreement() -> str:
    """Largest absolute difference from medpy per metric."""
    found = {f"{what}, {kept(f'evaluation/{name}')['cases']} cases": kept(f"evaluation/{name}") for name, what in DATA.items()}
    found["random masks: one voxel, noise, touching boxes; spacings up to 1:20"] = kept("evaluation/metrics")["random"]
    rows = []
    for what, figures in found.items():
        largest = [figures["max_abs_difference"][metric] for metric in METRICS]
        rows.append([what, figures["pairs_of_masks"], *("0" if value == 0 else f"{value:.1g}" for value in largest)])
    first = kept("evaluation/metrics")
    text = "Largest absolute difference between this package and medpy on the same masks, distances in mm; 0 is equality to the last bit"
    return (
        f"{text} (`tests/benchmarks/metrics.py`; medpy {first['medpy']}, {made(first)[:-1]}):\n\n{table(['data', 'masks', *METRICS], rows)}"
    )


def speed() -> str:
    """Times per case and their ratios, each from one run."""
    rows = []
    for name, what in DATA.items():
        found = kept(f"evaluation/{name}")
        seconds = found["cpu_s_per_case"]
        each = [f"{seconds['medpy']:.2f} s", f"{seconds['distances']:.4f} s", f"{found['speedup']:.0f}x"]
        rows.append([f"{what}, {found['cases']} cases", *each, f"{seconds['native']:.4f} s", f"{found['speedup_with_all_metrics']:.0f}x"])
    text = (
        "Process CPU time per case of RV, MYO and LV, all in the same run. The first ratio is for HD, HD95 and ASSD together, the last "
        "for all metrics at once (with Dice, IoU, surface Dice, the other HD95 and volumes):"
    )
    return f"{text}\n\n{table(['data', 'medpy, whole volume', 'HD, HD95, ASSD', 'ratio', 'all metrics', 'ratio'], rows)}"


def start() -> str:
    found = kept("evaluation/metrics")["start_s"]
    first = f"`synthaug compare` needs {found['cpu']:.1f} s of CPU time to its first sentence"
    return f"{first} ({found['wall']:.1f} s on the clock of a busy machine, fastest of five)."


def other_definitions() -> str:
    """How far other definitions lie from ours on the same masks, in mm."""
    kinds = {
        "HD95: larger of the two directed percentiles (MONAI, MetricsReloaded)": "hd95_larger_of_directed_minus_pooled",
        "ASSD: mean of the two directed means (medpy up to 0.4, panoptica)": "assd_mean_of_means_minus_pooled",
        "HD of the library surface-distance (surface through corners)": "library_hd_minus_ours",
        "HD95 of the library surface-distance (corners, areas, directed)": "library_hd95_minus_ours",
    }
    files = [kept(f"evaluation/{name}") for name in DATA]
    rows = []
    for text, key in kinds.items():
        found = [figures.get(key) or {k: figures["surface_dice"][f"{key}_{k}"] for k in ("mean", "largest")} for figures in files]
        rows.append([text, *(cell for f in found for cell in (f"{f['mean']:+.2f}", f"{f['largest']:.1f}"))])
    titles = [f"{what}: {k}" for what in DATA.values() for k in ("mean", "largest")]
    return table(["other definition minus ours [mm]", *titles], rows)


def _confirmed(make: Callable[[Figures], str]) -> Callable[[], str]:
    return lambda: make(kept("evaluation/confirmation"))


FIGURES: dict[str, Callable[[], str]] = {
    "agreement": agreement,
    "speed": speed,
    "start": start,
    "other definitions": other_definitions,
    **{f"simulations {make.__name__}": _confirmed(make) for make in (about, swapped, reseeded, coverage, power)},
    "simulations between groups": lambda: between(kept("evaluation/groups")),
    "simulations confirmation": lambda: confirmation(kept("evaluation/simulations"), kept("evaluation/confirmation")),
}
