"""How even are hearts: of patients, as the cascade decodes them, and rendered in a donor's pixels?

    python tests/benchmarks/walls.py DATASET GENERATOR -p PLANS [-n 12]

GENERATOR is fold_0 of 'synthaug fit'. Of every heart the thinnest wall of its middle slices at ED and ES, as a share of the mean wall in
that slice: least, tenth and middle over hearts. Of rendered hearts also the narrowest slice of the cavity beside the donor's, both equally
wide on the whole, with and without the bound on how unlike they may be; and how unlike two training patients are in one place. Writes
docs/benchmarks/walls.json.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from unittest.mock import patch

import numpy as np
from page_table import DOCS
from scipy.ndimage import binary_erosion, distance_transform_edt

from nnunet_synth_aug.api import load_generator
from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.outlines import BESIDE, SMALLEST, Outlines
from nnunet_synth_aug.nnunet.bank.originals import training_originals
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.synthesis import render
from nnunet_synth_aug.synthesis.quality.control import QualityControl
from nnunet_synth_aug.synthesis.requests import CLINIC, RequestPlan
from nnunet_synth_aug.synthesis.sample import sample_accepted
from nnunet_synth_aug.synthesis.sources.copies import cohort_originals

#: Pixels of cavity and of wall without which a slice is not looked at, and of the cavity's edge.
FEWEST, FEWEST_EDGE = 60, 10


def thinnest(masks: Iterable[np.ndarray], spacing: Spacing) -> float:
    """Share of the mean wall that its thinnest twentieth has, in the slice of the middle half where that is least; NaN without a slice."""
    shares = []
    for mask in masks:
        full = [z for z in range(mask.shape[2]) if min((mask[..., z] == LV).sum(), (mask[..., z] == MYO).sum()) > FEWEST]
        for z in full[len(full) // 4 : max(len(full) // 4 + 1, 3 * len(full) // 4)]:
            cavity = mask[..., z] == LV
            wall = distance_transform_edt(cavity | (mask[..., z] == MYO), sampling=spacing[:2])[cavity & ~binary_erosion(cavity)]
            if wall.size >= FEWEST_EDGE:
                shares.append(float(np.quantile(wall, 0.05) / wall.mean()))
    return min(shares, default=float("nan"))


def narrowest(heart: SyntheticSequence, donor: render.Donor) -> float:
    """Width of the ES cavity in the slice where that is least, as a share of the donor's at its smallest, apart from their sizes."""
    own, lent = ((mask == LV).sum((0, 1)) for mask in (heart.mask[heart.es], donor.mask[int(donor.volumes[:, 0].argmin())]))
    looked = lent > FEWEST / 3
    return float(np.sqrt((own[looked] / own.sum()) / (lent[looked] / lent.sum())).min())


def unlike(donors: Iterable[render.Donor]) -> dict[str, list[float]]:
    """Thickness of one patient's layers in one place as a share of another's, apart from their sizes: where 1 and 99 of 100 places lie."""
    every = [(donor.patient, donor.outlines[donor.ed]) for donor in donors]
    found = {}
    for layer, least in (("cavity", SMALLEST), ("wall", SMALLEST), ("beside", BESIDE)):
        ratios = []
        for (one, theirs), (other, of) in permutations(every, 2):
            if one != other:
                a, b = np.maximum(getattr(theirs.on(of), layer), least), np.maximum(getattr(of, layer), least)
                ratio = np.log(a / b)
                ratios.append((ratio - np.average(ratio, weights=b))[:-1].ravel())  # without the apex
        found[layer] = [round(float(value), 2) for value in np.exp(np.quantile(np.concatenate(ratios), (0.01, 0.99)))]
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Least, tenth and middle over hearts, and how many they are."""
    least, tenth, middle = (float(value) for value in np.nanquantile(values, (0, 0.1, 0.5)))
    return {"hearts": len(values), "least": round(least, 2), "tenth": round(tenth, 2), "middle": round(middle, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("generator", type=Path)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("-n", type=int, default=12)
    given = parser.parse_args()
    cohort = Cohort.load(given.dataset)
    patients = [one.load() for one in cohort_originals(cohort, [subject.patient for subject in cohort.subjects])]
    found = {"patients": spread([thinnest(one.mask, one.spacing) for one in patients])}
    generator = load_generator(given.generator)
    requests = RequestPlan(seed=11, like=CLINIC).requests(generator, given.n)
    hearts = [one.sequence for one in sample_accepted(generator, requests, QualityControl(check=False)) if one.sequence is not None]
    found["decoded"] = spread([thinnest((h.mask[h.ed], h.mask[h.es]), h.spacing) for h in hearts])
    donors = render.donors_among(training_originals(load_target(given.dataset, "2d", given.plans), 0))
    for share in (0.0, 0.5, 1.0):
        render.DONORS_WALL = share
        shown = [one for heart in hearts if not isinstance(one := render.rendered(heart, donors), list)]
        found[f"rendered, donor's wall {share:g}"] = spread([thinnest((h.mask[h.ed], h.mask[h.es]), h.spacing) for h in shown])
    render.DONORS_WALL, by_name, narrow, bounded = 0.5, {donor.name: donor for donor in donors}, {}, Outlines.near
    for name, near in (("unbounded", lambda self, _: self), ("bounded", bounded)):
        with patch.object(Outlines, "near", near):
            shown = [one for heart in hearts if not isinstance(one := render.rendered(heart, donors), list)]
        narrow[name] = spread([narrowest(one, by_name[str(one.donor)]) for one in shown])
    settings = {"n": given.n, "cores": os.cpu_count()}
    figures = {"settings": settings, "thinnest wall": found, "narrowest slice": narrow, "between two patients": unlike(donors)}
    write_json(DOCS / "benchmarks" / "walls.json", figures)
    print(figures)


if __name__ == "__main__":
    main()
