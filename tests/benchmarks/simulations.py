"""How often the statistics of the report are right: simulated studies whose truth is known.

python tests/benchmarks/simulations.py [--studies 500] [--seed 20260501] [--out docs/evaluation/simulations.json]

Writes after every part and, run again with the same seed, goes on where it was. No GPU, one core; nothing is read.
Two rules of the report were chosen after looking at the studies of the default seed; those of ``CONFIRMATION_SEED`` were made once,
after both were fixed: ``--seed 20261124 --out docs/evaluation/confirmation.json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaincinv, expit, stdtrit

from evaluation.analysis.statistics import ALPHA, LEVEL, bca_intervals, holm, over_runs, resampled_means, signed_rank
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import read_json, write_json

STRUCTURES = ("RV", "MYO", "LV")
COLUMNS = tuple(f"{s} {m}" for m in ("Dice", "HD") for s in STRUCTURES)
PATIENTS = (10, 20, 50, 100)
SEED = 20260501
#: Studies that no rule was chosen by.
CONFIRMATION_SEED = 20261124
#: About what nnU-Net reaches on ACDC: mean and SD of the logit of Dice, and of the logarithm of HD in mm.
LOGIT, LOGIT_SD = np.array([2.35, 2.2, 2.95]), np.array([0.50, 0.30, 0.50])
LOG_HD, LOG_HD_SD = np.log([11.0, 8.5, 6.5]), np.array([0.40, 0.35, 0.40])

#: Mean over all patients as a function of the trainings' shifts, for baseline and augmented.
Means = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Scenario:
    """Two arms of ``trainings`` networks each, scored on the same patients.

    ``swapped``: the arms' values are exchanged at random within each patient, so that they are the same by construction.
    ``gain``: by how much the augmented arm raises the logit of Dice (half of it in hard patients alone).
    ``seed_sd``: spread of the logit of Dice between trainings of one arm; ``noise``: of a patient between trainings.
    """

    name: str
    trainings: int = 1
    swapped: bool = False
    gain: float = 0.0
    seed_sd: float = 0.03
    noise: float = 0.12


SCENARIOS = (
    Scenario("swapped", swapped=True, gain=0.1),
    Scenario("reseeded, 1 training", 1),
    Scenario("reseeded, 3 trainings", 3),
    Scenario("reseeded, 5 trainings", 5),
    Scenario("reseeded, scarce data, 1 training", 1, seed_sd=0.1, noise=0.25),
    Scenario("reseeded, scarce data, 3 trainings", 3, seed_sd=0.1, noise=0.25),
    Scenario("gain, 1 training", 1, gain=0.1),
    Scenario("gain, 3 trainings", 3, gain=0.1),
)


def arm(scenario: Scenario, hardness: np.ndarray, shift: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Values of one arm's trainings, phases averaged.

    Args:
        hardness: (n, 2, 3) of patient, phase and structure, standard normal; larger is easier.
        shift: (trainings, 3) of each training and structure, on the logit of Dice.

    Returns:
        (n, trainings, 6) in the order of ``COLUMNS``: Dice is bounded and skewed, HD has heavy tails, and both get worse together.
    """
    n, k = len(hardness), len(shift)
    common = rng.normal(size=(n, k, 2, 1))
    own = 0.7 * common + np.sqrt(1 - 0.7**2) * rng.normal(size=(n, k, 2, 3))
    hard = np.maximum(-hardness, 0)[:, None]
    change = shift[None, :, None] + scenario.noise * own + gain * (0.5 + 0.5 * hard / 0.4)  # the mean of max(-z, 0) is 0.4
    easy = hardness[:, None]
    dice = expit(LOGIT + LOGIT_SD * easy + change)
    hd = np.exp(LOG_HD - 0.7 * LOG_HD_SD * easy - change + 0.25 * rng.normal(size=own.shape))
    hd += np.where(rng.random(own.shape) < 0.02, rng.exponential(30, own.shape), 0)  # islands far from the heart
    failed = rng.random(own.shape) < 0.002
    dice, hd = np.where(failed, 0.0, dice), np.where(failed, 350.0, hd)
    return np.concatenate([dice.mean(axis=2), hd.mean(axis=2)], axis=-1)


def patients(n: int, rng: np.random.Generator) -> np.ndarray:
    """Hardness (n, 2, 3): correlated between the phases of a patient and between structures."""
    of_patient, of_phase, rest = rng.normal(size=(n, 1, 1)), rng.normal(size=(n, 2, 1)), rng.normal(size=(n, 2, 3))
    return np.sqrt(0.5) * of_patient + np.sqrt(0.2) * of_phase + np.sqrt(0.3) * rest


