"""Everything that one comparison found, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from evaluation.analysis.paired import Margins
from evaluation.inputs.arms import Arm
from evaluation.inputs.dataset import Dataset
from evaluation.scoring.masks import LabelMaps, Labels
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.table import BOTH_EMPTY


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; tables as their makers document them."""

    names: tuple[str, str]
    arms: tuple[tuple[Arm, ...], tuple[Arm, ...]]  # the trainings of either arm; none where scores came from a table
    dataset: Dataset
    labels: Labels  # the scored structures
    rules: ScoringRules | None  # None where scores came from a table without word of them
    maps: tuple[LabelMaps, LabelMaps] | None  # how the masks of either arm were read; None where scores came from a table
    margins: Margins
    table: pd.DataFrame  # long table of both arms
    pairs: pd.DataFrame
    values: pd.DataFrame  # per patient
    summary: pd.DataFrame
    family: int  # hypotheses corrected together
    sensitivity: pd.DataFrame
    breakdown: dict[str, pd.DataFrame]
    dependence: pd.DataFrame  # of the difference on vendor and centre
    clinical: pd.DataFrame
    agreement: pd.DataFrame
    conclusion: list[str]
    notes: list[str]
    versions: dict[str, str]

    @property
    def failures(self) -> pd.DataFrame:
        """One row per prediction and structure in which exactly one mask is empty, or that is missing."""
        one = self.table[(self.table["metric"] == "Dice") & ~self.table["failure"].isin(["", BOTH_EMPTY])]
        return one[["model", "patient", "phase", "fold", "structure", "failure", "prediction_file"]].reset_index(drop=True)

    @property
    def excluded(self) -> int:
        """Pairs of case and structure in which both masks of both arms are empty."""
        dice = self.table[self.table["metric"] == "Dice"]
        empty = (dice["failure"] == BOTH_EMPTY).groupby([dice[c] for c in ("structure", "patient", "phase", "fold")])
        return int(empty.all().sum())

    @property
    def cases(self) -> int:
        """Predictions of one training of an arm."""
        return len(self.pairs[["patient", "phase", "fold"]].drop_duplicates())
