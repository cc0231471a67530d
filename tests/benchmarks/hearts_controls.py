"""``synthaug bank --render donor`` with something taken away, for the control arms of docs/results/hearts.md.

    python tests/benchmarks/hearts_controls.py request|es bank -d 901 -f 0 --source generator --render donor ...

``request``: every heart is shown with the volumes that another one of the bank was asked for, so that the cascade's anatomy and motion
belong to another request. ``es``: ED is the cascade's; ES is the donor's own, scaled as its ED was, so that no motion is generated.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.outlines import Warp
from nnunet_synth_aug.synthesis import render
from nnunet_synth_aug.synthesis.quality.defects import CANNOT_FOLLOW
from nnunet_synth_aug.synthesis.requests import RequestPlan

#: Heart -> the priors of the one that comes half the bank later.
OTHERS: dict[str, Priors] = {}
_requests, _rendered = RequestPlan.requests, render.rendered


def requests(plan: RequestPlan, *arguments: Any) -> Any:
    """The plan's own; whose priors each heart is shown with is kept."""
    made = _requests(plan, *arguments)
    OTHERS.update({one.id: made[(number + len(made) // 2) % len(made)].priors for number, one in enumerate(made)})
    return made


def with_another_request(heart: SyntheticSequence, donors: tuple[render.Donor, ...]) -> SyntheticSequence | list[str]:
    """A heart with another one's volumes."""
    return _rendered(replace(heart, requested=OTHERS[heart.id]), donors)


def with_own_es(heart: SyntheticSequence, donors: tuple[render.Donor, ...]) -> SyntheticSequence | list[str]:
    """ED as the cascade made it, and the same donor's ES with its layers scaled as those of ED were."""
    still = replace(heart, image=heart.image[[heart.ed]], mask=heart.mask[[heart.ed]], ed=0, es=0)
    asked = replace(heart.requested, lv_ef=None, rv_ef=None)
    shown = _rendered(replace(still, requested=asked), donors)
    if isinstance(shown, list):
        return shown
    donor = next(one for one in donors if one.name == shown.donor)
    es = int(donor.volumes[:, 0].argmin())
    now = np.array([np.count_nonzero(shown.mask[0] == label) for label in render.STRUCTURES]) * float(np.prod(donor.spacing)) / 1000
    own, scale = donor.outlines[es], (now / donor.volumes[donor.ed]) ** render.POWERS
    try:
        warp = Warp.between(donor.mask[es].shape, donor.spacing, own, own.scaled(*scale))
    except UserError:
        return [CANNOT_FOLLOW]
    image = np.stack([shown.image[0], warp.of_image(donor.image[es])])
    mask = np.stack([shown.mask[0], warp.of_mask(donor.mask[es])])
    measured = measure(mask[0], mask[1], donor.spacing)
    # What was asked for is what came out: the donor's EF is nobody's request.
    requested = replace(asked, lv_ef=measured.lv_ef, rv_ef=measured.rv_ef)
    return replace(shown, image=image, mask=mask, ed=0, es=1, requested=requested, measured=measured)


if __name__ == "__main__":
    control = sys.argv.pop(1)
    if control == "request":
        RequestPlan.requests = requests  # type: ignore[assignment, method-assign]
    render.rendered = {"request": with_another_request, "es": with_own_es}[control]
    main()
