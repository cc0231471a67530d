"""Do painted hearts fit their contours and look like patients? (docs/decisions/painter.md)

    python tests/benchmarks/painter.py -d 901 -f 0 --segmenter RESULTS --out RUN [--steps 2200]

Trains a painter on the fold's training patients, and on those without contours where the segmenter, a real-only nnU-Net of the fold, says
the same of a slice and of the slice turned by 90 degrees. Then the hearts of the fold's held-out patients are painted: as the patients with
contours look, and as each hospital's without contours. The segmenter is asked about all of them: with which Dice does it find the given
contours? A small network is asked to tell them from the real ones (two-sample test; hearts of one patient are never on both sides of a
training). Writes docs/benchmarks/painter.json, and RUN/painted.png, which must not be published.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_table import DOCS
from skimage.io import imsave

from nnunet_synth_aug import __version__
from nnunet_synth_aug.cli.options import real_only_network
from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV, STRUCTURES
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.painter.painter import PainterConfig, train_painter
from nnunet_synth_aug.model.painter.slices import PatientSlices
from nnunet_synth_aug.nnunet.painting import contoured
from nnunet_synth_aug.nnunet.segmenter import Segmenter
from nnunet_synth_aug.reports.controllability.agreement import average
from nnunet_synth_aug.reports.two_sample import two_sample, views

CPU = torch.device("cpu")
#: Held-out patients that are painted, and the square of the picture in pixels.
PAINTED, SHOWN = 12, 96


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two boolean arrays; NaN if both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else float("nan")


def agreement(
    network: Segmenter, image: np.ndarray, mask: np.ndarray, spacing: Spacing, context: tuple[float, float] | None = None
) -> dict[str, float]:
    """Dice of the segmenter's masks with the given ones, frames (T, X, Y, Z) pooled."""
    found = np.stack([network.segment(one, spacing, context) for one in image])
    return {name: dice(found == label, mask == label) for name, label in STRUCTURES.items()}


def square(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The middle slice of the LV, around it, uint8."""
    levels = np.flatnonzero((mask == LV).any((0, 1)))
    z = levels[len(levels) // 2]
    x, y = np.argwhere(mask[..., z] == LV).mean(0).astype(int)
    half = SHOWN // 2
    part = np.pad(image[..., z], half)[x : x + SHOWN, y : y + SHOWN]
    low, high = np.quantile(part, (0.01, 0.995))
    return np.asarray(np.clip((part - low) / max(float(high - low), 1e-6), 0, 1) * 255, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", required=True)
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("--segmenter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=PainterConfig().train.steps)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    config = PainterConfig(train=replace(PainterConfig().train, steps=given.steps))
    cohort = Cohort.load(given.dataset)
    split = fold_patients(cohort, given.fold)
    network = real_only_network(given.dataset, str(given.fold), given.segmenter, "cpu")
    subjects = cohort.select(split.train).subjects
    silent = [subject for subject in subjects if not subject.masks or subject.patient in split.unlabelled]
    known = [PatientSlices.of(s.patient, load_sequence(s), config.pixel) for s in subjects if s not in silent]
    found = [one for one in known if one is not None] + contoured(silent, network, config.pixel)
    taught = {one.style.patient: one for one in found}
    vendor = {s.patient: f"{s.priors.vendor}, without contours" for s in silent}
    kind = {patient: vendor.get(patient, "with contours") for patient in taught}
    begun = time.process_time()
    painter = train_painter(found, config, given.out / "painter.safetensors", {"cohort": cohort.hash()}, CPU)
    seconds = round(time.process_time() - begun)

    tested = [cohort.subject(patient) for patient in split.val][:: max(len(split.val) // PAINTED, 1)]
    styles = {name: sorted(p for p in kind if kind[p] == name) for name in sorted(set(kind.values()))}
    dices: dict[str, list[dict[str, float]]] = {}
    shown: dict[str, list[Any]] = {}
    rows, painting = [], 0.0
    with progress("painting", len(tested)) as bar:
        for number, subject in enumerate(tested):
            sequence = load_sequence(subject)
            frames = [*sequence.labelled]
            made = {"real": sequence.image}
            for name, patients in styles.items():
                rng, began = np.random.default_rng(number), time.process_time()
                image = sequence.image.copy()
                for t in frames:
                    style = painter.styles[patients[number % len(patients)]]
                    image[t] = painter.paint(sequence.image[t], sequence.mask[t], sequence.spacing, style, rng)
                painting += (time.process_time() - began) / len(frames) / len(tested) / len(styles)
                made[f"painted as {name}"] = image
            for name, image in made.items():
                dices.setdefault(name, []).append(agreement(network, image[frames], sequence.mask[frames], sequence.spacing))
                shown.setdefault(name, []).append(views(replace(sequence, image=image), subject.patient))
            rows.append(np.concatenate([square(image[sequence.ed], sequence.mask[sequence.ed]) for image in made.values()], 1))
            bar.advance(number + 1, subject.patient)
    imsave(given.out / "painted.png", np.concatenate(rows[:8]), check_contrast=False)
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {}
    for name, own in dices.items():
        figures[name] = {"dice": {s: asdict(average(np.array([one[s] for one in own]), rng)) for s in STRUCTURES}}
        if name != "real":
            real, painted = ([one for one in shown[side] if one is not None] for side in ("real", name))
            figures[name]["two_sample"] = two_sample(real, painted)
    about: dict[str, Any] = {
        "source": cohort.name,
        "fold": given.fold,
        "painted": len(tested),
        "segmenter": network.provenance["trainer"],
    }
    about["taught"] = {name: {"patients": len(p), "slices": sum(len(taught[one].slices) for one in p)} for name, p in styles.items()}
    about |= {"steps": given.steps, "training_cpu_seconds": seconds, "painting_cpu_seconds_per_frame": round(painting, 2)}
    about |= {"machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}", "date": time.strftime("%Y-%m-%d")}
    write_json(DOCS / "benchmarks" / "painter.json", {**about, "version": __version__, "figures": figures})
    for name, one in figures.items():
        told = {s: round(v["value"], 3) for s, v in one["dice"].items()}
        print(name, told, {k: round(v, 3) for k, v in one.get("two_sample", {}).items()})


if __name__ == "__main__":
    main()
