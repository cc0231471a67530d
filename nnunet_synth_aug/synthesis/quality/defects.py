"""Anatomical acceptance of a synthetic sequence. Every rejection has a name and is counted.

Rejecting is a selection: the counts travel with the sequences so that a reader can weigh it. The limits are those that
sound hearts keep with a margin: phantoms of all vendors in every frame, few-slice ones included (tests/test_quality.py).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy import ndimage

from nnunet_synth_aug.core.labels import LV, MYO, RV, STRUCTURES
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.synthesis.quality.contours import cropped, sound_range

#: A structure of fewer voxels is missing.
MIN_VOXELS = 20
#: Share of a structure that its largest component holds.
MIN_CONNECTED = 0.9
#: Share of the LV's in-plane border that touches myocardium at ED, and in other frames, where the border is short: real hearts have
#: 1, but the `tiny` VAE's own reconstructions of held-out phantoms go down to 0.74 and 0.67, and no sample is better than those.
MIN_ENCLOSED, MIN_ENCLOSED_MOVING = 0.75, 0.65
#: Share of the frames that may show one kind of defect (a missing structure: none).
MAX_DEFECTIVE_FRAMES = 0.25
#: Coefficient of variation of the myocardial volume over the cycle; up to 0.21 in real stacks whose base is cut away.
MAX_MASS_SPREAD = 0.25
#: Depth of a second minimum of the LV volume, as a share of its stroke and of its largest value: smaller ones are wiggles.
WIGGLE_OF_STROKE, WIGGLE_OF_VOLUME = 0.2, 0.03
#: How far another frame's LV may exceed that of ED.
MAX_ABOVE_ED = 0.1
#: Mean Dice of an independent segmenter's masks below which image and mask are said to disagree.
MIN_AGREEMENT = 0.6
#: Why a heart cannot be shown in training patients' pixels: none of them can be brought to it.
CANNOT_FOLLOW = "donor_cannot_follow"

#: Corners touch, too: breath-holds shift slices against each other.
TOUCHING = np.ones((3, 3, 3), bool)
_PLANE = np.zeros((3, 3, 3), bool)
_PLANE[:, :, 1] = ndimage.generate_binary_structure(2, 1)


def missing(mask: np.ndarray) -> list[str]:
    """``missing_<structure>`` of the mask (X, Y, Z) of one frame."""
    return [f"missing_{name}" for name, label in STRUCTURES.items() if np.count_nonzero(mask == label) < MIN_VOXELS]


def frame_defects(mask: np.ndarray, enclosed: float = MIN_ENCLOSED) -> list[str]:
    """Names of what is anatomically wrong with the mask (X, Y, Z) of one frame; empty if nothing.

    missing_<structure>    fewer than 20 voxels
    fragmented_<structure> its largest component holds less than 90 % of it (the LV cavity connects myocardium)
    lv_not_enclosed        less than the share ``enclosed`` of the LV's in-plane border touches myocardium
    rv_detached            the RV comes nowhere within two pixels of the myocardium
    torn_slices            none of these, but contours that nobody would draw, see
                           :func:`~nnunet_synth_aug.synthesis.quality.contours.sound_range`
    """
    found = []
    mask = cropped(mask)
    absent = missing(mask)
    for name, label in STRUCTURES.items():
        if f"missing_{name}" in absent:
            found.append(f"missing_{name}")
            continue
        structure = mask == label
        # Rings of neighbouring slices need not touch, but the ventricles that they surround do.
        whole = structure | (mask == LV) if label == MYO else structure
        if np.bincount(ndimage.label(whole, TOUCHING)[0][structure]).max() < MIN_CONNECTED * np.count_nonzero(structure):
            found.append(f"fragmented_{name}")
    if absent:
        return found
    rim = ndimage.binary_dilation(mask == LV, _PLANE) & (mask != LV)
    if np.count_nonzero(rim & (mask == MYO)) < enclosed * np.count_nonzero(rim):
        found.append("lv_not_enclosed")
    if not np.any(ndimage.binary_dilation(mask == RV, _PLANE, iterations=2) & (mask == MYO)):
        found.append("rv_detached")
    return found if found or sound_range(mask) is not None else ["torn_slices"]


def defective_frames(mask: np.ndarray) -> Counter[str]:
    """Number of frames of a mask (T, X, Y, Z) that show each defect."""
    return Counter(defect for frame in mask for defect in frame_defects(frame))


def minima(volumes: np.ndarray) -> int:
    """Number of minima of a volume curve (T,) over the closed cycle, wiggles left out.

    The curve is smoothed with (1, 2, 1) / 4 and followed from its maximum; a turn counts when it exceeds the larger of
    20 % of the stroke and 3 % of the maximum.
    """
    curve = np.asarray(volumes, np.float64)
    if len(curve) > 4:
        curve = (np.roll(curve, 1) + 2 * curve + np.roll(curve, -1)) / 4
    limit = max(WIGGLE_OF_STROKE * float(np.ptp(curve)), WIGGLE_OF_VOLUME * float(curve.max()))
    start = int(curve.argmax())
    count, falling, extreme = 0, False, curve[start]
    for value in [*np.roll(curve, -start)[1:], curve[start]]:
        if falling:
            extreme = min(extreme, value)
            if value > extreme + limit:
                falling, extreme = False, value
        else:
            extreme = max(extreme, value)
            if value < extreme - limit:
                falling, extreme, count = True, value, count + 1
    return count


def motion_defects(mask: np.ndarray, es: int) -> list[str]:
    """Names of what is wrong with the motion of a mask (T, X, Y, Z) whose frame 0 is ED.

    <defect>_at_es         a defect of :func:`frame_defects` at ES
    <defect>_in_cycle      a structure is missing in another frame, or another defect is in more than 25 % of all frames
    no_contraction         the LV is never at least 2 % smaller than at ED
    ed_not_largest         the LV is somewhere more than 10 % larger than at ED
    several_contractions   the volume curve of the LV has more than one minimum
    mass_not_conserved     the myocardial volume varies by more than 25 % (SD over mean)
    """
    each = [frame_defects(frame, MIN_ENCLOSED_MOVING if t else MIN_ENCLOSED) for t, frame in enumerate(mask)]
    found = [f"{defect}_at_es" for defect in each[es]]
    others = Counter(defect for t, defects in enumerate(each) if t not in (0, es) for defect in defects)
    found += [f"{d}_in_cycle" for d, n in others.items() if d.startswith("missing") or n > MAX_DEFECTIVE_FRAMES * len(mask)]
    lv = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    if lv.min() > 0.98 * lv[0]:
        found.append("no_contraction")
    if lv.max() > (1 + MAX_ABOVE_ED) * lv[0]:
        found.append("ed_not_largest")
    if minima(lv) > 1:
        found.append("several_contractions")
    myo = np.count_nonzero(mask == MYO, axis=(1, 2, 3))
    if myo.std() > MAX_MASS_SPREAD * myo.mean():
        found.append("mass_not_conserved")
    return found


#: Tolerance of a request by what decides it: relative (volumes, mass) or in percentage points (EF).
ANATOMY = {"lv_edv": 0.35, "rv_edv": 0.5, "lv_mass": 0.5}
MOTION = {"lv_ef": 15.0, "rv_ef": 30.0}


def missed(requested: Priors, measured: Priors, tolerance: dict[str, float]) -> list[str]:
    """Requested variables that the measured ones miss by more than ``tolerance``, as ``missed_<variable>``."""
    out = []
    for name, allowed in tolerance.items():
        want, got = getattr(requested, name), getattr(measured, name)
        if want is None:
            continue
        limit = allowed if name.endswith("_ef") else allowed * want
        if got is None or abs(got - want) > limit:
            out.append(f"missed_{name}")
    return out


def disagreement(dice: dict[str, float], least: float) -> list[str]:
    """``image_mask_disagree`` if the mean Dice per structure of an independent segmenter's masks is below ``least``.

    Structures without a Dice (NaN: in neither mask) do not count; if none has one, image and mask show no heart.
    """
    known = [value for value in dice.values() if not np.isnan(value)]
    return [] if known and np.mean(known) >= least else ["image_mask_disagree"]
