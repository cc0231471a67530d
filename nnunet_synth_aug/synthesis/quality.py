"""Anatomical acceptance of a synthetic sequence. Every rejection has a name and is counted.

Rejecting is a selection: the counts travel with the sequences so that a reader can judge it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnunet_synth_aug.labels import LV, MYO, RV, STRUCTURES
from nnunet_synth_aug.priors import Priors

#: Share of a structure that must hang together, of the LV border that must touch myocardium, and so on.
MIN_CONNECTED = 0.9
MIN_ENCLOSED = 0.75
MIN_VOXELS = 20
MAX_MASS_SPREAD = 0.35  # coefficient of variation of the myocardial volume over the cycle


def anatomy_defects(ed: np.ndarray) -> list[str]:
    """Names of what is anatomically wrong with an ED mask (X, Y, Z); empty if nothing.

    missing_<structure>    fewer than 20 voxels
    fragmented_<structure> its largest component holds less than 90 % of it
    lv_not_enclosed        less than 75 % of the LV's in-plane border touches myocardium
    rv_detached            the RV touches no myocardium
    """
    found = []
    for name, label in STRUCTURES.items():
        structure = ed == label
        total = np.count_nonzero(structure)
        if total < MIN_VOXELS:
            found.append(f"missing_{name}")
        elif np.bincount(ndimage.label(structure)[0].ravel())[1:].max() < MIN_CONNECTED * total:
            found.append(f"fragmented_{name}")
    if any(d.startswith("missing") for d in found):
        return found
    plane = np.zeros((3, 3, 3), bool)
    plane[:, :, 1] = ndimage.generate_binary_structure(2, 1)
    rim = ndimage.binary_dilation(ed == LV, plane) & (ed != LV)
    if np.count_nonzero(rim & (ed == MYO)) < MIN_ENCLOSED * np.count_nonzero(rim):
        found.append("lv_not_enclosed")
    if not np.any(ndimage.binary_dilation(ed == RV, plane, iterations=2) & (ed == MYO)):
        found.append("rv_detached")
    return found


def motion_defects(mask: np.ndarray) -> list[str]:
    """Names of what is wrong with the motion of a mask (T, X, Y, Z) whose frame 0 is ED.

    no_contraction         the LV is never at least 2 % smaller than at ED
    mass_not_conserved     the myocardial volume varies by more than 35 % (SD over mean)
    """
    found = []
    lv = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    if lv.min() > 0.98 * lv[0]:
        found.append("no_contraction")
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
