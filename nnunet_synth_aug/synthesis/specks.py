"""Specks of a decoded mask: voxels of a structure that hang together with nothing, where the decoder can hardly tell two labels apart.

A contour drawn by hand has none, and nnU-Net would learn to draw them. Larger fragments stay: they are defects, which the quality control
must see.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.synthesis.quality.defects import MIN_CONNECTED, TOUCHING


def without_specks(best: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mask with specks in their second-best label.

    A speck is a component that holds less than a tenth of its structure, and is not the largest. As in the quality control, corners
    connect, and the LV cavity connects myocardium.

    Args:
        best: uint8 (X, Y, Z), the most likely label.
        second: uint8 (X, Y, Z), the one after.
    """
    mask = best.copy()
    for label in (RV, LV, MYO):  # myocardium last: it takes in most specks of the others
        structure = mask == label
        whole = structure | (mask == LV) if label == MYO else structure
        components, count = ndimage.label(whole, TOUCHING)
        if count < 2:
            continue
        sizes = np.bincount(components[structure], minlength=count + 1)
        small = sizes < (1 - MIN_CONNECTED) * sizes.sum()
        small[sizes.argmax()] = False
        away = structure & small[components]
        mask[away] = second[away]
    return mask
