"""nnU-Net's data loader with an exact synthetic share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_synth_aug.nnunet.mixing.dataset import MixedDataset
from nnunet_synth_aug.nnunet.mixing.mixture import Mix, Quota


class MixedDataLoader(nnUNetDataLoader):
    """Draws an exact quota of synthetic cases per batch; everything else is nnU-Net's.

    nnU-Net gives every worker process a copy of this loader, and the copies make batches ahead of the training, each at its own
    speed. What they share is the number of the next batch, and from it follow the batch's epoch, ratio and quota.
    So the quota is exact over all workers together, and a new ratio holds from the epoch's first batch on, whoever made it
    and however early; only that a batch may overtake another in the workers' queue.

    Real cases are drawn uniformly with replacement, as nnU-Net does. Which cases come first is random, because nnU-Net
    forces foreground in the last third of the positions.
    """

    def __init__(self, data: MixedDataset, *args: Any, mix: Mix, **kwargs: Any) -> None:
        super().__init__(data, *args, **kwargs)
        self._real_ids = np.array(data.real.identifiers)
        self._synthetic_ids = np.array(data.synthetic.identifiers)
        drawn = mix.probabilities
        self._probabilities = None if drawn is None else np.array([drawn[case] for case in data.synthetic.identifiers])
        self._quota = Quota(mix.ratios, mix.iterations, mix.batch_sizes or (self.batch_size,), mix.rank)
        # By the default start method, as nnU-Net starts its workers: forked ones inherit it, spawned ones are handed it.
        self._number = multiprocessing.Value("q", mix.first)

    def get_indices(self) -> np.ndarray:
        """Case ids of the next batch, shape (batch_size,)."""
        with self._number.get_lock():
            number = self._number.value
            self._number.value += 1
        synthetic = self._quota.count(number)
        real = np.random.choice(self._real_ids, self.batch_size - synthetic)
        return np.random.permutation(np.concatenate([real, np.random.choice(self._synthetic_ids, synthetic, p=self._probabilities)]))

    def generate_train_batch(self) -> dict[str, Any]:
        """nnU-Net's batch, and ``versions`` (batch_size,): of the cases as they were read, see MixedDataset."""
        self._data.loaded.clear()
        batch: dict[str, Any] = super().generate_train_batch()
        return batch | {"versions": np.array(self._data.loaded)}


@contextmanager
def mixed_loaders(mix: Mix) -> Iterator[None]:
    """Within it nnU-Net makes a MixedDataLoader for every MixedDataset, and its own loader for all other data.

    nnU-Net names its loader class inside a long method that changes between releases; replacing the name for the time of the
    call keeps all the rest its own. Whoever calls this checks the result with :func:`is_mixed`.
    """
    # Not above: spawned workers import this module, and need no trainer.
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813

    def make_loader(data: Any, *args: Any, **kwargs: Any) -> nnUNetDataLoader:
        if isinstance(data, MixedDataset):
            return MixedDataLoader(data, *args, mix=mix, **kwargs)
        return nnUNetDataLoader(data, *args, **kwargs)

    host.nnUNetDataLoader = make_loader
    try:
        yield
    finally:
        host.nnUNetDataLoader = nnUNetDataLoader


def is_mixed(augmenter: Any) -> bool:
    """Whether the augmenter around a loader, with or without worker processes, holds a MixedDataLoader."""
    return isinstance(getattr(augmenter, "generator", None) or augmenter.data_loader, MixedDataLoader)
