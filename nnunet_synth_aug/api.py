"""What notebooks and scripts need, as ``import nnunet_synth_aug as synthaug``: generators, hearts, scores, comparisons.

Every function raises ``UserError``, one sentence that says what is wrong and what to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.prior_request import PriorRequest

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from evaluation.compare import Comparison
    from nnunet_synth_aug.model.generator import Generator

__all__ = ["UserError", "compare", "load_generator", "sample", "score"]

#: A value, ``(lowest, highest)`` for hearts that each draw their own, or a text such as ``"20..30"``.
PriorValue = float | str | tuple[float, float]
Folder = str | Path
#: Structure -> its label value, or its values (a region).
LabelMap = Mapping[str, int | Sequence[int]]

#: Hearts per call of the networks, as ``synthaug sample`` has it.
_BATCH = 8


def load_generator(
    folder: Folder | None = None, *, dataset: str | int | None = None, fold: int | str = 0, device: str | torch.device = "cpu"
) -> Generator:
    """Load a generator that ``synthaug fit`` has trained.

    Args:
        folder: the generator's folder, such as ``"nnUNet_results/Dataset027_ACDC/synth_aug_generator/fold_0"``.
        dataset: instead of ``folder``: number or name of the data set, found as nnU-Net finds it.
        fold: of ``dataset``; a number, or ``"all"``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns:
        The generator, to be passed to ``sample``. ``generator.provenance["patients"]`` lists whom it has seen.

    Raises:
        UserError: there is no finished generator, or the device cannot be used.
    """
    from nnunet_synth_aug.core.paths import dataset_name, generator_folder
    from nnunet_synth_aug.model.generator import load_generator as load

    if not isinstance(folder, (str, Path, type(None))):
        raise UserError(f"the folder {folder!r} is no path; for a data set write load_generator(dataset={folder!r}, fold=0)")
    if fold is None or isinstance(fold, float):
        raise UserError(f"fold is {fold!r}; give a number such as 0, or 'all'")
    if (folder is None) == (dataset is None):
        raise UserError("load_generator needs the generator's folder, or dataset=... and fold=...; give one of the two")
    found = generator_folder(dataset_name(dataset), fold) if dataset is not None else Path(folder or "")
    return load(found, _usable(device))


def _usable(device: str | torch.device) -> torch.device:
    from nnunet_synth_aug.model.training.device import usable_device

    return usable_device(device, f"device {str(device)!r}", 'device="cpu"')


def sample(
    generator: Generator,
    n: int = 1,
    priors: Mapping[str, PriorValue] | None = None,
    *,
    seed: int = 0,
    frames: int | None = None,
    check: bool = True,
) -> list[SyntheticSequence]:
    """Sample beating hearts: the same ones as ``synthaug sample`` writes for the same priors and seed.

    Args:
        generator: from ``load_generator``.
        n: number of hearts. All are held in memory; ``synthaug sample`` writes many to disk.
        priors: what every heart is asked for, by name, e.g. ``{"lv_ef": 30, "lv_edv": (150, 250), "diagnosis": "DCM"}``. EF is in
            percent, volumes in mL, mass in g. What is not named is drawn near a training patient.
        seed: same seed, same hearts.
        frames: per cycle; as in the training cines by default.
        check: try again until the quality control accepts a heart. False takes the first one.

    Returns:
        One ``~nnunet_synth_aug.core.cases.SyntheticSequence`` per heart. ``image`` is float32 (T, X, Y, Z), ``mask`` is uint8
        (T, X, Y, Z) with 1 RV, 2 MYO, 3 LV, ``spacing`` is in mm along X, Y, Z; ``ed`` and ``es`` are frames, counted from 0.
        ``requested.lv_ef`` is what was asked for, ``measured.lv_ef`` what the masks show.

    Raises:
        UserError: an unknown prior, a value that no heart has, or one that this generator does not reach.
    """
    from nnunet_synth_aug.synthesis.quality.control import ALL_CHECKS, UNCHECKED
    from nnunet_synth_aug.synthesis.requests import RequestPlan, beyond_training
    from nnunet_synth_aug.synthesis.sample import impossible, sample_accepted

    if not hasattr(generator, "config"):
        raise UserError(f"{generator!r} is no generator; load one with load_generator(folder)")
    n, seed = _whole("n", n, 1), _whole("seed", seed, 0)
    asked = PriorRequest.from_json(priors or {}, "priors")
    for line in beyond_training(asked, generator):
        warnings.warn(line, stacklevel=2)
    plan = RequestPlan(seed, asked, None if frames is None else _whole("frames", frames, 2))
    requests = plan.requests(generator, n)
    found: dict[str, SyntheticSequence] = {}
    for first in range(0, n, _BATCH):
        for outcome in sample_accepted(generator, requests[first : first + _BATCH], ALL_CHECKS if check else UNCHECKED):
            if outcome.sequence is None:
                raise UserError(impossible(outcome.request, outcome.rejected, "check=False"))
            found[outcome.request.id] = outcome.sequence
    return [found[request.id] for request in requests]


def _whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)


def score(
    prediction: np.ndarray, reference: np.ndarray, spacing: Spacing, labels: LabelMap | str | None = None, *, empty: str = "penalty"
) -> pd.DataFrame:
    """Score a predicted mask against its reference.

    Args:
        prediction: predicted label map (X, Y, Z) of one frame.
        reference: the true label map, of the same shape.
        spacing: mm along X, Y and Z.
        labels: structure -> label value, or values of a region, e.g. ``{"LV": 3, "EPI": (2, 3)}``; or the name of a data set whose
            values they are (``"acdc"`` or ``"mnms"``). By default this package's own: RV 1, MYO 2, LV 3.
        empty: what one empty mask scores: ``"penalty"`` (Dice 0, distances the image's diagonal), ``"nan"`` or ``"drop"``.

    Returns:
        One row per structure; columns ``Dice``, and ``HD``, ``HD95`` and ``ASSD`` in mm, defined as in ``synthaug compare``. The column
        ``failure`` says which mask was empty, if one was. Both empty: NaN.

    Raises:
        UserError: shapes differ, values that are no labels, or labels that are not understood.
    """
    import pandas as pd

    from evaluation.scoring.metrics import score as score_structures
    from evaluation.scoring.rules import ScoringRules

    found, truth = _mask("prediction", prediction), _mask("reference", reference)
    if found.shape != truth.shape:
        raise UserError(f"the prediction has the shape {found.shape} but the reference {truth.shape}; score masks of the same grid")
    try:
        mm = tuple(float(s) for s in spacing)
    except (TypeError, ValueError):
        mm = ()
    if len(mm) != 3 or not all(0 < s < np.inf for s in mm):
        raise UserError(f"the spacing {spacing!r} is not three positive numbers; give the mm along X, Y and Z")
    scores = score_structures(found, truth, mm, _values(labels), ScoringRules(empty=empty))
    rows = {name: {m: one.values[m] for m in ("Dice", "HD", "HD95", "ASSD")} | {"failure": one.failure} for name, one in scores.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("structure")


def _mask(name: str, mask: Any) -> np.ndarray:
    """An integer label map (X, Y, Z)."""
    found = np.asarray(mask)
    if found.ndim != 3:
        raise UserError(f"the {name} has the shape {found.shape}; give one frame (X, Y, Z), such as heart.mask[heart.ed]")
    if found.size == 0:
        raise UserError(f"the {name} has the shape {found.shape} and so no voxel; give a whole mask")
    if found.dtype.kind == "b":
        raise UserError(f"the {name} is true and false, which tells no structures apart; give label values, such as mask * 3 for the LV")
    if found.dtype.kind not in "iu" and not (found.dtype.kind == "f" and np.array_equal(found, np.rint(found))):
        raise UserError(f"the {name} holds values that are no labels; give a mask, not an image or probabilities")
    return found.astype(np.int16)


def _values(labels: LabelMap | str | None) -> dict[str, tuple[int, ...]]:
    """Structure -> label values."""
    from evaluation.inputs.interop import parse_labels, told_apart

    if isinstance(labels, str):
        return parse_labels(labels)
    if labels is None:
        return {name: (value,) for name, value in STRUCTURES.items()}
    if not isinstance(labels, Mapping) or not labels:
        raise UserError(f"the labels are {labels!r}; give a mapping such as {{'RV': 1, 'MYO': 2, 'LV': 3}}")
    found: dict[str, tuple[int, ...]] = {}
    for name, values in labels.items():
        several = list(values) if isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str) else [values]
        if not several:
            raise UserError(f"the label {name!r} has no value; give one, or several for a region")
        found[name] = tuple(_whole(f"the label {name!r}", value, 1) for value in several)
    return told_apart(found)


def compare(
    baseline: Folder | Sequence[Folder],
    augmented: Folder | Sequence[Folder],
    out: Folder,
    *,
    names: tuple[str, str] = ("baseline", "augmented"),
    gt: Folder | None = None,
    dataset: Folder | None = None,
    labels: LabelMap | str | None = None,
    images: bool = True,
) -> Comparison:
    """Compare two trainings on the same cases and write the report, as ``synthaug compare`` does.

    Args:
        baseline: results folder of nnU-Net, folder of predictions, or ``metrics.csv``; a list of them for several seeds.
        augmented: the same of the augmented arm.
        out: folder for the report and the tables; may exist.
        names: what the report calls the two.
        gt: folder of reference masks; found for nnU-Net's results folders.
        dataset: ``nnUNet_raw/DatasetNNN_Name``; found likewise.
        labels: as in ``score``; those of ``dataset.json`` by default.
        images: show patients in the report.

    Returns:
        ``report`` is the path of ``report.html``, ``headline`` the table of Dice and HD with differences, intervals and p-values,
        ``conclusion`` its sentences.

    Raises:
        UserError: a folder is missing, or the two do not match. Nothing is written then.
    """
    from evaluation.compare import compare as run

    def paths(arm: str, folders: Folder | Sequence[Folder]) -> list[Path]:
        several = [folders] if isinstance(folders, str | Path) else folders
        if not isinstance(several, Sequence) or not several or not all(isinstance(one, str | Path) for one in several):
            raise UserError(f"{arm} is {folders!r}; give a folder, or a list of folders for several seeds")
        return [Path(one) for one in several]

    return run(
        paths("baseline", baseline),
        paths("augmented", augmented),
        Path(out),
        names=names,
        images=images,
        gt=None if gt is None else Path(gt),
        dataset=None if dataset is None else Path(dataset),
        labels=None if labels is None else _values(labels),
    )
