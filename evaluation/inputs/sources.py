"""Where the scores of an arm come from: results folders that are scored, or tables that were scored before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import pandas as pd

from evaluation.inputs.arms import Arm, read_arm
from evaluation.inputs.dataset import Dataset, read_object, shortened
from evaluation.inputs.masks import Where, annotated_structures, long_table, score_masks
from evaluation.scoring.case import LabelMaps
from evaluation.scoring.metrics import Labels
from evaluation.scoring.rules import BY_DEFAULT, ScoringRules, from_json
from evaluation.scoring.table import read_table, validated
from nnunet_synth_aug.core.errors import UserError


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
        where: see :class:`evaluation.inputs.masks.Where`; likewise of folders.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match.
    """
    folders = {name: [p for p in paths if p.suffix != ".csv"] for name, paths in sources.items()}
    arms = {name: numbered([read_arm(p, name) for p in paths]) for name, paths in folders.items()}
    files = [(p, name) for name, paths in sources.items() for p in paths if p.suffix == ".csv"]
    tables = [_read_scores(p, name) for p, name in files]
    known = {str(p): own for p, _ in files if (own := _rules_beside(p))}
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
    table = validated(pd.concat(_with_own_seeds(tables), ignore_index=True))
    structures, absent = annotated_structures(table, wanted)
    if not structures:
        raise UserError(f"no ground truth of {found.name} holds any of {', '.join(wanted)}; check the labels")
    table = table[table["structure"].isin(structures)].reset_index(drop=True)
    _check_same_cases(table, list(sources))
    return Scored(arms, found, {s: wanted[s] for s in structures}, _common(known, structures), table, absent, notes, by_arm)


def _rules_beside(table: Path) -> ScoringRules | None:
    """What ``synthaug evaluate`` or ``compare`` wrote about the table beside it."""
    paths = [path for name in ("evaluation.json", "comparison.json", "overview.json") if (path := table.with_name(name)).is_file()]
    return next((rules for path in paths if (rules := from_json(read_object(path)))), None)


def _common(known: Mapping[str, ScoringRules], structures: Sequence[str]) -> ScoringRules | None:
    """The rules that all sources share, for these structures; None where none is known.

    Raises:
        UserError: values of two sources mean different things.
    """
    if not known:
        return None
    (first, rules), *others = known.items()
    for where, other in others:
        if other.empty != rules.empty:
            raise UserError(
                f"empty masks were scored by '{rules.empty}' in {first} and by '{other.empty}' in {where}; score both with the same --empty"
            )
        if other.largest_heart != rules.largest_heart:
            raise UserError(f"{first} and {where} differ in whether islands were scored; score both with --largest-heart or both without")
        if other.of(structures).tolerance != rules.of(structures).tolerance:
            raise UserError(f"{first} and {where} were scored with different tolerances of the surface Dice; score both with the same")
    return rules.of(structures)


def numbered(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Several trainings of one arm need different seeds: those that were recorded, or else their number."""
    seeds = {arm.seed for arm in arms}
    if len(seeds) == len(arms) and (len(arms) == 1 or "" not in seeds):
        return tuple(arms)
    return tuple(replace(arm, seed=str(i)) for i, arm in enumerate(arms, start=1))


def _read_scores(path: Path, name: str) -> pd.DataFrame:
    table = read_table(path)
    models = list(dict.fromkeys(table["model"]))
    if name in models:
        return table[table["model"] == name]
    if len(models) != 1:
        raise UserError(f"{path} holds no model {name!r} but {shortened(models)}; name the arm after one of them")
    return table.assign(model=name)


def _with_own_seeds(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of the same model and seed are different trainings: all but the first get their number as seed."""
    seen: set[tuple[str, str]] = set()
    result = []
    for number, table in enumerate(tables, start=1):
        own = set(table[["model", "seed"]].itertuples(index=False, name=None))
        result.append(table.assign(seed=f"table {number} " + table["seed"]) if own & seen else table)
        seen |= own
    return result


def _check_same_cases(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise UserError unless every arm has scores of the same structures, cases and folds (a table may hold anything)."""
    keys = ["structure", "patient", "phase", "fold"]
    found = {name: set(table.loc[table["model"] == name, keys].itertuples(index=False, name=None)) for name in names}
    for name in names[1:]:
        if different := found[names[0]] ^ found[name]:
            which = shortened({" ".join(str(part) for part in (patient, phase) if part) for _, patient, phase, _ in different})
            raise UserError(
                f"{names[0]} and {name} do not have scores of the same structures, cases and folds (they differ in {which}); "
                "score both alike"
            )
