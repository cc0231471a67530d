"""nnU-Net's data loader with an exact synthetic share."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_synth_aug.nnunet.dataset import MixedDataset
from nnunet_synth_aug.nnunet.mixture import Quota


class MixedDataLoader(nnUNetDataLoader):
    """Draws a fixed quota of synthetic cases per batch; everything else is nnU-Net's.

    Within each kind a case is drawn uniformly with replacement, as nnU-Net does. Which cases come first is
    random, because the loader forces foreground in the last third of the positions.
    """

    def __init__(self, data: MixedDataset, *args: Any, **kwargs: Any) -> None:
        super().__init__(data, *args, **kwargs)
        self._ratio = data.ratio
        self._real_ids = np.array(data.real.identifiers)
        self._synthetic_ids = np.array(data.synthetic.identifiers)
        self._quota: Quota | None = None

    def get_indices(self) -> np.ndarray:
        """Case ids of the next batch, shape (batch_size,)."""
        if self._quota is None:
            # Not in __init__: workers are copies of this loader, reseed numpy's global generator, and must differ.
            self._quota = Quota(self._ratio, self.batch_size, phase=float(np.random.uniform()))
        synthetic = self._quota.next()
        drawn = np.concatenate(
            [np.random.choice(self._real_ids, self.batch_size - synthetic), np.random.choice(self._synthetic_ids, synthetic)]
        )
        return np.random.permutation(drawn)
