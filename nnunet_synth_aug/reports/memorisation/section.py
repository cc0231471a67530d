"""Memorisation audit: are generated anatomies nearer to the patients the generator was trained on than to others?

The comparison is always with patients that the generator never saw. A blurred image is near to everything, so that a small distance to
a training patient alone says nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.painter.painter import Painter
from nnunet_synth_aug.model.painter.slices import PatientSlices
from nnunet_synth_aug.reports.cines import labelled_sequence, patients, request_group, sequence_ids
from nnunet_synth_aug.reports.memorisation.figures import distance_figure, pairs_figure
from nnunet_synth_aug.reports.memorisation.membership import DRAWS, auc, auc_interval, static_loss
from nnunet_synth_aug.reports.memorisation.neighbours import SPACES, Portrait, chance_nearer, distances, expected_minimum, portrait
from nnunet_synth_aug.synthesis.folder import read_sequence

#: Conventions, not laws. A generator is flagged if its anatomies are more than a tenth nearer to training patients than to unseen
#: ones and that is no chance, if its loss clearly (whole interval) tells them apart, or if any anatomy is less than half as far from a
#: training patient as from every unseen one.
RATIO_FLAG, AUC_FLAG, COPY_RATIO = 0.9, 0.6, 0.5
ALPHA = 0.05
#: With fewer unseen patients the audit can hardly find anything.
FEW = 10
PAIRS = 6


def memorisation_report(generator: Generator, cohort: Cohort, sequences: Path, out: Path, painter: Painter | None = None) -> dict[str, Any]:
    """Write memorisation.json and two figures into ``out``.

    Args:
        generator: the trained one that made the sequences.
        cohort: with its training patients and at least two others.
        sequences: a folder written by ``synthesis.sampling.sample_to_folder``.
        out: made if missing. memorisation_pairs.png shows patients; it must not leave the user's hands.
        painter: that painted the sequences; its loss is asked, too.

    Returns:
        what memorisation.json holds.
    """
    ids = sequence_ids(generator, sequences)
    training, held_out = patients(generator, cohort)
    if len(held_out) < 2:
        raise UserError(
            f"{cohort.name} has {len(held_out)} patients that the generator never saw, and a memorisation audit compares with such; "
            "report on the generator of a numbered fold instead of 'all'"
        )
    if painter and (leaked := sorted({s.patient for s in held_out} & set(painter.styles))):
        raise UserError(f"the painter learnt from {leaked[0]}, whom the generator never saw; use the painter of the generator's own fold")
    sides: dict[str, list[Portrait]] = {"training": [], "held_out": [], "synthetic": []}
    losses: dict[str, list[float]] = {"training": [], "held_out": []}
    painting: dict[str, list[float]] = {"training": [], "held_out": []}
    left_out: dict[str, list[str]] = {side: [] for side in sides}
    with progress("looking for copies", len(training) + len(held_out) + len(ids)) as bar:
        done = 0
        for side, subjects in (("training", training), ("held_out", held_out)):
            for subject in subjects:
                sequence = load_sequence(subject)
                losses[side].append(static_loss(generator, subject, sequence))
                if painter and (slices := PatientSlices.of(subject.patient, sequence, painter.config.pixel)):
                    painting[side].append(painter.loss(slices))
                _keep(portrait(generator, sequence, subject.patient, subject.patient), subject.patient, sides[side], left_out[side])
                bar.advance(done := done + 1, subject.patient)
        for sequence_id in ids:
            synthetic = read_sequence(sequences, sequence_id)
            found = portrait(generator, labelled_sequence(synthetic), sequence_id, request_group(synthetic))
            _keep(found, sequence_id, sides["synthetic"], left_out["synthetic"])
            bar.advance(done := done + 1, sequence_id)
    if min(len(v) for v in sides.values()) < 2:
        raise UserError(
            f"only {', '.join(f'{len(v)} {k}' for k, v in sides.items())} hearts have masks of all structures at ED, and an audit needs "
            "two of each; use a cohort with masks, or sample more hearts"
        )
    neighbours = {space: neighbours_in(sides, space) for space in SPACES}
    membership = membership_of(losses)
    by_painter = membership_of(painting) if min(map(len, painting.values())) > 1 else None
    flags = _flags(neighbours, {"The static LDM's": membership} | ({"The painter's": by_painter} if by_painter else {}))
    report = {
        "n": {side: len(found) for side, found in sides.items()},
        "left_out": left_out,  # no mask of all structures at ED
        "neighbours": neighbours,
        "membership": membership,
        **({"painter_membership": by_painter} if by_painter else {}),
        "flagged": bool(flags),
        "verdict": [
            *(flags or ["No sign of memorisation was found."]),
            *_caution(len(sides["held_out"])),
            *(_caution_painter(len(painting["training"]), len(painting["held_out"])) if painter else []),
        ],
    }
    write_json(out / "memorisation.json", report)
    distance_figure(neighbours, out / "memorisation_distances.png")
    pairs_figure(sides, neighbours["latent"]["pairs"][:PAIRS], out / "memorisation_pairs.png")
    return report


def _keep(found: Portrait | None, name: str, kept: list[Portrait], left_out: list[str]) -> None:
    if found is None:
        left_out.append(name)
    else:
        kept.append(found)


def membership_of(losses: dict[str, list[float]]) -> dict[str, Any]:
    """How well a network's loss tells training from held-out patients; ``losses`` has one per patient of either side."""
    members, others = (np.array(losses[side]) for side in ("training", "held_out"))
    low, high = auc_interval(members, others)
    return {
        "auc": auc(members, others),
        "low": low,
        "high": high,
        "draws": DRAWS,
        "mean_loss_training": float(members.mean()),
        "mean_loss_held_out": float(others.mean()),
    }


