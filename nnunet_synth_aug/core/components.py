"""Islands: what a network finds elsewhere in the body, the commonest gross error of one that was trained on few patients."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def without_islands(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of the heart, all structures together (X, Y, Z).

    The same as nnU-Net's postprocessing of the foreground: voxels that share a corner are connected.
    """
    parts, count = ndimage.label(mask > 0, np.ones((3, 3, 3)))
    return mask if count < 2 else mask * (parts == np.bincount(parts[mask > 0]).argmax())
