"""The scores of arms in one long table: their masks are scored, or tables that were scored before are read.

``synthaug evaluate`` and ``synthaug compare`` share it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd

from evaluation.inputs.arms import Arm, Place, Prediction, ScoredCase, check_pairing, read_arm
from evaluation.inputs.dataset import Dataset, find_dataset
from evaluation.inputs.sides import label_maps, missing_predictions, noticed
from evaluation.inputs.tables import common_rules, read_scores, rules_beside, with_own_seeds
from evaluation.scoring.masks import LabelMaps, Labels
from evaluation.scoring.metrics import CaseFiles, score_cases, workers_for
from evaluation.scoring.rules import BY_DEFAULT, ScoringRules
from evaluation.scoring.table import COLUMNS, METRICS, REFERENCE_VOLUME, UNITS, validated
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.patients import ungrouped


class Where(TypedDict, total=False):
    """Where masks are and what their values mean; every key may be left out.

    gt: folder of ground truth masks; found through the predictions' path and nnU-Net's folders by default.
    dataset: the dataset's folder in nnUNet_raw or nnUNet_preprocessed; found likewise.
    labels: structure -> label values, of both sides; by default those of each side's ``dataset.json``.
    prediction_labels, reference_labels: those of one side, where they differ.
    allow_missing: score cases without a prediction by the rules' ``empty`` instead of refusing.
    workers: processes; None: as many as are worth their start; 1 by default. More than one needs an importable main module.
    """

    gt: Path | None
    dataset: Path | None
    labels: Labels | None
    prediction_labels: Labels | None
    reference_labels: Labels | None
    allow_missing: bool
    workers: int | None


@dataclass(frozen=True)
class Scored:
    """The long table of all arms and what it was made from."""

    arms: dict[str, tuple[Arm, ...]]  # name -> its trainings; none where scores came from a table
    dataset: Dataset
    labels: Labels
    rules: ScoringRules | None  # with a tolerance per structure; None where a table came without its evaluation.json
    table: pd.DataFrame
    absent: list[str]  # structures that no ground truth holds
    notes: list[str]
    maps: dict[str, LabelMaps]  # of the arms whose masks were scored


def read_sources(sources: Mapping[str, Sequence[Path]], rules: ScoringRules = BY_DEFAULT, **where: Unpack[Where]) -> Scored:
    """Read and score every arm.

    Args:
        sources: arm -> its results folders (one per training; see :func:`evaluation.inputs.arms.read_arm`), or ``metrics.csv``
            files, from which the rows of the model with the arm's name are taken, or those of the only model.
        rules: by which folders are scored; tables were scored before.
        where: see :class:`Where`; likewise of folders.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match.
    """
    folders = {name: [p for p in paths if p.suffix != ".csv"] for name, paths in sources.items()}
    arms = {name: numbered([read_arm(p, name) for p in paths]) for name, paths in folders.items()}
    files = [(p, name) for name, paths in sources.items() for p in paths if p.suffix == ".csv"]
    tables = [read_scores(p, name) for p, name in files]
    known = {str(p): own for p, _ in files if (own := rules_beside(p))}
    notes: list[str] = []
    by_arm: dict[str, LabelMaps] = {}
    if flat := [arm for runs in arms.values() for arm in runs]:
        masks = score_masks(flat, rules, where)
        found, wanted, notes = masks.dataset, dict(masks.maps[0].labels), masks.notes
        by_arm = {arm.name: own for arm, own in reversed([*zip(flat, masks.maps, strict=True)])}
        known = {"the predictions": rules, **known}
        tables.insert(0, long_table(masks.scored, found))
    else:
        found = Dataset(str(tables[0]["dataset"].iloc[0]), {}, {}, {})
        wanted = {str(s): () for s in dict.fromkeys(tables[0]["structure"])}
    table = validated(pd.concat(with_own_seeds(tables), ignore_index=True))
    structures, absent = annotated_structures(table, wanted)
    if not structures:
        raise UserError(f"no ground truth of {found.name} holds any of {', '.join(wanted)}; check the labels")
    table = table[table["structure"].isin(structures)].reset_index(drop=True)
    _check_same_cases(table, list(sources))
    return Scored(arms, found, {s: wanted[s] for s in structures}, common_rules(known, structures), table, absent, notes, by_arm)


def numbered(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Several trainings of one arm need different seeds: those that were recorded, or else their number."""
    seeds = {arm.seed for arm in arms}
    if len(seeds) == len(arms) and (len(arms) == 1 or "" not in seeds):
        return tuple(arms)
    return tuple(replace(arm, seed=str(i)) for i, arm in enumerate(arms, start=1))


