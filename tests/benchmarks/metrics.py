"""Speed and agreement of the distance metrics against medpy, in one run on one core.

    python tests/benchmarks/metrics.py [--cases 20] [--seed 0] [--data FOLDER] [--out docs/evaluation/metrics.json]

Made-up cases: 256 x 256 x 12 voxels of 1.4 x 1.4 x 10 mm, RV, MYO and LV of truncated ellipsoids; the prediction is
the truth with a smooth boundary error, a stray island in every fourth case and a missed basal slice in every fifth.
With ``--data`` (a folder in ACDC's layout) real ED masks are scored against the ES masks of the same patient.
All see the same arrays. Times are process CPU time per case: medpy's hd, hd95 and assd on the whole volume, as its users call them;
this package's three distances alone; and all its metrics (with Dice, IoU, surface Dice, the other HD95 and volumes), with medpy as the
engine (on the bounding box) and native. Surface Dice is compared with the library surface-distance. ``start_s`` is the time from
``synthaug compare`` to its first sentence. The last line is one JSON object; ``--out`` keeps it for the pages
(metrics.json, and metrics_acdc.json with ``--data``), which ``evaluation_page.py`` writes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage

from evaluation.scoring.metrics import score
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.surface import boxes, summarise, surface_distances, union
from evaluation.scoring.surfels import surface_dice
from evaluation.scoring.table import DISTANCES, TOLERANCE_MM
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import read_nifti, write_json
from nnunet_synth_aug.core.labels import STRUCTURES

Pair = tuple[np.ndarray, np.ndarray, tuple[float, float, float]]
Values = dict[tuple[str, str], float]  # (structure, metric) -> mm
SHAPE, SPACING = (256, 256, 12), (1.4, 1.4, 10.0)
LABELS = {name: (value,) for name, value in STRUCTURES.items()}


def heart(rng: np.random.Generator) -> np.ndarray:
    """Label map of a truncated ellipsoid heart at a random place."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij")
    cx, cy, radius, wall = rng.uniform(110, 146), rng.uniform(110, 146), rng.uniform(15, 22), rng.uniform(5, 8)
    taper = np.sqrt(np.clip(1 - ((z - 1) / 11.5) ** 2, 0, None))  # widest at the base, slice 1; a point at the apex
    distance = np.hypot(x - cx, y - cy)
    mask = np.zeros(SHAPE, np.uint8)
    mask[np.hypot((x - cx + 30) / 1.3, y - cy) < 1.1 * (radius + wall) * taper] = STRUCTURES["RV"]
    mask[distance < (radius + wall) * taper] = STRUCTURES["MYO"]
    mask[distance < radius * taper] = STRUCTURES["LV"]
    mask[..., 0] = 0
    return mask


def spoiled(mask: np.ndarray, rng: np.random.Generator, index: int) -> np.ndarray:
    """The mask with a smooth displacement, and an island or a missed slice in some cases."""
    shift = [ndimage.gaussian_filter(rng.normal(size=mask.shape[:2]), 12) for _ in range(2)]
    x, y = np.meshgrid(np.arange(mask.shape[0]), np.arange(mask.shape[1]), indexing="ij")
    dx, dy = (4 * s / np.abs(s).max() for s in shift)
    moved = np.stack([ndimage.map_coordinates(mask[..., z], [x + dx, y + dy], order=0) for z in range(mask.shape[2])], axis=-1)
    if index % 4 == 0:
        at = rng.integers(30, 90, 2)
        moved[at[0] : at[0] + 3, at[1] : at[1] + 3, 5] = rng.integers(1, 4)
    if index % 5 == 0:
        moved[..., 1] = 0
    return moved.astype(np.uint8)


def made_up(n: int, seed: int) -> Iterator[Pair]:
    rng = np.random.default_rng(seed)
    for index in range(n):
        truth = heart(rng)
        yield spoiled(truth, rng, index), truth, SPACING


def real(folder: Path, n: int) -> Iterator[Pair]:
    for patient in sorted(p for p in folder.iterdir() if p.is_dir())[:n]:
        ed, es = sorted(patient.glob("*_gt.nii.gz"))
        truth, spacing, _ = read_nifti(ed, ndim=3)
        yield read_nifti(es, ndim=3)[0].astype(np.uint8), truth.astype(np.uint8), spacing


