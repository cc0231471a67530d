"""Hearts of the cascade in real pixels: a training patient's frames, warped to the anatomy and motion that the cascade made.

The cascade says what heart it is: its outlines in every frame, and the volumes that were asked for. A donor, a contoured training patient
not far from that, lends pixels and contours. Every frame is the donor's ED or ES frame, whichever is nearer in LV volume, warped to the
outlines of the cascade's frame. The closed loop scales outlines until the warped contours have the volumes, so a request holds on what
nnU-Net is given. The decoded image is not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, MYOCARDIAL_DENSITY, RV
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.data.outlines import Outlines, Warp, outlines, with_whole_base
from nnunet_synth_aug.synthesis.quality.defects import CANNOT_FOLLOW
from nnunet_synth_aug.synthesis.sources.copies import Original

#: Structures that the loop closes on, in this order.
STRUCTURES = (LV, MYO, RV)
#: Tries per frame and what ends them: the largest relative error of a volume, at ED and ES and in the frames between.
TRIES, NEAR, NEAR_BETWEEN = 8, 0.01, 0.03
#: A volume's exponent that its layer is scaled with: a cavity grows with the square of its radius.
POWERS = np.array([0.5, 0.8, 0.8])
#: No outline is scaled by more, or by less.
MOST_SCALE = 3.0
#: How many donors are tried, and the relative error of a volume at ED, or of the LV at ES, with which one is taken.
DONORS, GOOD = 4, 0.04
#: How much of the donor's own thick and thin a wall has. The cascade places the cavity in it too far to one side.
DONORS_WALL = 0.5
#: A donor this much farther from the request, in logarithms of volumes, is drawn 2.7 times less often.
DISTANCE = 0.15


@dataclass(frozen=True)
class Donor:
    """A training patient's contoured frames."""

    name: str
    patient: str
    image: np.ndarray  # float32 (T, X, Y, Z)
    mask: np.ndarray  # uint8 (T, X, Y, Z)
    spacing: Spacing
    ed: int
    outlines: tuple[Outlines, ...]  # of every frame
    volumes: np.ndarray  # mL (T, 3), of STRUCTURES


def donors_among(originals: Iterable[Original]) -> tuple[Donor, ...]:
    """Those whose contours hold all three structures.

    Raises:
        UserError: none has.
    """
    found = []
    for one in originals:
        if not {LV, MYO, RV} <= one.annotated:
            continue
        sequence = one.load()
        volumes = np.array([_volumes(mask, sequence.spacing) for mask in sequence.mask])
        if (volumes > 0).all():
            around = tuple(outlines(mask, sequence.spacing) for mask in sequence.mask)
            image = sequence.image.astype(np.float32)
            found.append(Donor(one.name, one.patient, image, sequence.mask, sequence.spacing, sequence.ed, around, volumes))
    if not found:
        raise UserError("no training patient has contours of LV, MYO and RV, so none can lend its pixels; use --render decoder")
    return tuple(found)


@dataclass(frozen=True)
class Renderer:
    """Shows hearts in donors' pixels, as :data:`nnunet_synth_aug.synthesis.sample.Show` does."""

    donors: tuple[Donor, ...]
    keeps_masks = False

    @property
    def about(self) -> dict[str, Any]:
        """What the provenance says: how hearts are shown, and whose pixels they have."""
        return {"render": "donor", "donors": sorted({donor.patient for donor in self.donors})}

    def __call__(self, heart: SyntheticSequence) -> SyntheticSequence | list[str]:
        """See :func:`rendered`."""
        return rendered(heart, self.donors)


def rendered(heart: SyntheticSequence, donors: tuple[Donor, ...]) -> SyntheticSequence | list[str]:
    """A heart of the cascade in the pixels of a donor, or why none can show it.

    Args:
        heart: as the cascade made it; its masks tell the outlines.
        donors: of :func:`donors_among`. Which are tried is drawn from the heart's seed, near ones first.
    """
    try:
        shapes = [outlines(with_whole_base(without_islands(mask)), heart.spacing) for mask in heart.mask]
    except UserError:
        return ["no_outlines"]
    own = np.array([_volumes(mask, heart.spacing) for mask in heart.mask])
    wanted = _wanted(heart, own)
    reasons = []
    for donor in _drawn(donors, wanted[heart.ed], np.random.default_rng([heart.seed, heart.motion_seed, 9])):
        target = wanted.copy()
        target[:, 1] *= _muscle(donor, wanted[:, 0])
        fits = {heart.ed: _Fit(donor, shapes[heart.ed], target[heart.ed])}
        follows = max(fits[heart.ed].errors) <= GOOD
        if follows and heart.es != heart.ed:
            fits[heart.es] = _Fit(donor, shapes[heart.es], target[heart.es])
            follows = fits[heart.es].errors[0] <= GOOD
        if not follows:
            reasons.append(CANNOT_FOLLOW)
            continue
        for t in range(1, len(shapes)):  # neighbours are scaled nearly alike
            if t not in fits:
                fits[t] = _Fit(donor, shapes[t], target[t], fits[t - 1].scale, NEAR_BETWEEN)
        image, mask = (np.stack([getattr(fits[t], part) for t in range(len(shapes))]) for part in ("image", "mask"))
        measured = measure(mask[heart.ed], mask[heart.es], donor.spacing)
        return replace(heart, image=image, mask=mask, spacing=donor.spacing, measured=measured, context=None, sound=None, donor=donor.name)
    return reasons[:1]