def _check_same_cases(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise UserError unless every arm has scores of the same structures, cases and folds (a table may hold anything)."""
    keys = ["structure", "patient", "phase", "fold", "metric"]
    metrics = set(METRICS).intersection(*(set(table.loc[table["model"] == name, "metric"]) for name in names))
    shown = table[table["metric"].isin(metrics)]
    found = {name: set(shown.loc[shown["model"] == name, keys].itertuples(index=False, name=None)) for name in names}
    for name in names[1:]:
        if different := found[names[0]] ^ found[name]:
            which = shortened({" ".join(str(part) for part in (patient, phase) if part) for _, patient, phase, *_ in different})
            raise UserError(
                f"{names[0]} and {name} do not have scores of the same structures, cases and folds (they differ in {which}); "
                "score both alike"
            )


@dataclass(frozen=True)
class ScoredMasks:
    """Every prediction of all arms with its scores, and how its labels were read."""

    dataset: Dataset
    scored: list[ScoredCase]
    maps: list[LabelMaps]  # of each arm; they differ in the predictions' labels alone
    notes: list[str]


def score_masks(arms: Sequence[Arm], rules: ScoringRules, where: Where) -> ScoredMasks:
    """Score all predictions of ``arms``, whose label maps may differ from each other and from the ground truth's.

    Raises:
        UserError: no ground truth, a missing prediction, arms that do not match, or a file that cannot be scored.
    """
    gt, allowed = where.get("gt"), where.get("allow_missing", False)
    for other in arms[1:]:
        check_pairing(arms[0], other, allowed)
    cases = frozenset[str]().union(*(arm.cases for arm in arms))
    found = find_dataset(cases, [arm.folder for arm in arms], gt, where.get("dataset"), every=True)
    missing = missing_predictions(arms, found, allowed)
    given = (where.get("labels"), where.get("prediction_labels"), where.get("reference_labels"))
    read = [label_maps(arm, found, gt, *given) for arm in arms]
    notes = [note for _, told in read for note in told]
    if alone := ungrouped({case: info.patient for case, info in found.cases.items() if case in cases}):
        notes.append(f"{alone[0].upper()}{alone[1:]}.")
    maps = _same_structures(arms, [one for one, _ in read])
    n = where.get("workers", 1)
    workers = workers_for(sum(len(arm.predictions) for arm in arms)) if n is None else n
    scored = score_arms(arms, found, maps, rules, workers, missing)
    for arm, places in zip(arms, missing, strict=True):
        own = [case for case in scored if case.arm is arm]
        of = f" of {arm.name}" if len(arms) > 1 else ""
        notes += noticed(own, found, of)
        if lacking := {case for case, _ in places}:
            notes.append(f"No prediction{of} for {len(lacking)} cases, scored as '{rules.empty}' says: {shortened(lacking, 10)}.")
    return ScoredMasks(found, scored, maps, list(dict.fromkeys(notes)))


def _same_structures(arms: Sequence[Arm], maps: list[LabelMaps]) -> list[LabelMaps]:
    """The label maps with the structures that all arms have."""
    shared = [s for s in maps[0].labels if all(s in one.labels for one in maps)]
    if not shared:
        raise UserError(f"{shortened({arm.name for arm in arms})} have no structure in common; name the structures with --labels")

    def kept(labels: Labels) -> Labels:
        return {s: labels[s] for s in shared}

    return [
        replace(one, labels=kept(one.labels), prediction_labels=None if one.prediction_labels is None else kept(one.prediction_labels))
        for one in maps
    ]


def score_arms(
    arms: Sequence[Arm],
    dataset: Dataset,
    maps: Sequence[LabelMaps],
    rules: ScoringRules,
    workers: int = 1,
    missing: Sequence[Collection[Place]] = (),
) -> list[ScoredCase]:
    """Every prediction with its scores, sorted by case; the ground truth of a case is read once for all arms with equal label maps.

    Args:
        maps: of each arm.
        workers: processes. More than one needs a main module that may be imported (``if __name__ == "__main__"``).
        missing: of each arm, what it lacks.
    """
    groups: list[tuple[LabelMaps, dict[str, list[tuple[int, str, Prediction | None]]]]] = []
    for i, (arm, one) in enumerate(zip(arms, maps, strict=True)):
        by_case = next((cases for known, cases in groups if known == one), None)
        if by_case is None:
            groups.append((one, by_case := {}))
        for prediction in arm.predictions:
            by_case.setdefault(prediction.case, []).append((i, prediction.fold, prediction))
        for case, fold in sorted(missing[i]) if missing else ():
            by_case.setdefault(case, []).append((i, fold, None))
    scored: list[tuple[str, int, ScoredCase]] = []
    done = 0
    with progress("scoring", sum(len(by_case) for _, by_case in groups)) as bar:
        for one, by_case in groups:
            files = [
                CaseFiles(case, dataset.ground_truth[case], tuple(p.path if p else None for _, _, p in by_case[case]))
                for case in sorted(by_case)
            ]
            for case_files, scores in zip(files, score_cases(files, one, rules, workers), strict=True):
                case = case_files.case
                for (i, fold, p), of_one in zip(by_case[case], scores, strict=True):
                    scored.append((case, i, ScoredCase(arms[i], case, fold, p, of_one.scores, of_one.remarks)))
                bar.advance(done := done + 1, case)
    return [one for _, _, one in sorted(scored, key=lambda entry: entry[:2])]


def long_table(scored: Sequence[ScoredCase], dataset: Dataset) -> pd.DataFrame:
    """The long table of ``evaluation.scoring.table``. Structures that were not contoured in a case (``cohort.json``) are left out of it."""
    # An arm whose folder does not tell its folds (predictions of a test set) pairs with one that does.
    folds_known = all(one.fold for one in scored)
    return validated(pd.DataFrame([row for one in scored for row in _rows(one, dataset, folds_known)], columns=list(COLUMNS)))


def _rows(scored: ScoredCase, dataset: Dataset, folds_known: bool) -> list[dict[str, Any]]:
    info, arm, prediction = dataset.cases[scored.case], scored.arm, scored.prediction
    common = {
        "dataset": dataset.name,
        "vendor": info.vendor,
        "centre": info.centre,
        "diagnosis": info.diagnosis,
        "patient": info.patient,
        "phase": info.phase,
        "fold": scored.fold if folds_known else "",
        "seed": arm.seed,
        "model": arm.name,
        "mix_ratio": arm.mix_ratio,
        # Relative, so that the table can be shared without the layout of somebody's disk.
        "prediction_file": prediction.path.resolve().relative_to(arm.folder.resolve()).as_posix() if prediction else "",
    }
    return [
        {**common, "structure": structure, "metric": metric, "value": value, "unit": UNITS[metric], "failure": one.failure}
        for structure, one in scored.scores.items()
        if info.annotated is None or structure in info.annotated
        for metric, value in one.values.items()
    ]


def annotated_structures(table: pd.DataFrame, defined: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Structures that any ground truth holds, and those of the table or ``defined`` that none does (not annotated: not to be scored)."""
    volumes = table[table["metric"] == REFERENCE_VOLUME].groupby("structure", sort=False)["value"].max()
    held = [s for s in volumes.index if volumes[s] > 0]
    return held, [s for s in dict.fromkeys([*volumes.index, *defined]) if s not in held]