def shifts(scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    """(trainings, 3), structures of one network correlated."""
    k = scenario.trainings
    return scenario.seed_sd * (np.sqrt(0.5) * rng.normal(size=(k, 1)) + np.sqrt(0.5) * rng.normal(size=(k, 3)))


@cache
def expectation(scenario: Scenario, gain: float, seed: int = SEED) -> Callable[[np.ndarray], np.ndarray]:
    """Mean over all patients as a function of a training's shift (trainings, 3): (trainings, 6), by simulation on a grid."""
    grid = np.linspace(-5, 5, 21) * scenario.seed_sd
    rng = np.random.default_rng([seed, 1])
    means = np.zeros((grid.size, len(COLUMNS)))
    repeats = 4
    for _ in range(repeats):
        hardness, state = patients(5000, rng), rng.integers(1 << 31)
        for i, shift in enumerate(grid):  # the same patients and noise everywhere: a smooth curve
            means[i] += arm(scenario, hardness, np.full((1, 3), shift), gain, np.random.default_rng(state))[:, 0].mean(axis=0) / repeats

    def at(shift: np.ndarray) -> np.ndarray:
        by_column = np.concatenate([shift, shift], axis=1)
        return np.stack([np.interp(by_column[:, c], grid, means[:, c]) for c in range(len(COLUMNS))], axis=1)

    return at


def two_way_bootstrap(baseline: np.ndarray, augmented: np.ndarray, rng: np.random.Generator, n_resamples: int = 999) -> np.ndarray:
    """Percentile interval (2,) that draws patients and, within each arm, trainings: the alternative to ``over_runs``."""
    k = baseline.shape[1]
    drawn = resampled_means(np.concatenate([baseline, augmented], axis=1), n_resamples, SEED)
    arms = [np.take_along_axis(x, rng.integers(0, k, (n_resamples, k)), axis=1).mean(axis=1) for x in (drawn[:, :k], drawn[:, k:])]
    found: np.ndarray = np.quantile(arms[1] - arms[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return found


def t_interval(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the columns' means, for comparison."""
    reach = stdtrit(len(d) - 1, (1 + LEVEL) / 2) * d.std(axis=0, ddof=1) / np.sqrt(len(d))
    return d.mean(axis=0) - reach, d.mean(axis=0) + reach


def arms_of_study(scenario: Scenario, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Values (n, trainings, 6) of baseline and augmented on the same patients, and the shifts of their trainings."""
    hardness = patients(n, rng)
    shift = [shifts(scenario, rng) for _ in range(2)]
    gains = (0.0, scenario.gain)
    baseline, augmented = (arm(scenario, hardness, s, g, rng) for s, g in zip(shift, gains, strict=True))
    if scenario.swapped:
        swap = rng.random(n)[:, None, None] < 0.5
        baseline, augmented = np.where(swap, augmented, baseline), np.where(swap, baseline, augmented)
    return baseline, augmented, shift


def study(scenario: Scenario, n: int, at: Means, method: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """One study, analysed as the report does it.

    Args:
        at: of baseline and augmented, from :func:`expectation`.
        method: mean difference (6,) over all patients and trainings.

    Returns:
        Holm p by column over patients alone and over trainings, too; whether mean and ranks agree in direction; whether
        each interval held the truth.
    """
    baseline, augmented, shift = arms_of_study(scenario, n, rng)
    # Of these trained networks.
    truth = method if scenario.swapped else (at[1](shift[1]) - at[0](shift[0])).mean(axis=0)
    d = augmented.mean(axis=1) - baseline.mean(axis=1)
    tests = [signed_rank(column) for column in d.T]
    p = np.array([test.p for test in tests])
    bca, student = bca_intervals(d), t_interval(d)
    report = (
        np.minimum(bca[0], student[0]),
        np.maximum(bca[1], student[1]),
    )  # evaluation.analysis.statistics.mean_intervals, bootstrapped once
    intervals = {"BCa": bca, "Student t": student, "BCa widened to t": report}
    result = {"p": p, "holm": holm(p), "holm_runs": holm(p), "difference": d.mean(axis=0)}
    result["agree"] = np.sign(d.mean(axis=0)) == np.sign([test.rank_biserial for test in tests])
    result |= {f"covered {name}": (low <= truth) & (truth <= high) for name, (low, high) in intervals.items()}
    if scenario.trainings > 1:
        arms = [(baseline[..., c], augmented[..., c]) for c in range(len(COLUMNS))]
        found = [over_runs(*one, paired=False) for one in arms]
        result["holm_runs"] = holm(np.fmax(p, [f.p for f in found]))
        result["methods covered by patients and trainings"] = np.array([f.low <= t <= f.high for f, t in zip(found, method, strict=True)])
        drawn = np.array([two_way_bootstrap(*one, rng) for one in arms])
        result["methods covered by two-way bootstrap"] = (drawn[:, 0] <= method) & (method <= drawn[:, 1])
        low, high = report
        result["methods covered by patients alone"] = (low <= method) & (method <= high)
    return result


def truth_of_methods(scenario: Scenario, at: Means, seed: int = SEED) -> np.ndarray:
    """Mean difference (6,) over all patients and trainings."""
    many = shifts(replace(scenario, trainings=20_000), np.random.default_rng([seed, 2]))
    found: np.ndarray = (at[1](many) - at[0](many)).mean(axis=0)
    return found


def share(hits: np.ndarray) -> dict[str, Any]:
    """Share of true entries with its exact 95 % interval (Clopper and Pearson, Biometrika 1934)."""
    n, k = hits.size, int(np.count_nonzero(hits))
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return {"share": k / n, "low": low, "high": high, "of": n}


def part(scenario: Scenario, n: int, studies: int, seed: int = SEED) -> dict[str, Any]:
    """All studies of one scenario and number of patients."""
    start = time.process_time()
    at = (expectation(scenario, 0.0, seed), expectation(scenario, scenario.gain, seed))
    method = np.zeros(len(COLUMNS)) if scenario.swapped or not scenario.gain else truth_of_methods(scenario, at, seed)
    found = []
    with progress(f"{scenario.name}, {n} patients", studies) as bar:
        for i in range(studies):
            found.append(study(scenario, n, at, method, np.random.default_rng([seed, SCENARIOS.index(scenario), n, i])))
            bar.advance(i + 1)
    rows = {key: np.stack([one[key] for one in found]) for key in found[0]}  # (studies, 6)
    result: dict[str, Any] = {"scenario": asdict(scenario), "n": n, "studies": studies}
    for rule in ("holm", "holm_runs"):
        rejected = (rows[rule] < ALPHA) & rows["agree"]  # a difference is stated only when mean and ranks agree
        result[f"any_{rule}"] = share(rejected.any(axis=1))
        result[f"each_{rule}"] = {c: share(rejected[:, i]) for i, c in enumerate(COLUMNS)}
    result["each_uncorrected"] = share(rows["p"] < ALPHA)
    metrics = {"Dice": slice(0, 3), "HD": slice(3, 6)}
    result["coverage"] = {key: {m: share(rows[key][:, columns]) for m, columns in metrics.items()} for key in rows if "covered" in key}
    result["true_difference"] = dict(zip(COLUMNS, method, strict=True))
    result["sd_of_differences_between_studies"] = dict(zip(COLUMNS, rows["difference"].std(axis=0), strict=True))
    return result | {"cpu_seconds": round(time.process_time() - start, 1)}


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of all swapped studies, of whatever number of patients, in which a difference was stated."""
    found = [p["any_holm"] for p in parts if p["scenario"]["swapped"]]
    return share(np.arange(sum(one["of"] for one in found)) < sum(round(one["share"] * one["of"]) for one in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--patients", type=int, nargs="+", default=list(PATIENTS))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation/simulations.json"))
    options = parser.parse_args()
    before = read_json(options.out) if options.out.is_file() else {"seed": options.seed, "parts": []}
    if before["seed"] != options.seed:
        parser.error(f"{options.out} holds studies of seed {before['seed']}; choose another --out")
    made = before["parts"]
    known = {(p["scenario"]["name"], p["n"], p["studies"]): p for p in made if p["scenario"] in [asdict(s) for s in SCENARIOS]}
    parts = []
    for scenario in SCENARIOS:
        for n in options.patients:
            parts.append(known.get((scenario.name, n, options.studies)) or part(scenario, n, options.studies, options.seed))
            about = {"date": date.today().isoformat(), "version": __version__, "machine": "1 CPU core", "seed": options.seed}
            write_json(options.out, about | {"swapped_together": together(parts), "parts": parts})
    print(f"simulations: {options.out}")


if __name__ == "__main__":
    main()
