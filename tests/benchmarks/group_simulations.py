"""How often the test between vendors and hospitals is right: simulated studies whose truth is known.

python tests/benchmarks/group_simulations.py [--studies 500] [--out docs/evaluation/groups.json]

Patients and arms are those of ``simulations.py``. A minute or two on one core; nothing is read.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import simulations

from evaluation.analysis.statistics import ALPHA, between_groups, holm
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import write_json

SEED = 20261129
SIZES = ((20, 20), (10, 30), (10, 20, 50))
#: Of each test; the report makes more, which takes ten times as long and changes little.
RESAMPLES = 999


@dataclass(frozen=True)
class Groups:
    """Two arms on groups of patients.

    ``harder``: by how much (in SD of patients) the first group is harder. ``alike``: the arms are the same by construction. ``gain``: of
    the logit of Dice in all groups but the first. ``luck``: SD of the logit of Dice of a training in a group, each group by itself.
    """

    name: str
    depends: bool
    harder: float = 0.0
    alike: bool = False
    gain: float = 0.0
    luck: float = 0.0
    trainings: int = 1


SCENARIOS = (
    Groups("equal groups, equal arms", False, alike=True),
    Groups("first group harder, equal arms", False, harder=1.0, alike=True),
    Groups("the same method trained again, 1 training", False, luck=0.03),
    Groups("the same method trained again, 3 trainings", False, luck=0.03, trainings=3),
    Groups("gain in all groups but the first", True, gain=0.2),
)


def study(scenario: Groups, sizes: tuple[int, ...], rng: np.random.Generator, n_resamples: int = RESAMPLES) -> np.ndarray:
    """P-values (6,) of one study, in the order of ``simulations.COLUMNS``."""
    base = simulations.Scenario("", scenario.trainings, swapped=scenario.alike)
    groups = []
    for i, n in enumerate(sizes):
        hardness = simulations.patients(n, rng) - (scenario.harder if i == 0 else 0.0)
        gains = (0.0, scenario.gain if i else 0.0)
        baseline, augmented = (
            simulations.arm(base, hardness, scenario.luck * rng.normal(size=(scenario.trainings, 3)), gain, rng).mean(axis=1)
            for gain in gains
        )
        sign = rng.choice([-1, 1], n)[:, None] if scenario.alike else 1
        groups.append(sign * (augmented - baseline))
    columns = range(len(simulations.COLUMNS))
    return np.array([between_groups([group[:, c] for group in groups], n_resamples=n_resamples) for c in columns])


def part(scenario: Groups, sizes: tuple[int, ...], studies: int, n_resamples: int = RESAMPLES) -> dict[str, Any]:
    """All studies of one scenario and sizes of groups: share of single tests below 0.05 by metric, and of studies with any finding."""
    where = [SEED, SCENARIOS.index(scenario), SIZES.index(sizes)]
    p = np.stack([study(scenario, sizes, np.random.default_rng([*where, i]), n_resamples) for i in range(studies)])
    found = {"scenario": scenario.name, "depends": scenario.depends, "sizes": list(sizes), "studies": studies}
    found |= {name: simulations.share(p[:, columns] < ALPHA) for name, columns in (("Dice", slice(0, 3)), ("HD", slice(3, 6)))}
    return found | {"any_holm": simulations.share((np.stack([holm(row) for row in p]) < ALPHA).any(axis=1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation/groups.json"))
    options = parser.parse_args()
    start = time.process_time()
    parts = [part(scenario, sizes, options.studies) for scenario in SCENARIOS for sizes in SIZES]
    about = {"date": date.today().isoformat(), "version": __version__, "machine": "1 CPU core", "seed": SEED, "resamples": RESAMPLES}
    write_json(options.out, about | {"parts": parts, "cpu_seconds": round(time.process_time() - start, 1)})
    print(f"simulations: {options.out}")


if __name__ == "__main__":
    main()
