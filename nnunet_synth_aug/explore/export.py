"""The same page as one file: a grid of hearts that plays in any browser, with no server and no network."""

from __future__ import annotations

from typing import Any

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.explore.hearts import Heart, Wish, make_heart
from nnunet_synth_aug.explore.picture import shown
from nnunet_synth_aug.model.generator import Generator

#: The grid: EF in percent, EDV in mL; every diagnosis. Frames per beat, and hearts per place of which the first sound one is taken.
EFS, EDVS, FRAMES, TRIES = (25, 45, 65), (100, 150, 200), 12, 3


def grid_of_hearts(generator: Generator, seed: int = 0) -> list[dict[str, Any]]:
    """Hearts of every EF, EDV and diagnosis, small, as the page plays them; a place that no try could fill is left out."""
    places = [(d, edv, ef) for d in DIAGNOSES for edv in EDVS for ef in EFS]
    found = []
    with progress("hearts", len(places)) as bar:
        for done, (diagnosis, edv, ef) in enumerate(places, 1):
            if heart := _best(generator, {"diagnosis": diagnosis, "lv_edv": edv, "lv_ef": ef, "frames": FRAMES}, seed):
                found.append(shown(heart, [], small=True))
            bar.advance(done, f"{diagnosis}, EDV {edv} mL, EF {ef} %")
    return found


def _best(generator: Generator, wish: dict[str, Any], seed: int) -> Heart | None:
    """The first of a few seeds to which the quality control has no objection, else the one to which it has fewest."""
    hearts: list[Heart] = []
    for one in range(seed, seed + TRIES):
        try:
            hearts.append(make_heart(generator, Wish.of(wish | {"seed": one})))
        except UserError:
            continue
        if not hearts[-1].reasons:
            break
    return min(hearts, key=lambda heart: len(heart.reasons), default=None)