#: mm; a pair of masks gets any three.
SIDES = (0.5, 1.0, 1.4, 1.5625, 10.0)


def some_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One voxel, noise of any density, or one to four boxes that may touch the border and each other."""
    mask = np.zeros(shape, np.uint8)
    kind = rng.integers(4)
    if kind == 0:
        mask[tuple(rng.integers(0, shape))] = 1
    elif kind == 1:
        mask[rng.random(shape) < rng.choice([0.01, 0.1, 0.5, 0.95])] = 1
        mask[tuple(rng.integers(0, shape))] = 1
    else:
        for _ in range(rng.integers(1, 5)):
            low = rng.integers(0, shape)
            high = np.minimum(low + rng.integers(1, 9, len(shape)), shape)
            mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def random_pairs(n: int, seed: int) -> Iterator[Pair]:
    """Pairs of masks of 1 to 24 x 1 to 24 x 1 to 7 voxels with spacings up to 1:20."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        shape = tuple(int(k) for k in (*rng.integers(1, 25, 2), rng.integers(1, 8)))
        x, y, z = (float(s) for s in rng.choice(SIDES, 3))
        yield some_mask(rng, shape), some_mask(rng, shape), (x, y, z)


def agreement(pairs: Iterable[Pair], labels: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Largest absolute difference of every metric from medpy's, over all structures that both masks hold."""
    from medpy.metric import binary

    oracles = {"Dice": binary.dc, "IoU": binary.jc, **{m: getattr(binary, m.lower()) for m in DISTANCES}}
    largest, n = dict.fromkeys(oracles, 0.0), 0
    for prediction, truth, spacing in pairs:
        for name, one in score(prediction, truth, spacing, labels).items():
            if one.failure:
                continue  # medpy raises an error
            a, b = (np.isin(mask, labels[name]) for mask in (prediction, truth))
            n += 1
            for metric, oracle in oracles.items():
                expected = oracle(a, b, voxelspacing=spacing) if metric in DISTANCES else oracle(a, b)
                largest[metric] = max(largest[metric], abs(one.values[metric] - float(expected)))
    return {"pairs_of_masks": n, "max_abs_difference": largest}


def whole_volume(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> Values:
    """medpy as its users call it: three functions per structure on the whole volume."""
    from medpy.metric import binary

    return {
        (name, metric): float(getattr(binary, metric.lower())(prediction == value, truth == value, voxelspacing=spacing))
        for name, value in STRUCTURES.items()
        for metric in DISTANCES
    }


def three_distances(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> Values:
    """This package: HD, HD95 and ASSD of every structure, and nothing else."""
    found, result = (boxes(prediction), boxes(truth)), {}
    for name, value in STRUCTURES.items():
        box = union([where[value] for where in found])
        one = summarise(*surface_distances(prediction[box] == value, truth[box] == value, spacing))
        result |= {(name, metric): one[metric] for metric in DISTANCES}
    return result


def distances(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float], engine: str) -> Values:
    """This package: every metric of every structure."""
    scores = score(prediction, truth, spacing, LABELS, ScoringRules(engine))
    return {(name, metric): scores[name].values[metric] for name in LABELS for metric in DISTANCES}


def other_definitions(pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """How far two other common definitions lie from the pooled ones, over all pairs of masks, in mm."""
    hd95, assd = [], []
    for prediction, truth, spacing in pairs:
        for value in STRUCTURES.values():
            there, back = surface_distances(prediction == value, truth == value, spacing)
            pooled = summarise(there, back)
            hd95.append(max(np.percentile(there, 95), np.percentile(back, 95)) - pooled["HD95"])
            assd.append((there.mean() + back.mean()) / 2 - pooled["ASSD"])
    return {
        name: {"mean": round(float(np.mean(d)), 4), "largest": round(float(np.max(np.abs(d))), 4)}
        for name, d in (("hd95_larger_of_directed_minus_pooled", hd95), ("assd_mean_of_means_minus_pooled", assd))
    }


def surface_dice_difference(pairs: list[Pair]) -> dict[str, float]:
    """Largest difference from the library surface-distance, both times per case, and how far its HD and HD95 lie from ours in mm."""
    import surface_distance

    largest, mine, theirs = 0.0, 0.0, 0.0
    others: dict[str, list[float]] = {"HD": [], "HD95": []}
    for prediction, truth, spacing in pairs:
        for value in STRUCTURES.values():
            first, second = prediction == value, truth == value
            start = time.process_time()
            ours = surface_dice(first, second, spacing, TOLERANCE_MM)
            middle = time.process_time()
            found = surface_distance.compute_surface_distances(second, first, spacing)
            expected = surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)
            theirs += time.process_time() - middle
            pooled = summarise(*surface_distances(first, second, spacing))
            for metric, percentile in (("HD", 100), ("HD95", 95)):
                others[metric].append(surface_distance.compute_robust_hausdorff(found, percentile) - pooled[metric])
            mine += middle - start
            largest = max(largest, abs(ours - expected))
    n = len(pairs)
    return {
        "tolerance_mm": TOLERANCE_MM,
        "max_abs_difference": largest,
        "cpu_s": round(mine / n, 4),
        "library_cpu_s": round(theirs / n, 4),
        **{f"library_{m.lower()}_minus_ours_mean": round(float(np.mean(d)), 4) for m, d in others.items()},
        **{f"library_{m.lower()}_minus_ours_largest": round(float(np.max(np.abs(d))), 4) for m, d in others.items()},
    }


def start_seconds() -> dict[str, float]:
    """Wall and CPU time of ``synthaug compare`` until it says that a folder does not exist, the fastest of five."""
    program = shutil.which("synthaug", path=str(Path(sys.executable).parent)) or "synthaug"
    command = [program, "compare", "--baseline", "absent", "--augmented", "absent", "-o", "absent"]
    wall, cpu = [], []
    for _ in range(5):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, capture_output=True, check=False)
        after = os.times()
        wall.append(time.perf_counter() - start)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {"wall": round(min(wall), 2), "cpu": round(min(cpu), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder in ACDC's layout (patientNNN/*_gt.nii.gz)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of the fast engine; the fastest counts")
    parser.add_argument("--out", type=Path, help="file for the figures")
    options = parser.parse_args()
    pairs = list(real(options.data, options.cases) if options.data else made_up(options.cases, options.seed))
    whole_volume(*pairs[0])  # imports outside the clock
    engines: dict[str, tuple[Callable[..., Values], int]] = {
        "medpy": (whole_volume, 1),
        "distances": (three_distances, options.repeat),
        "medpy_cropped": (partial(distances, engine="medpy"), 1),
        "native": (partial(distances, engine="native"), options.repeat),
    }
    seconds: dict[str, float] = {}
    results: dict[str, list[Values]] = {}
    for engine, (function, repeat) in engines.items():
        best = float("inf")
        for _ in range(repeat):
            start = time.process_time()
            results[engine] = [function(*pair) for pair in pairs]
            best = min(best, time.process_time() - start)
        seconds[engine] = best / len(pairs)
    found = {
        "data": "ES masks against ED masks" if options.data else "made-up",
        "cases": len(pairs),
        "seed": None if options.data else options.seed,
        "cpu_s_per_case": {engine: round(value, 4) for engine, value in seconds.items()},
        "speedup": round(seconds["medpy"] / seconds["distances"], 1),
        "speedup_with_all_metrics": round(seconds["medpy"] / seconds["native"], 1),
        "speedup_against_cropped": round(seconds["medpy_cropped"] / seconds["native"], 1),
        "mean_mm": {
            m: round(float(np.mean([v for one in results["native"] for (_, k), v in one.items() if k == m])), 3) for m in DISTANCES
        },
        **agreement(pairs, LABELS),
    }
    if not options.data:
        found["random"] = agreement((pair for seed in range(4) for pair in random_pairs(500, seed)), {"A": (1,)})
    found |= {"surface_dice": surface_dice_difference(pairs), "start_s": start_seconds()}
    about = {"date": date.today().isoformat(), "version": __version__, "machine": "1 CPU core", "medpy": version("medpy")}
    found = about | found | other_definitions(pairs)
    if options.out:
        write_json(options.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
