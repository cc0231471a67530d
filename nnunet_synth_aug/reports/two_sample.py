"""Two-sample test of pixels: can a small network tell made hearts from real ones of patients that nobody learnt from?

After Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (ICLR 2017). The network is trained on some hearts and asked about
others, in turn, and the area under the ROC curve (AUC) of its answers is reported: 0.5 if it cannot tell, 1 if it always can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.reports.cines import labelled_sequence, patients, request_group, sequence_ids
from nnunet_synth_aug.reports.memorisation.membership import auc
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.render import Renderer, donors_among
from nnunet_synth_aug.synthesis.sources.copies import cohort_originals, copied
from nnunet_synth_aug.synthesis.sources.phantoms import FIRST_SEED

#: What the network sees: a square around the LV, in pixels of this many mm, at these shares of the way from base to apex.
SIZE, PIXEL, LEVELS = 64, 1.5, (0.25, 0.5, 0.75)
#: Percentiles of the grey values in the squares of a heart that become 0 and 1.
GREY = (1.0, 99.0)
#: Hearts of a kind, parts that hearts are divided into, steps of each training, and pixels by which squares are shifted in training.
MOST, PARTS, STEPS, SHIFT = 40, 4, 80, 4
#: Fewest hearts, and patients behind them, of each side.
FEWEST, FEWEST_GROUPS = 6, 2


@dataclass(frozen=True)
class Views:
    """What the network sees of one heart."""

    group: str  # hearts of one are never on both sides of a training: a patient, a donor, or a request
    image: np.ndarray  # float32 (N, SIZE, SIZE) in [0, 1]


def views(sequence: Sequence, group: str) -> Views | None:
    """Squares around the LV at ED and ES; None of a heart without LV in three slices."""
    shown = []
    for frame in dict.fromkeys((sequence.ed, sequence.es)):
        holds = np.flatnonzero((sequence.mask[frame] == LV).any((0, 1)))
        if frame not in sequence.labelled or len(holds) < len(LEVELS):
            continue
        for level in LEVELS:
            z = holds[round(level * (len(holds) - 1))]
            centre = np.argwhere(sequence.mask[frame, ..., z] == LV).mean(0)
            away = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
            where = np.meshgrid(*(c + away / mm for c, mm in zip(centre, sequence.spacing, strict=False)), indexing="ij")
            shown.append(map_coordinates(sequence.image[frame, ..., z].astype(np.float32), where, order=1, mode="nearest"))
    if not shown:
        return None
    image = np.stack(shown)
    low, high = np.percentile(image, GREY)
    return Views(group, np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32))


def network() -> nn.Module:
    """Three convolutions, and the mean over the square: 24 000 weights."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))


