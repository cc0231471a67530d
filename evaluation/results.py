"""Everything that one comparison found, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from evaluation.arms import Arm
from evaluation.dataset import Dataset
from evaluation.metrics import Labels
from evaluation.pairing import SIDES
from evaluation.table import BOTH_EMPTY


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; tables as their makers document them."""

    arms: tuple[Arm, Arm]
    dataset: Dataset
    labels: Labels  # the scored structures
    engine: str
    table: pd.DataFrame  # long table
    pairs: pd.DataFrame
    values: pd.DataFrame  # per patient
    summary: pd.DataFrame
    sensitivity: pd.DataFrame
    phases: pd.DataFrame
    groups: dict[str, pd.DataFrame]  # "vendor", "diagnosis"
    clinical: pd.DataFrame
    agreement: pd.DataFrame
    conclusion: list[str]
    notes: list[str]
    versions: dict[str, str]

    @property
    def names(self) -> tuple[str, str]:
        return (self.arms[0].name, self.arms[1].name)

    @property
    def failures(self) -> pd.DataFrame:
        """One row per prediction and structure in which exactly one mask is empty."""
        one = self.table[(self.table["metric"] == "Dice") & ~self.table["failure"].isin(["", BOTH_EMPTY])]
        return one[["model", "patient", "phase", "fold", "structure", "failure", "prediction_file"]].reset_index(drop=True)

    @property
    def excluded(self) -> int:
        """Pairs of case and structure in which both masks of both arms are empty."""
        return int(self.pairs.loc[self.pairs["metric"] == "Dice", list(SIDES)].isna().all(axis=1).sum())
