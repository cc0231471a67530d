"""Hearts that cannot be, found in the masks of an import.

What is certain to be wrong is refused: structures exchanged, ED and ES exchanged. What may be wrong is left out: an empty mask, a
structure missing, a muscle that does not surround the LV.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, N_CLASSES, PHASES, STRUCTURES
from nnunet_synth_aug.core.priors import volume_ml
from nnunet_synth_aug.data.importers.subject import SourceSubject

#: Share of the LV's border in the slices that is muscle. In 260 masks of ACDC and M&Ms it is 0.97 and more, and no other structure is
#: surrounded by another one to more than 0.50.
_SURROUNDED, _NOT_SURROUNDED = 0.8, 0.5


def checked_anatomy(subject: SourceSubject) -> tuple[SourceSubject, list[str]]:
    """The subject without the masks that may be wrong, and what was found in them.

    Raises:
        UserError: structures, or ED and ES, are exchanged.
    """
    findings = {phase: found for phase, mask in subject.masks.items() if (found := _finding(subject, phase, mask))}
    kept = {phase: mask for phase, mask in subject.masks.items() if phase not in findings}
    _refuse_exchanged_phases(subject)
    return replace(subject, masks=kept), [f"{text}; this mask is left out" for text in findings.values()]


def _finding(subject: SourceSubject, phase: str, mask: np.ndarray) -> str:
    """What is odd in a mask (X, Y, Z), "" if nothing is."""
    lacking = [name for name, label in STRUCTURES.items() if label in subject.annotated and not (mask == label).any()]
    missing = f"the {phase} mask has no {' and no '.join(lacking)}" if lacking else ""
    if len(lacking) == len(subject.annotated):
        return f"the {phase} mask is empty"
    if not {LV, MYO} <= subject.annotated:
        return missing
    own = refuse_exchanged(mask, subject.patient, str(subject.files.get(phase, f"the {phase} mask")))
    few = f"in the {phase} mask MYO does not surround the LV" if own < _NOT_SURROUNDED else ""
    return missing or few


def refuse_exchanged(mask: np.ndarray, patient: str, where: str) -> float:
    """The share of the LV's border that is muscle, of a mask (X, Y, Z) with both.

    Raises:
        UserError: structures are exchanged.
    """
    shares = _shares(mask)
    (inside, around), most = max(shares.items(), key=lambda item: item[1])
    if shares[LV, MYO] < _NOT_SURROUNDED and most >= _SURROUNDED:
        names = {label: name for name, label in STRUCTURES.items()}
        raise UserError(
            f"{patient}: {_exchanged(inside, around)} are exchanged in {where}: what is labelled {names[inside]} is surrounded by "
            f"what is labelled {names[around]}, and the LV is not surrounded by MYO; correct the labels in the file"
        )
    return shares[LV, MYO]


def _exchanged(inside: int, around: int) -> str:
    """The two structures that are exchanged if ``inside`` is the LV and ``around`` the muscle."""
    if around == MYO:
        return "LV and RV"
    if inside == LV:
        return "MYO and RV"
    return "LV and MYO" if (inside, around) == (MYO, LV) else "LV, MYO and RV"


def _shares(mask: np.ndarray) -> dict[tuple[int, int], float]:
    """(structure, other) -> share of the structure's border in its slices that the other one is."""
    pairs = np.zeros(N_CLASSES**2)
    for axis in (0, 1):
        one, next_one = (np.moveaxis(mask, axis, 0)[part].astype(np.int64) for part in (slice(None, -1), slice(1, None)))
        border = one != next_one
        for first, second in ((one, next_one), (next_one, one)):
            pairs += np.bincount(first[border] * N_CLASSES + second[border], minlength=N_CLASSES**2)
    table = pairs.reshape(N_CLASSES, N_CLASSES)
    return {(a, b): float(table[a, b] / max(table[a].sum(), 1)) for a, b in permutations(STRUCTURES.values(), 2)}


def _refuse_exchanged_phases(subject: SourceSubject) -> None:
    if LV not in subject.annotated or not set(PHASES) <= subject.masks.keys():
        return
    ed, es = (volume_ml(subject.masks[phase], LV, subject.spacing) for phase in PHASES)
    if es > ed > 0:
        where = subject.files.get("frames", "the source")
        raise UserError(f"{subject.patient}: the LV is larger at ES ({es:.3g} mL) than at ED ({ed:.3g} mL); exchange ED and ES in {where}")
