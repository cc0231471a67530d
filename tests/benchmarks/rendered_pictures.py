"""Pictures and costs of rendered hearts, from a finished demo: only phantoms, because nothing made from patients may be published.

    synthaug demo
    python tests/benchmarks/rendered_pictures.py synthaug_demo

Writes docs/images/rendered.png (eight rendered hearts, each between its donor and a phantom of the same volumes),
docs/images/rendered_ef.gif (one donor from EF 20 to 70 %), and docs/benchmarks/rendered.json (requested against measured, closure, seconds
and memory of a heart by source).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from page_table import DOCS
from pictures import REFUSED, rows_of

from evaluation.benchmark.demo import demo_study
from evaluation.benchmark.workspace import PLANS, Workspace
from nnunet_synth_aug.api import load_generator
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.prior_request import PriorRequest, parse_priors
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.nnunet.bank.originals import training_originals
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.synthesis.pictures import cycle_pictures, side_by_side, titled, write_gif, write_montage
from nnunet_synth_aug.synthesis.quality.control import QualityControl
from nnunet_synth_aug.synthesis.render import Donor, Renderer, donors_among
from nnunet_synth_aug.synthesis.requests import CLINIC, RequestPlan
from nnunet_synth_aug.synthesis.sample import sample_accepted
from nnunet_synth_aug.synthesis.sources.copies import REMODEL, copied

SWEEP = (20, 30, 40, 50, 60, 70)
#: What stays the same while the EF goes up.
FIXED = ("diagnosis=NOR", "lv_edv=160", "rv_edv=160", "lv_mass=110", "rv_ef=55")
QUALITY = QualityControl(outlines_only=True)
NAMES = ("lv_edv", "lv_ef", "lv_mass", "rv_edv", "rv_ef")


def hearts(generator: Any, donors: tuple[Donor, ...], asked: PriorRequest, n: int, seed: int) -> list[SyntheticSequence]:
    """Rendered hearts of a clinic's kinds, or as asked; requests that no donor can meet are left out."""
    requests = RequestPlan(seed=seed, priors=asked, like=CLINIC).requests(generator, n)
    outcomes = sample_accepted(generator, requests, QUALITY, Renderer(donors))
    return [outcome.sequence for outcome in outcomes if outcome.sequence is not None]


def montage(made: list[SyntheticSequence], donors: tuple[Donor, ...], out: Path) -> None:
    """Donor, rendered heart and a phantom of the same volumes in each row, ED above ES."""
    by_name = {donor.name: donor for donor in donors}
    rows = []
    for number, heart in enumerate(made[:8]):
        donor = by_name[str(heart.donor)]
        own = [one for one in donors if one.patient == donor.patient]
        whole = own[0] if len(own[0].mask) > 1 else None
        frames = (
            (whole.image, whole.mask, whole.volumes)
            if whole
            else tuple(np.concatenate([getattr(o, k) for o in own]) for k in ("image", "mask", "volumes"))
        )
        es = int(np.argmin(frames[2][:, 0]))
        lent = SimpleNamespace(image=frames[0], mask=frames[1], ed=int(np.argmax(frames[2][:, 0])), es=es)
        wanted = Priors(
            **{name: getattr(heart.measured, name) for name in ("lv_edv", "lv_ef", "rv_edv", "lv_mass")},
            diagnosis=heart.requested.diagnosis,
        )
        other = phantom_subject(2000 + number, priors=wanted)
        alike = SimpleNamespace(image=np.asarray(other.source.image, np.float32), mask=other.mask, ed=0, es=other.source.es)
        columns = [np.concatenate(rows_of(one, 76, 1)) for one in (lent, heart, alike)]
        if not rows:
            heads = "donor (ED above ES)", "rendered heart", "another phantom of its volumes"
            columns = [titled([column], head)[0] for column, head in zip(columns, heads, strict=True)]
        gap = np.full((columns[0].shape[0], 20, 3), 255, np.uint8)
        rows.append(np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1))
    write_montage(out / "rendered.png", rows)


def sweep(generator: Any, donors: tuple[Donor, ...], out: Path) -> list[dict[str, float]]:
    """One donor, one seed, from EF 20 to 70 %."""
    donor = (donors[0],) if len(donors[0].mask) > 1 else tuple(one for one in donors if one.patient == donors[0].patient)
    cycles, told = [], []
    for ef in SWEEP:
        made = hearts(generator, donor, parse_priors([f"lv_ef={ef}", *FIXED]), 1, seed=4)
        if not made:
            continue
        [heart] = made
        assert heart.measured.lv_ef is not None
        told.append({"asked": ef, "measured": round(heart.measured.lv_ef, 1), "closure": round(closure_ratio(heart.image), 2)})
        cycles.append(titled(cycle_pictures(heart.image, heart.mask, 1, 120), f"asked {ef} %, got {heart.measured.lv_ef:.0f} %"))
    write_gif(out / "rendered_ef.gif", side_by_side(*cycles), colours=48)
    return told


def agreement(made: list[SyntheticSequence]) -> dict[str, dict[str, float]]:
    """Pearson r and mean absolute difference of what was requested and what the contours hold."""
    found = {}
    for name in NAMES:
        pairs = [(getattr(h.requested, name), getattr(h.measured, name)) for h in made]
        a, b = np.array([pair for pair in pairs if None not in pair], float).T
        found[name] = {
            "n": len(a),
            "r": round(float(np.corrcoef(a, b)[0, 1]), 3),
            "mean absolute difference": round(float(np.abs(a - b).mean()), 2),
        }
    return found


def costs(make: dict[str, Callable[[], int]]) -> dict[str, dict[str, float]]:
    """Seconds of a heart, and the most memory that the process had held by then."""
    found = {}
    for name, one in make.items():
        began = time.perf_counter()
        n = one()
        took = (time.perf_counter() - began) / max(n, 1)
        found[name] = {
            "hearts": n,
            "seconds a heart": round(took, 2),
            "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=int, default=40, help="rendered hearts for the agreement")
    given = parser.parse_args()
    if read_json(given.folder / "demo.json")["settings"]["source"] is not None:
        raise UserError(REFUSED)
    study = demo_study()
    at = Workspace(given.folder.resolve(), study)
    os.environ |= at.environment()
    generator = load_generator(at.generator(0))
    originals = training_originals(load_target(at.dataset, "2d", PLANS), 0)
    donors = donors_among(originals)
    made: list[SyntheticSequence] = []

    def render() -> int:
        made.extend(hearts(generator, donors, PriorRequest(), given.n, seed=3))
        return given.n

    def decode() -> int:
        requests = RequestPlan(seed=3, like=CLINIC).requests(generator, 8)
        return len(list(sample_accepted(generator, requests, replace(QUALITY, check=False))))

    def phantoms() -> int:
        return len([phantom_subject(3000 + number) for number in range(4)])

    def copies() -> int:
        return len([copied(one, "copy", np.random.default_rng(n), REMODEL["copies"]) for n, one in enumerate(originals)])

    took = costs({"copy of ED and ES": copies, "phantom": phantoms, "decoded, unchecked": decode, "rendered": render})
    images = DOCS / "images"
    montage(made, donors, images)
    figures = {"asked": given.n, "shown": len(made), "agreement": agreement(made), "sweep": sweep(generator, donors, images), "costs": took}
    write_json(DOCS / "benchmarks" / "rendered.json", figures | {"machine": f"{os.cpu_count()} CPU cores beside other work"})
    print(figures)


if __name__ == "__main__":
    main()
