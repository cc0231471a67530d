"""The sections of docs/results/demo.md from docs/walkthrough.json, so that no number is typed by hand."""

from __future__ import annotations

from typing import Any

from page_table import table

INTRO = """Machine: {cores} CPU cores, no GPU, Python {python}, version {version}, {date}. Seeds: cohort and generator 0; nnU-Net itself is not
deterministic, so its Dice values differ from run to run. It trained for {iterations} iterations, against 250 000 of a real training.
"""

HEARTS = """
![Cohort and generated hearts](../images/hearts.png)

*Phantom demo, ED above ES, five slices each: two hearts of the cohort (four upper rows), two generated ones that passed the quality control (four
lower rows). Outlines: green RV, orange myocardium, blue LV. Made by `tests/benchmarks/pictures.py`.*

What one sees: the generator starts from the one that ships with the package and has then seen 16 hearts for minutes. Anatomies are sound; images are blurred, the RV most of
all, and its masks fit them least. Where the heart's base leaves a slice in systole, masks can be torn: a frame that is torn in the middle is rejected, and torn ends are left out
of the bank's cases. How good a generator gets with more training: [Generator](generator.md); whether it helps on patients: [Does it help?](utility.md).

![Top of the report](../images/report.png)

*The top of `report/report.html` of the phantom demo.*
"""


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def differences(headline: list[dict[str, Any]], arm: str) -> str:
    """The report's first table."""
    rows = []
    for row in headline:
        interval = f"{row['difference']:+.3f} [{number(row['ci_low'])}, {number(row['ci_high'])}]"
        arms = [number(row["baseline_mean"]), number(row["augmented_mean"])]
        rows.append([row["structure"], f"{row['metric']} {row['unit'] or ''}".strip(), *arms, interval, p_value(row["p_holm"])])
    return table(["structure", "metric", "real only", arm, "difference [95 % CI]", "Holm p"], rows)


def repeated(figures: dict[str, Any], iterations: int) -> str:
    """The section on several trainings of each arm."""
    trainings = figures["trainings"]
    structures = list(trainings[0]["dice"])
    parts = [
        "## How much one such training tells\n",
        f"The demo's arms, and one whose synthetic share falls from 50 % to nothing, trained {trainings[-1]['run']} times more on the same data and bank, {iterations} iterations each; "
        "only nnU-Net's own chance differs. Dice as nnU-Net's validation reports it, mean over ED and ES cases:\n",
        table(["training", "arm", *structures], [[r["run"], r["arm"], *(number(r["dice"][s]) for s in structures)] for r in trainings]),
    ]
    for arm, comparison in figures["comparisons"].items():
        parts.append(f"All of them in one report (`synthaug compare --arm real=... --arm {arm}=...`), real only against {arm}:\n")
        parts += [differences(comparison["headline"], arm), " ".join(comparison["conclusion"]) + "\n"]
    return "\n".join(parts)


def demo(title: str, result: dict[str, Any]) -> str:
    figures = result["figures"]
    parts = [f"## {title}\n\n```bash\n{result['command']}\n```\n"]
    parts.append(
        f"Exit code {result['exit_code']}, {result['seconds'] / 60:.1f} minutes, peak memory of all processes together "
        f"{result['peak_gib']:.1f} GiB, {result['patients_tested']} test patients.\n"
    )
    parts.append(table(["step", "seconds"], [[k, f"{v:.0f}"] for k, v in figures["seconds"].items()]))
    parts.append("Real only against mix50, equal iterations, mean over test patients (ED and ES averaged within a patient first):\n")
    parts.append(differences(figures["headline"], "mix50"))
    parts.append("What the report concludes: " + " ".join(figures["conclusion"]) + "\n")
    share, bank = figures["share"], figures["bank"]
    parts.append(
        f"**Share.** {share['synthetic_samples']} of {share['samples']} training samples were synthetic, counted from the batches that the optimiser "
        f"saw; the name asks for {share['ratio']:.2f}, that is {share['ratio'] * share['samples']:.1f}.\n"
    )
    synthetic, real = bank["closure_synthetic"], bank["closure_real"]
    parts.append(
        f"**Closure.** Last-to-first step over mean step of {bank['n']} generated cines: median {synthetic['median']:.2f} (quartiles {synthetic['q25']:.2f}, "
        f"{synthetic['q75']:.2f}); of the {real['n']} real cines that the generator learnt from: {real['median']:.2f} ({real['q25']:.2f}, {real['q75']:.2f}).\n"
    )
    quality = bank["quality"]
    reasons = ", ".join(f"{name} {n}" for name, n in sorted(quality["reasons"].items(), key=lambda item: -item[1]))
    parts.append(
        f"**Quality control.** {quality['accepted']} of {quality['tries']} samples were accepted ({quality['acceptance_rate']:.0%}); "
        f"{len(quality['given_up'])} requests were given up. Reasons (a sample may have several): {reasons}.\n"
    )
    rows = [
        [k, e["n"], number(e["mean_requested"], 1), number(e["mean_measured"], 1), number(e["mean_absolute_error"], 1)]
        for k, e in bank["priors"].items()
    ]
    parts.append(
        "Requested against measured in the bank, closed loop (pixel size and motion gain calibrated on each sample) and after rejection of misses, so this says nothing about the generator itself:\n"
    )
    parts.append(table(["variable", "n", "requested (mean)", "measured (mean)", "mean absolute error"], rows))
    rows = [[ef, number(r["ef_measured"], 1), number(r["edv_measured"], 0)] for ef, r in result["controllability"].items()]
    parts.append("Open loop, nothing rejected, five hearts each, only EF and an EDV of 150 mL requested:\n")
    parts.append(table(["EF requested [%]", "EF measured [%]", "EDV measured [mL]"], rows))
    return "\n".join(parts)