def neighbours_in(sides: dict[str, list[Portrait]], space: str) -> dict[str, Any]:
    """Nearest-neighbour figures of one space, and the pairs of every generated anatomy, nearest to training first.

    Args:
        sides: portraits by "synthetic", "training" and "held_out".
        space: one of ``neighbours.SPACES``.
    """
    synthetic, training, held_out = (sides[s] for s in ("synthetic", "training", "held_out"))
    (to_training, flipped_training), (to_held_out, flipped_held_out) = (distances(synthetic, s, space) for s in (training, held_out))
    m = min(len(training), len(held_out))
    a, b = expected_minimum(to_training, m), expected_minimum(to_held_out, m)
    ratio = a / np.maximum(b, 1e-12)
    low, high = _interval(ratio, [p.group for p in synthetic])
    null = distances(held_out, training, space)[0].min(axis=1)
    among = distances(training, training, space)[0]
    np.fill_diagonal(among, np.inf)
    nearest = to_training.min(axis=1)
    pairs = []
    for i in np.argsort(nearest).tolist():
        t, h = int(to_training[i].argmin()), int(to_held_out[i].argmin())
        pairs.append(
            {
                "synthetic": synthetic[i].id,
                "training": training[t].id,
                "held_out": held_out[h].id,
                "to_training": float(to_training[i, t]),
                "to_held_out": float(to_held_out[i, h]),
                "mirrored": [bool(flipped_training[i, t]), bool(flipped_held_out[i, h])],
                "near_copy": bool(to_training[i, t] < COPY_RATIO * to_held_out[i, h]),
            }
        )
    return {
        "patients_compared": m,  # of each side, by averaging over subsets of the larger one
        "ratio": {"median": float(np.median(ratio)), "low": low, "high": high},
        "nearest_is_training": _exchanged(to_training, to_held_out),
        "synthetic_to_training": np.sort(nearest),
        "synthetic_to_held_out": np.sort(to_held_out.min(axis=1)),
        "held_out_to_training": np.sort(null),
        "training_to_other_training": np.sort(among.min(axis=1)),
        "share_nearer_than_any_held_out": float(np.mean(nearest < null.min())),
        "near_copies": sum(p["near_copy"] for p in pairs),
        "pairs": pairs,
    }


def _interval(ratio: np.ndarray, groups: list[str], resamples: int = 1000) -> tuple[float, float]:
    """95 % bootstrap interval of the median ratio over requests, for these patients."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(np.array(groups) == g) for g in dict.fromkeys(groups)]
    draws = [np.median(ratio[np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])]) for _ in range(resamples)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def _exchanged(to_training: np.ndarray, to_held_out: np.ndarray, permutations: int = 999) -> dict[str, float]:
    """Mean chance that the nearest patient is a training patient, and what it is when patients exchange their roles at random.

    Without memorisation it does not matter who was trained on: the roles are exchangeable, and the patient is the unit.
    """
    rng = np.random.default_rng(0)
    together, n = np.concatenate([to_training, to_held_out], axis=1), to_training.shape[1]
    observed = float(chance_nearer(to_training, to_held_out).mean())
    null = []
    for _ in range(permutations):
        order = rng.permutation(together.shape[1])
        null.append(float(chance_nearer(together[:, order[:n]], together[:, order[n:]]).mean()))
    low, high = np.percentile(null, (2.5, 97.5))
    # The observed roles count as one of the permutations, so that p is never 0.
    p = (1 + sum(v >= observed - 1e-9 for v in null)) / (1 + permutations)
    return {"mean": observed, "null_low": float(low), "null_high": float(high), "p": p}


def _flags(neighbours: dict[str, dict[str, Any]], memberships: dict[str, dict[str, Any]]) -> list[str]:
    """Why the generator is flagged, in plain words; empty if it is not. ``memberships`` are told by whose loss it is."""
    out = []
    for space, n in neighbours.items():
        ratio, p = n["ratio"], n["nearest_is_training"]["p"]
        if ratio["median"] < RATIO_FLAG and p < ALPHA:
            out.append(
                f"Generated anatomies are nearer to training patients than to unseen ones ({space} space): distance ratio "
                f"{ratio['median']:.2f} (95 % interval {ratio['low']:.2f} to {ratio['high']:.2f}; 1 means no difference), p = {p:.3g}."
            )
    if copies := neighbours["latent"]["near_copies"]:
        out.append(
            f"{copies} generated anatomies are less than half as far from a training patient as from every unseen one; look at "
            "memorisation_pairs.png before you share anything."
        )
    for whose, one in memberships.items():
        if one["low"] > AUC_FLAG:
            out.append(
                f"{whose} loss tells training patients from unseen ones: AUC {one['auc']:.2f} "
                f"(95 % interval {one['low']:.2f} to {one['high']:.2f}; 0.5 is chance)."
            )
    return out


def _caution_painter(n_training: int, n_held_out: int) -> list[str]:
    fewest, counts = min(n_training, n_held_out), f"{n_training} training patients and {n_held_out} unseen ones"
    if fewest >= FEW:
        return []
    if fewest < 2:
        return [f"The painter's loss could not be asked: {counts} have contours of all of RV, MYO and LV, and it takes two of each."]
    return [f"The painter's loss was asked of {counts}: few."]


def _caution(n_held_out: int) -> list[str]:
    out = ["This is no proof of privacy: it finds copies of whole anatomies, not every trace of a patient."]
    if n_held_out < FEW:
        out.append(f"There are only {n_held_out} unseen patients to compare with; the intervals are wide and the audit can miss a lot.")
    return out
