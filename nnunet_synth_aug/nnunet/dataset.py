"""Real and synthetic preprocessed cases behind nnU-Net's dataset interface."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunet_synth_aug.errors import UserError


class MixedDataset:
    """A training dataset of two: every id is loaded from the one that holds it.

    It offers what nnU-Net's loader uses, ``identifiers`` and ``load_case``, and the ``ratio`` for MixedDataLoader.
    """

    def __init__(self, real: nnUNetBaseDataset, synthetic: nnUNetBaseDataset, ratio: float) -> None:
        both = sorted(set(real.identifiers) & set(synthetic.identifiers))
        if both:
            raise UserError(f"the real case {both[0]} has the name of a synthetic case; rename it in nnUNet_raw and preprocess again")
        self.real, self.synthetic, self.ratio = real, synthetic, ratio
        self._synthetic_ids = frozenset(synthetic.identifiers)
        # A new list: for fold "all" nnU-Net's training and validation datasets share theirs.
        self.identifiers: list[str] = [*real.identifiers, *synthetic.identifiers]

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image (C, Z, Y, X), segmentation (1, Z, Y, X), None (no cascade), properties."""
        return (self.synthetic if identifier in self._synthetic_ids else self.real).load_case(identifier)

    def __getitem__(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        return self.load_case(identifier)