def ended(figures: dict[str, Any]) -> dict[str, Any]:
    """Date and mean Dice of both arms of the demo that ``figures`` hold."""
    headline = figures["demo_phantom"]["figures"]["headline"]
    mean = next(row for row in headline if (row["structure"], row["metric"]) == ("mean", "Dice"))
    return {"date": figures["machine"]["date"], "real": round(mean["baseline_mean"], 3), "mix50": round(mean["augmented_mean"], 3)}


def runs(figures: dict[str, Any]) -> str:
    """What every run of the phantom demo ended with, so that nobody takes the one below for more than one."""
    shown = ended(figures) | {"date": figures["machine"]["date"] + ", below"}
    told = [*figures["other_runs"], shown]
    below = " ([as below](#how-much-one-such-training-tells))" if "repeats" in figures else ""
    worse = sum(run["mix50"] < run["real"] for run in told)
    listed = "; ".join(f"{run['mix50']:.3f} against {run['real']:.3f} ({run['date']})" for run in told)
    return (
        f"**Do not read one run of the demo as an answer.** In {worse} of {len(told)} runs mix50 was worse than real only. Mean Dice of mix50 against real only: "
        f"{listed}. Half of the patches synthetic, from a generator of minutes, mostly costs so short a training more than it gives, and one training of each arm "
        f"does not tell how much trainings differ: train each several times{below}, and `synthaug compare` does.\n"
    )


def page(figures: dict[str, Any]) -> str:
    """All sections, in Markdown."""
    iterations = figures["demo_phantom"]["figures"]["share"]["samples"] // 8
    parts = [INTRO.format(**figures["machine"], iterations=iterations), demo("The phantom demo", figures["demo_phantom"]), HEARTS]
    if "other_runs" in figures:
        parts.insert(1, runs(figures))
    if "note" in figures:
        parts.insert(1, f"**{figures['note']}**\n")
    if "repeats" in figures:
        parts.append(repeated(figures["repeats"], iterations))
    if "demo_acdc" in figures:
        note = "\nACDC is real patient data (40 cines, Siemens, Dijon; crops around the heart): no picture of it, nor of hearts generated from it, is kept here.\n"
        parts += [demo("The same on real ACDC cines", figures["demo_acdc"]), note]
    if "earlier" in figures:
        parts.append(f"What follows was run on {figures['earlier']['date']}.\n")
    parts.append(
        "## nnU-Net's own commands\n\nEach in a fresh shell with nothing exported but nnU-Net's three folders, on the phantom demo's data.\n"
    )
    parts.append(
        table(
            ["command", "exit code", "seconds"],
            [[f"`{r['command']}`", r["exit_code"], f"{r['seconds']:.0f}"] for r in figures["plain_commands"]],
        )
    )
    leak = figures["leak"]
    parts.append(
        "## A bank that knows a validation patient\n\nFold 0's bank put in the place of fold 1's, whose validation patients its generator was trained on:\n"
    )
    parts.append(
        f"```text\n$ {leak['command']}\n{leak['last_lines'][-1]}\n```\n\nExit code {leak['exit_code']}; checkpoints written: {leak['checkpoints_written']}.\n"
    )
    parts.append("## Bad input\n\nOne sentence each, exit code 2, nothing half-written.\n")
    rows = [[r["case"], r["exit_code"], r["message"], len(r["left_behind"])] for r in figures["bad_inputs"]]
    parts.append(table(["input", "exit code", "message", "files left behind"], rows))
    if "test_suite" in figures:
        suite = figures["test_suite"]
        parts.append(
            f"## Tests\n\nThe whole suite, by the README's second command in a fresh environment: {suite['result']}, {suite['seconds'] / 60:.1f} minutes.\n"
        )
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)
