"""What predictions and ground truth must have in common: the cases and the meaning of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.inputs.arms import Arm, Place, ScoredCase
from evaluation.inputs.dataset import Dataset, structure_labels
from evaluation.scoring.masks import LabelMaps, Labels
from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_object
from nnunet_synth_aug.core.labels import STRUCTURES


def missing_predictions(arms: Sequence[Arm], found: Dataset, allowed: bool) -> list[set[Place]]:
    """Case and fold of what each arm lacks.

    Expected are the cases of a fold's split where both are known, all that have a ground truth where no fold is known, and
    whatever another arm predicted.

    Raises:
        UserError: something is missing and not ``allowed`` to be.
    """
    folds_known = all(p.fold for arm in arms for p in arm.predictions)
    own = [{(p.case, p.fold if folds_known else "") for p in arm.predictions} for arm in arms]
    found_by_any = set[Place]().union(*own)
    result = []
    for arm, places in zip(arms, own, strict=True):
        if all(fold.isdigit() and int(fold) < len(found.splits) for fold in arm.folds):
            expected = {(case, fold if folds_known else "") for fold in arm.folds for case in found.splits[int(fold)].val}
            expected = {(case, fold) for case, fold in expected if case in found.ground_truth}
        else:
            expected = places if all(arm.folds) else {(case, "") for case in found.ground_truth}
        missing = expected - places
        if missing and not allowed:
            raise UserError(
                f"{arm.folder} has no prediction for {len(missing)} of {len(expected)} cases: {shortened({c for c, _ in missing})}; "
                "predict them (nnUNetv2_train ... --val finishes a fold), or score them as failures with --allow-missing"
            )
        result.append(missing | (found_by_any - places))
    return result


def label_maps(
    arm: Arm, found: Dataset, gt: Path | None, both: Labels | None, own: Labels | None, wanted: Labels | None
) -> tuple[LabelMaps, list[str]]:
    """Label maps of both sides, and what is to be said about them.

    Args:
        gt: the folder of ground truth, if it was given; a ``dataset.json`` in or beside it is the ground truth's.
        both, own, wanted: label maps given for both sides, the predictions and the ground truth; the rest is taken from each
            side's ``dataset.json``.

    Raises:
        UserError: the sides have no structure in common.
    """
    places = [] if gt is None else [gt / "dataset.json", gt.resolve().parent / "dataset.json"]
    beside = next((read_object(p) for p in places if p.is_file()), None)
    truth_json = beside or found.dataset_json or arm.dataset_json
    own_json = arm.dataset_json or truth_json
    notes: list[str] = []
    defined, ignore = structure_labels(truth_json)
    own_defined, _ = structure_labels(own_json)
    if truth_json is None and not (both or own or wanted):
        notes.append("No dataset.json was found: the labels are taken to be RV 1, MYO 2, LV 3; give others with --labels.")
    references, predicted = wanted or both or defined, own or both or own_defined
    shared = [s for s in dict.fromkeys([*STRUCTURES, *references]) if s in references and s in predicted]
    if not shared:
        raise UserError(
            f"predictions ({', '.join(predicted)}) and ground truth ({', '.join(references)}) have no structure in common; "
            "name the structures with --labels, or with --pred-labels and --gt-labels"
        )
    if only := [s for s in [*references, *predicted] if s not in shared]:
        notes.append(f"Not scored, because only one side has it: {', '.join(only)}.")
    reference_labels, predicted_labels = {s: references[s] for s in shared}, {s: predicted[s] for s in shared}
    # Values are only checked against a dataset.json: labels given by hand may name some of the values.
    known = None if wanted or both or truth_json is None else _values(defined, ignore)
    if predicted_labels == reference_labels:
        return LabelMaps(reference_labels, None if own else known, ignore=ignore), notes
    pairs = (f"{s} {_plus(predicted_labels[s])} to {_plus(reference_labels[s])}" for s in shared)
    notes.append(f"The predictions' labels were translated: {', '.join(pairs)}.")
    own_known = None if own or both or own_json is None else _values(own_defined, structure_labels(own_json)[1])
    return LabelMaps(reference_labels, known, predicted_labels, own_known, ignore), notes


def _values(labels: Labels, ignore: int | None) -> frozenset[int]:
    return frozenset({0, *(v for values in labels.values() for v in values), *(() if ignore is None else (ignore,))})


def _plus(values: tuple[int, ...]) -> str:
    return "+".join(map(str, values))


def noticed(scored: Sequence[ScoredCase], found: Dataset, of: str = "") -> list[str]:
    """Sentences on what was noticed of one arm's predictions.

    Args:
        scored: the predictions.
        found: whose cases they are.
        of: " of ARM" where there are several.
    """
    notes = [_exchanged(scored, found, of, pairs) for pairs in sorted({one.remarks.exchanged for one in scored} - {()})]
    if turned := {one.case for one in scored if one.remarks.turned}:
        notes.append(f"Predictions{of} whose axes lie otherwise than in the ground truth were turned onto it: {shortened(turned)}.")
    if placeless := {one.case for one in scored if one.remarks.placeless}:
        notes.append(
            f"Headers that do not say where voxels lie, of predictions{of} or of their ground truth: voxels were compared in the order of "
            f"the files, and a mirrored mask would not be noticed: {shortened(placeless)}."
        )
    for sizes in sorted({one.remarks.lost_sizes for one in scored} - {""}):
        cases = {one.case for one in scored if one.remarks.lost_sizes == sizes}
        notes.append(
            f"Headers of the ground truth say {sizes} mm, which no stack of a heart has: the sizes were lost or are wrong, and so are all "
            f"distances, volumes and masses: {shortened(cases)}."
        )
    return notes


def _exchanged(scored: Sequence[ScoredCase], found: Dataset, of: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """A sentence on labels that look exchanged: all of them, as LV and RV are between ACDC and M&Ms, or those of a few patients."""
    own = [one for one in scored if one.remarks.exchanged == pairs]
    predicted = [one for one in scored if one.prediction]
    lies = " and ".join(f"the predicted {a} lies on the true {b}" for a, b in pairs)
    where = f"In {len(own)} of {len(predicted)} predictions{of} {lies} ({shortened({found.cases[one.case].patient for one in own})}): "
    if 2 * len(own) > len(predicted):
        return where + (
            "predictions and ground truth seem to use different label maps (ACDC: RV 1, LV 3; M&Ms: LV 1, RV 3); give them with "
            "--pred-labels and --gt-labels."
        )
    return where + "their labels seem to be exchanged, or those of their ground truth; look at these files and correct them."
