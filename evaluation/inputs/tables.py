"""Tables that were scored before, with the rules by which they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from evaluation.scoring.rules import ScoringRules, from_json
from evaluation.scoring.table import read_table
from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_object


def rules_beside(table: Path) -> ScoringRules | None:
    """What ``synthaug evaluate`` or ``compare`` wrote about the table beside it."""
    paths = [path for name in ("evaluation.json", "comparison.json", "overview.json") if (path := table.with_name(name)).is_file()]
    return next((rules for path in paths if (rules := from_json(read_object(path)))), None)


def common_rules(known: Mapping[str, ScoringRules], structures: Sequence[str]) -> ScoringRules | None:
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


def read_scores(path: Path, name: str) -> pd.DataFrame:
    """The rows of the model ``name`` in a ``metrics.csv``, or those of its only model under this name.

    Raises:
        UserError: it holds several models, and none of that name.
    """
    table = read_table(path)
    models = list(dict.fromkeys(table["model"]))
    if name in models:
        return table[table["model"] == name]
    if len(models) != 1:
        raise UserError(f"{path} holds no model {name!r} but {shortened(models)}; name the arm after one of them")
    return table.assign(model=name)


def with_own_seeds(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of the same model and seed are different trainings: all but the first get their number as seed."""
    seen: set[tuple[str, str]] = set()
    result = []
    for number, table in enumerate(tables, start=1):
        own = set(table[["model", "seed"]].itertuples(index=False, name=None))
        result.append(table.assign(seed=f"table {number} " + table["seed"]) if own & seen else table)
        seen |= own
    return result