class _Fit:
    """A donor's frame with the outlines of one frame of the cascade, scaled until its volumes are those wanted."""

    def __init__(self, donor: Donor, shape: Outlines, wanted: np.ndarray, start: np.ndarray | None = None, near: float = NEAR) -> None:
        frame = int(np.abs(np.log(donor.volumes[:, 0] / wanted[0])).argmin())
        own, image, mask = donor.outlines[frame], donor.image[frame], donor.mask[frame]
        shape, scale = shape.on(own).near(own).with_wall_like(own, DONORS_WALL), np.ones(3) if start is None else start
        tries: list[tuple[float, np.ndarray, np.ndarray, Warp, np.ndarray]] = []
        while not tries or (tries[-1][0] >= near and len(tries) < TRIES):
            warp = Warp.between(mask.shape, donor.spacing, own, shape.scaled(*scale))
            shown = warp.of_mask(mask)
            got = _volumes(shown, donor.spacing)
            errors = np.abs(got / wanted - 1)
            tries.append((float(errors.max()), scale, errors, warp, shown))
            scale = np.clip(scale * (wanted / np.maximum(got, 1e-3)) ** POWERS, 1 / MOST_SCALE, MOST_SCALE)
        _, self.scale, self.errors, warp, self.mask = min(tries, key=lambda one: one[0])
        self._image, self._warp = image, warp

    @property
    def image(self) -> np.ndarray:
        """Grey values (X, Y, Z)."""
        return self._warp.of_image(self._image)


def _volumes(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Volumes of STRUCTURES in one frame, mL (3,)."""
    return np.array([np.count_nonzero(mask == label) for label in STRUCTURES]) * float(np.prod(spacing)) / 1000


def _wanted(heart: SyntheticSequence, own: np.ndarray) -> np.ndarray:
    """Volumes of STRUCTURES in every frame, mL (T, 3): what was asked for, and the cascade's own where nothing was.

    Curves over the cycle keep the cascade's form between ED and ES; muscle keeps its volume.
    """
    asked, out = heart.requested, np.empty_like(own)
    out[:, 1] = own[heart.ed, 1] if asked.lv_mass is None else asked.lv_mass / MYOCARDIAL_DENSITY
    for column, edv, ef in ((0, asked.lv_edv, asked.lv_ef), (2, asked.rv_edv, asked.rv_ef)):
        large, small = own[heart.ed, column], own[heart.es, column]
        at_ed = large if edv is None else edv
        at_es = at_ed * (small / large if ef is None else 1 - ef / 100)
        share = (own[:, column] - small) / (large - small) if abs(large - small) > 1e-6 else np.ones(len(own))
        out[:, column] = at_es + (at_ed - at_es) * np.clip(share, -0.1, 1.1)
    return np.maximum(out, 1.0)


def _muscle(donor: Donor, lv: np.ndarray) -> np.ndarray:
    """Factor on the muscle in every frame (T,): contours of a stack hold more or less of it at ES than at ED, as the donor's do."""
    small = int(donor.volumes[:, 0].argmin())
    ratio = donor.volumes[small, 1] / donor.volumes[donor.ed, 1]
    share = (lv.max() - lv) / max(float(np.ptp(lv)), 1e-6)
    return 1 + (np.clip(ratio, 0.8, 1.4) - 1) * share


def _drawn(donors: tuple[Donor, ...], wanted: np.ndarray, rng: np.random.Generator) -> list[Donor]:
    """Some donors in the order in which they are tried."""
    far = np.array([np.abs(np.log(donor.volumes[donor.ed] / wanted)) @ (1.0, 0.5, 0.5) for donor in donors])
    weights = np.maximum(np.exp(-(far - far.min()) / DISTANCE), 1e-6)
    order = rng.choice(len(donors), len(donors), replace=False, p=weights / weights.sum())
    return [donors[int(i)] for i in order[:DONORS]]
