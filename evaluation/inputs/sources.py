"""Where the scores of an arm come from: results folders that are scored, or tables that were scored before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

import pandas as pd

from evaluation.inputs.arms import Arm, read_arm
from evaluation.inputs.collect import annotated_structures, long_table
from evaluation.inputs.dataset import Dataset, read_object, shortened
from evaluation.inputs.masks import Options, check_options, score_masks, tolerances
from evaluation.scoring.case import Rules
from evaluation.scoring.metrics import Labels
from evaluation.scoring.table import read_table, validated
from nnunet_synth_aug.core.errors import UserError


@dataclass(frozen=True)
class How:
    """By which rules a table was scored; "" and nothing where that is not known (a table without its ``evaluation.json``)."""

    empty: str = ""  # one of policies.EMPTY_POLICIES
    tolerance: Mapping[str, float] = field(default_factory=dict)  # of the surface Dice in mm, by structure
    engine: str = ""
    largest_heart: bool = False  # whether islands were taken out of the predictions


@dataclass(frozen=True)
class Scored:
    """The long table of all arms and what it was made from."""

    arms: dict[str, tuple[Arm, ...]]  # name -> its trainings; none where scores came from a table
    dataset: Dataset
    labels: Labels
    how: How
    table: pd.DataFrame
    absent: list[str]  # structures that no ground truth holds
    notes: list[str]
    rules: dict[str, Rules]  # of the arms whose masks were scored


def read_sources(sources: Mapping[str, Sequence[Path]], **options: Unpack[Options]) -> Scored:
    """Read and score every arm.

    Args:
        sources: arm -> its results folders (one per training; see :func:`evaluation.inputs.arms.read_arm`), or ``metrics.csv``
            files, from which the rows of the model with the arm's name are taken, or those of the only model.
        options: see :class:`evaluation.inputs.masks.Options`; they concern folders, not tables.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match.
    """
    check_options(options)
    folders = {name: [p for p in paths if p.suffix != ".csv"] for name, paths in sources.items()}
    arms = {name: numbered([read_arm(p, name) for p in paths]) for name, paths in folders.items()}
    files = [(p, name) for name, paths in sources.items() for p in paths if p.suffix == ".csv"]
    tables = [_read_scores(p, name) for p, name in files]
    rules = {str(p): how for p, _ in files if (how := _rules_beside(p))}
    notes: list[str] = []
    by_arm: dict[str, Rules] = {}
    if flat := [arm for runs in arms.values() for arm in runs]:
        masks = score_masks(flat, options)
        found, wanted, notes = masks.dataset, dict(masks.rules[0].labels), masks.notes
        one = masks.rules[0]
        by_arm = {arm.name: own for arm, own in reversed([*zip(flat, masks.rules, strict=True)])}
        rules = {"the predictions": How(one.empty, tolerances(one.tolerance, wanted), one.engine, one.largest_heart), **rules}
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
    return Scored(arms, found, {s: wanted[s] for s in structures}, _common(rules, structures), table, absent, notes, by_arm)


def _rules_beside(table: Path) -> How | None:
    """What ``synthaug evaluate`` or ``compare`` wrote about the table beside it."""
    for name in ("evaluation.json", "comparison.json", "overview.json"):
        path = table.with_name(name)
        if path.is_file() and (policy := (about := read_object(path)).get("empty_masks", {}).get("policy")):
            return How(policy, about.get("surface_dice_tolerance_mm", {}), about.get("engine", ""), about.get("largest_heart", False))
    return None


def _common(rules: Mapping[str, How], structures: Sequence[str]) -> How:
    """The rules that all sources share.

    Raises:
        UserError: values of two sources mean different things.
    """
    (first, how), *others = rules.items() or [("", How())]
    for where, other in others:
        if other.empty != how.empty:
            raise UserError(
                f"empty masks were scored by '{how.empty}' in {first} and by '{other.empty}' in {where}; score both with the same --empty"
            )
        if other.largest_heart != how.largest_heart:
            raise UserError(f"{first} and {where} differ in whether islands were scored; score both with --largest-heart or both without")
        if any(other.tolerance.get(s, mm) != mm for s, mm in how.tolerance.items()):
            raise UserError(f"{first} and {where} were scored with different tolerances of the surface Dice; score both with the same")
    return replace(how, tolerance={s: mm for s, mm in how.tolerance.items() if s in structures})


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
