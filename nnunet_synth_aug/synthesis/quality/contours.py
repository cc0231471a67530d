"""Which slices of a decoded mask show contours that somebody could have drawn.

In systole the heart's base moves out of its most basal slice. A patient's slice shows the heart in one frame and the atrium in
another; the latents of a generated one pass between the two and are decoded to shreds of a heart, over an image that still
shows one. Shreds are wrong labels, and checks of the whole frame do not see them: they are one slice of nine. The limits are
those that all 536 manually contoured slices of 40 patients keep, and phantoms, with a margin (tests/test_contours.py).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from nnunet_synth_aug.core.labels import LV, MYO, RV

#: Voxels of a slice, below which its contours say nothing.
MIN_SLICE = 12
#: Share of the LV's border that touches myocardium: contours by hand have 0.99 to 1.
MIN_RING = 0.9
#: Share of ventricle or wall that hangs together within the slice.
MIN_TOGETHER, MIN_RV_TOGETHER = 0.95, 0.9
#: Share of its convex hull that the whole LV with its wall fills (by hand: 0.94 and more), and its cavity or an RV alone.
MIN_CONVEX, MIN_CONVEX_ALONE = 0.85, 0.75
#: Share of the slices of a frame that may be cut off.
MAX_CUT = 0.34

_CROSS = ndimage.generate_binary_structure(2, 1)
_SQUARE = np.ones((3, 3), bool)


def torn_slices(mask: np.ndarray) -> np.ndarray:
    """Whether each slice of one frame's mask (X, Y, Z) has labels that are no contours; bool (Z,). Slices without labels are not torn."""
    return np.array([bool(np.any(plane)) and _torn(plane) for plane in np.moveaxis(cropped(mask), -1, 0)], bool)


def cropped(mask: np.ndarray) -> np.ndarray:
    """The box in plane around the labels of a mask (X, Y, Z), with a margin of two pixels: most of a frame is background."""
    inside = np.any(mask, axis=2)
    spans = []
    for axis in (0, 1):
        where = np.flatnonzero(np.any(inside, axis=1 - axis))
        spans.append(slice(max(where[0] - 2, 0), where[-1] + 3) if len(where) else slice(0))
    return mask[spans[0], spans[1]]


def _torn(plane: np.ndarray) -> bool:
    if np.count_nonzero(plane) < MIN_SLICE:
        return True
    lv, rv = plane == LV, plane == RV
    wall = lv | (plane == MYO)
    if lv.any():
        rim = ndimage.binary_dilation(lv, _CROSS) & ~lv
        if np.count_nonzero(rim & wall) < MIN_RING * np.count_nonzero(rim) or _together(lv) < MIN_TOGETHER:
            return True
        if np.count_nonzero(lv) >= MIN_SLICE and convexity(lv) < MIN_CONVEX_ALONE:
            return True
    if wall.any() and (_together(wall) < MIN_TOGETHER or convexity(ndimage.binary_fill_holes(wall)) < MIN_CONVEX):
        return True
    if not rv.any():
        return False
    # Beyond the LV's base the RV may be alone, and is then round; beside the LV it is a crescent.
    return _together(rv) < MIN_RV_TOGETHER or (not wall.any() and convexity(rv) < MIN_CONVEX_ALONE)


def _together(shape: np.ndarray) -> float:
    """Share of the largest component; corners connect."""
    sizes = np.bincount(ndimage.label(shape, _SQUARE)[0][shape])
    return float(sizes.max() / sizes.sum())


def convexity(shape: np.ndarray) -> float:
    """Share of its convex hull that a shape (X, Y) of pixels fills (its solidity): 1 for a rectangle, less for shreds and crescents."""
    rows = np.flatnonzero(shape.any(1))
    first, last = shape[rows].argmax(1), shape.shape[1] - shape[rows, ::-1].argmax(1)
    # The hull of all pixels' corners is that of each row's ends.
    ends = np.concatenate([np.stack([rows + side, end], 1) for side in (0, 1) for end in (first, last)])
    return float(np.count_nonzero(shape) / ConvexHull(ends).volume)


def sound_range(mask: np.ndarray) -> tuple[int, int] | None:
    """The slices of a frame's mask (X, Y, Z) that can be trusted: first and last + 1.

    Where the first or last labelled slices are torn, they and all beyond are left out. None if a slice in the middle is torn,
    or if more than a third of the labelled ones would be left out.
    """
    labelled = np.flatnonzero(np.any(mask, axis=(0, 1)))
    if not len(labelled):
        return None
    torn = torn_slices(mask)
    whole = [z for z in labelled if not torn[z]]
    if len(whole) < (1 - MAX_CUT) * len(labelled) or torn[whole[0] : whole[-1] + 1].any():
        return None
    first = 0 if whole[0] == labelled[0] else whole[0]
    last = mask.shape[-1] if whole[-1] == labelled[-1] else whole[-1] + 1
    return int(first), int(last)


def sound_ranges(mask: np.ndarray) -> dict[int, tuple[int, int]]:
    """Of every frame of a mask (T, X, Y, Z) that has one."""
    return {t: found for t, frame in enumerate(mask) if (found := sound_range(frame)) is not None}