def two_sample(real: list[Views], made: list[Views], seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """How well made hearts are told from real ones that the network was not trained on.

    Args:
        real, made: hearts of each side.
        seed: of parts, weights and resampling.
        resamples: of the interval, over groups.

    Returns:
        ``auc`` with its 95 % interval ``low`` and ``high``, and the numbers of hearts.

    Raises:
        UserError: too few hearts, or too few groups, on one side.
    """
    for name, side in (("real", real), ("made", made)):
        if len(side) < FEWEST or len({one.group for one in side}) < FEWEST_GROUPS:
            raise UserError(f"the two-sample test needs {FEWEST} {name} hearts of {FEWEST_GROUPS} patients, and there are {len(side)}")
    hearts, is_made = [*real, *made], np.repeat([False, True], [len(real), len(made)])
    part = np.concatenate([_parts(side, seed) for side in (real, made)])
    scores = np.zeros(len(hearts))
    for held in np.unique(part):
        sides = [[hearts[i] for i in np.flatnonzero((part != held) & (is_made == which))] for which in (False, True)]
        trained = _trained(sides, seed)
        for index in np.flatnonzero(part == held):
            with torch.inference_mode():
                scores[index] = float(trained(torch.from_numpy(hearts[index].image)[:, None]).mean())
    ours, theirs = scores[~is_made], scores[is_made]
    rng = np.random.default_rng(seed)
    draws = [auc(ours[_drawn(real, rng)], theirs[_drawn(made, rng)]) for _ in range(resamples)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return {"auc": auc(ours, theirs), "low": float(low), "high": float(high), "n_real": len(real), "n_made": len(made)}


def _parts(side: list[Views], seed: int) -> np.ndarray:
    """The part of every heart: groups are spread evenly, and at least two parts have some."""
    groups = sorted({one.group for one in side})
    order = np.random.default_rng(seed).permutation(len(groups))
    part = {groups[int(group)]: number % PARTS for number, group in enumerate(order)}
    return np.array([part[one.group] for one in side])


def _trained(sides: list[list[Views]], seed: int) -> nn.Module:
    """A network that gives made hearts larger numbers than real ones; batches hold as many of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = network().train()
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(found.parameters(), 2e-3, weight_decay=1e-2)
    target = torch.cat([torch.zeros(16, 1), torch.ones(16, 1)])
    for _ in range(STEPS):
        images = []
        for side in sides:
            for index in rng.integers(len(side), size=16):
                image = side[index].image[rng.integers(len(side[index].image))]
                moved = np.roll(image, rng.integers(-SHIFT, SHIFT + 1, 2), (0, 1))
                images.append(moved[SHIFT:-SHIFT, SHIFT:-SHIFT] * rng.uniform(0.8, 1.2))
        loss = nn.functional.binary_cross_entropy_with_logits(found(torch.from_numpy(np.stack(images).astype(np.float32))[:, None]), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found.eval()


def _drawn(side: list[Views], rng: np.random.Generator) -> np.ndarray:
    """Indices of a side's hearts whose groups are drawn again."""
    groups = sorted({one.group for one in side})
    drawn = [groups[int(i)] for i in rng.integers(len(groups), size=len(groups))]
    return np.concatenate([np.flatnonzero([one.group == group for one in side]) for group in drawn])


def two_sample_report(generator: Generator, cohort: Cohort, sequences: Path, out: Path, seed: int = 0) -> dict[str, Any]:
    """Write two_sample.json into ``out``: generated hearts, decoded or painted, and rendered; copies, phantoms, training patients.

    Args:
        generator: a trained one.
        cohort: its dataset; patients that the generator never saw are the real side.
        sequences: generated hearts, of :func:`synthesis.sample.sample_to_folder`.
        out: a folder.
        seed: of everything that is drawn.

    Raises:
        UserError: too few unseen patients with contours.
    """
    seen, unseen = patients(generator, cohort)
    contoured = [one for one in unseen if one.masks][:MOST]
    real = [shown for one in contoured if (shown := views(load_sequence(one), one.patient)) is not None]
    if len(real) < FEWEST:
        raise UserError(f"{len(real)} unseen patients have contours, and the two-sample test of pixels needs {FEWEST}")
    ids = sequence_ids(generator, sequences)[:MOST]
    originals = cohort_originals(cohort, [one.patient for one in seen if one.masks])

    def generated() -> Iterator[Views | None]:
        for one in (read_sequence(sequences, name) for name in ids):
            yield views(labelled_sequence(one), request_group(one))

    def rendered() -> Iterator[Views | None]:
        show = Renderer(donors_among(originals))
        for name in ids:
            shown = show(read_sequence(sequences, name))
            yield None if isinstance(shown, list) else views(labelled_sequence(shown), str(shown.donor))

    def copies() -> Iterator[Views | None]:
        for number in range(len(real)):
            original = originals[number % len(originals)]
            yield views(labelled_sequence(copied(original, f"copy_{number}", np.random.default_rng([seed, number]), 1.0)), original.patient)

    def phantoms() -> Iterator[Views | None]:
        for number in range(len(real)):
            source = phantom_subject(number, FIRST_SEED + seed)
            mask, frames = source.mask, (source.source.ed, source.source.es)
            yield views(Sequence(source.source.image, mask, source.source.spacing, *frames, frames), str(number))

    def training_patients() -> Iterator[Views | None]:
        for one in originals[:MOST]:
            yield views(one.load(), one.patient)

    shown_as = "painted" if read_index(sequences)[1].get("render") == "painter" else "decoded"
    makers: dict[str, Callable[[], Iterator[Views | None]]] = {
        shown_as: generated, "rendered": rendered, "copies": copies, "phantoms": phantoms, "training patients": training_patients,
    }  # fmt: skip
    found: dict[str, Any] = {}
    with progress("two-sample test", len(makers)) as bar:
        for done, (kind, make) in enumerate(makers.items(), 1):
            try:
                found[kind] = two_sample(real, [shown for shown in make() if shown is not None], seed)
            except UserError as error:
                found[kind] = {"refused": str(error)}
            bar.advance(done, kind)
    report = {"patients": len(real), "kinds": found}
    write_json(out / "two_sample.json", report)
    return report
