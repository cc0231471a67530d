"""Real and synthetic preprocessed cases behind nnU-Net's dataset interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset, nnUNetDatasetBlosc2

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.bank.files import read_properties
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES
from nnunet_synth_aug.nnunet.refresh.cases import VERSION, read_case


class BankDataset(nnUNetDatasetBlosc2):
    """A bank's cases as nnU-Net reads its own, but for the properties: nothing in them can run, see ``bank.files``."""

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image and segmentation as blosc2 arrays on disk, None (no cascade), properties."""
        case = Path(self.source_folder) / identifier
        image, seg = (
            blosc2.open(urlpath=f"{case}{ending}", mode="r", dparams={"nthreads": 1}, **self.mmap_kwargs) for ending in CASE_FILES[:2]
        )
        return image, seg, None, read_properties(Path(f"{case}.pkl"))


class LiveDataset(BankDataset):
    """A bank whose cases a generator replaces during training: the newest version of each, see ``refresh_cases``."""

    def __init__(self, bank: Path, identifiers: list[str], live: Path) -> None:
        super().__init__(str(bank), identifiers)
        self.live = live

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """A replaced case if there is one, else the bank's own; as nnU-Net's datasets give it."""
        return read_case(self.live, identifier) or super().load_case(identifier)


class MixedDataset:
    """A training dataset of two: every id is loaded from the one that holds it.

    It offers what nnU-Net's loader uses, ``identifiers`` and ``load_case``, and for MixedDataLoader ``loaded``: the version of every
    case loaded since it was last cleared, 0 for real ones and the bank's own.
    """

    def __init__(self, real: nnUNetBaseDataset, synthetic: nnUNetBaseDataset) -> None:
        both = sorted(set(real.identifiers) & set(synthetic.identifiers))
        if both:
            raise UserError(f"the real case {both[0]} has the name of a synthetic case; rename it in nnUNet_raw and preprocess again")
        self.real, self.synthetic = real, synthetic
        self.loaded: list[int] = []
        self._synthetic_ids = frozenset(synthetic.identifiers)
        # A new list: for fold "all" nnU-Net's training and validation datasets share theirs.
        self.identifiers: list[str] = [*real.identifiers, *synthetic.identifiers]

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image (C, Z, Y, X), segmentation (1, Z, Y, X), None (no cascade), properties."""
        case: tuple[Any, Any, Any, dict[str, Any]] = (self.synthetic if identifier in self._synthetic_ids else self.real).load_case(
            identifier
        )
        self.loaded.append(case[3].get(VERSION, 0))
        return case

    def __getitem__(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        return self.load_case(identifier)
