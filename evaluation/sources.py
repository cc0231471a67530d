"""Where the scores of an arm come from: results folders that are scored, or tables that were scored before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from evaluation.arms import Arm, check_complete, check_pairing, read_arm
from evaluation.collect import annotated_structures, collect
from evaluation.dataset import Dataset, find_dataset, shortened, structure_labels
from evaluation.metrics import Labels
from evaluation.table import read_table, validated
from nnunet_synth_aug.errors import UserError


@dataclass(frozen=True)
class Scored:
    """The long table of all arms and what it was made from."""

    arms: dict[str, tuple[Arm, ...]]  # name -> its trainings; none where scores came from a table
    dataset: Dataset
    labels: Labels
    engine: str
    table: pd.DataFrame
    absent: list[str]  # structures that no ground truth holds


def read_sources(
    sources: Mapping[str, Sequence[Path]],
    *,
    gt: Path | None = None,
    dataset: Path | None = None,
    engine: str = "native",
    labels: dict[str, int] | None = None,
) -> Scored:
    """Read and score every arm.

    Args:
        sources: arm -> its results folders (one per training; see :func:`evaluation.arms.read_arm`), or ``metrics.csv``
            files, from which the rows of the model with the arm's name are taken, or those of the only model.
        gt, dataset, engine, labels: see :func:`evaluation.compare.compare`.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match.
    """
    folders = {name: [p for p in paths if p.suffix != ".csv"] for name, paths in sources.items()}
    arms = {name: numbered([read_arm(p, name) for p in paths]) for name, paths in folders.items()}
    tables = [_read_scores(p, name) for name, paths in sources.items() for p in paths if p.suffix == ".csv"]
    flat = [arm for runs in arms.values() for arm in runs]
    for other in flat[1:]:
        check_pairing(flat[0], other)
    if flat:
        found = find_dataset(flat[0].cases, [arm.folder for arm in flat], gt, dataset)
        for arm in flat:
            check_complete(arm, found)
        defined, ignore = structure_labels(next((arm.dataset_json for arm in flat if arm.dataset_json), found.dataset_json))
        wanted: Labels = structure_labels(None, labels)[0] if labels else defined
        known = {0, *(v for values in (*defined.values(), *wanted.values()) for v in values)} | ({ignore} if ignore is not None else set())
        tables.insert(0, collect(flat, found, wanted, frozenset(known), ignore, engine))
    else:
        found = Dataset(str(tables[0]["dataset"].iloc[0]), {}, {}, {})
        wanted = {str(s): () for s in dict.fromkeys(tables[0]["structure"])}
    table = validated(pd.concat(_with_own_seeds(tables), ignore_index=True))
    structures, absent = annotated_structures(table, wanted)
    if not structures:
        raise UserError(f"no ground truth of {found.name} holds any of {', '.join(wanted)}; check the labels")
    table = table[table["structure"].isin(structures)].reset_index(drop=True)
    _check_same_cases(table, list(sources))
    return Scored(arms, found, {s: wanted[s] for s in structures}, engine, table, absent)


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
