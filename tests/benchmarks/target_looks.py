"""Do hearts in the looks of patients without contours look like others of their hospitals? For docs/decisions/target-looks.md.

    python tests/benchmarks/target_looks.py --acdc ACDC --mnms MNMS_RAW --out FOLDER

ACDC is a folder as ``synthaug import acdc`` takes it, of ED and ES volumes; MNMS_RAW has ``imagesUnlabelled`` and ``patients.csv``. Half of
the patients of each vendor give their looks, the other half judges. 20 ACDC patients are compared with the judges: as they are, in looks of
other scanners, and as the first half looks. Then the same for each vendor: all its patients without contours give their looks, and its test
patients judge. FOLDER/target_looks.json gets two distances. ``quantiles``: mean difference between the pooled
grey values around the heart, in standard deviations of the whole image. ``auc``: how well a small network tells both sides apart. Besides,
the contrast of muscle and blood, of patients without contours as their style tells it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from nnunet_synth_aug.core.cases import Sequence, SyntheticSequence
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.core.tables import read_table
from nnunet_synth_aug.core.volumes import read_volume
from nnunet_synth_aug.data import looks, styles
from nnunet_synth_aug.data.cohort import on_one_scale
from nnunet_synth_aug.data.importers.acdc import list_acdc, read_acdc
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.reports.two_sample import GREY, LEVELS, PIXEL, SIZE, Views, two_sample
from nnunet_synth_aug.synthesis.sources.phantoms import FIRST_SEED

#: M&Ms' headers here have lost the slice distance; neither measure uses it.
SPACING = (1.3, 1.3, 10.0)
DONORS, POINTS = 20, 400
#: Side of a phantom's field of view, as of these patients' images [mm].
FIELD = 250.0


def target(raw: Path) -> tuple[dict[str, Sequence], dict[str, Sequence]]:
    """Patients without contours: those who give their looks, and those who judge."""
    rows = [row for row in read_table(raw / "patients.csv")[1].values() if row["role"] == "unlabelled"]
    halves: tuple[list[str], list[str]] = ([], [])
    for vendor in sorted({row["vendor"] for row in rows}):
        names = sorted(row["patient"] for row in rows if row["vendor"] == vendor)
        order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
        halves[0].extend(order[: len(order) // 2])
        halves[1].extend(order[len(order) // 2 :])

    teach, judge = ({name: images_of(raw / "imagesUnlabelled", name) for name in half} for half in halves)
    return teach, judge


def images_of(folder: Path, name: str) -> Sequence:
    """ED and ES of one patient, without contours."""
    ed, es = (read_volume(folder / f"{name}_{phase}_0000.nii.gz").array.astype(np.float32) for phase in ("ED", "ES"))
    image = np.stack([ed, on_one_scale(ed, es)])
    return Sequence(image, np.zeros(image.shape, np.uint8), SPACING, 0, 1)


def of_vendors(raw: Path) -> dict[str, tuple[dict[str, Sequence], dict[str, Sequence]]]:
    """Of each vendor the patients without contours, and those who test."""
    rows = list(read_table(raw / "patients.csv")[1].values())

    def those(vendor: str, role: str, folder: str) -> dict[str, Sequence]:
        names = [row["patient"] for row in rows if (row["vendor"], row["role"]) == (vendor, role)]
        return {name: images_of(raw / folder, name) for name in sorted(names)}

    vendors = sorted({row["vendor"] for row in rows})
    return {v: (those(v, "unlabelled", "imagesUnlabelled"), those(v, "test", "imagesTr")) for v in vendors}


def donors(acdc: Path) -> dict[str, SyntheticSequence]:
    """ACDC patients, spread over the folder."""
    names = list_acdc(acdc)
    found = {}
    for one in read_acdc(acdc, [names[i] for i in np.unique(np.linspace(0, len(names) - 1, DONORS).round().astype(int))]):
        frames = [one.ed, one.es]
        mask = np.stack([one.masks["ED"], one.masks["ES"]])
        ed, es = one.image[frames].astype(np.float32)
        image = np.stack([ed, on_one_scale(ed, es)])
        found[one.patient] = SyntheticSequence(one.patient, image, mask, one.spacing, 0, 1, 0.0, 0, Priors(), Priors())
    return found


class Shown:
    """ED and ES of one heart as nnU-Net's z-score shows them."""

    def __init__(self, name: str, heart: Sequence | SyntheticSequence, centre: tuple[float, float]) -> None:
        context = heart.context if isinstance(heart, SyntheticSequence) else None
        self.name, self.spacing, self.centre = name, heart.spacing, centre
        self.image = np.stack([styles.whole_scaled(one) if context is None else (one - context[0]) / context[1] for one in heart.image])

    def values(self) -> np.ndarray:
        """Grey values around the heart."""
        around = styles.circle(self.image.shape[1:], self.spacing, self.centre)
        return np.concatenate([one[around] for one in self.image])

    def views(self) -> Views:
        """Squares around the heart, with their own grey window."""
        n = self.image.shape[3]
        cut = int(styles.ENDS * n)
        shown = []
        for frame in self.image:
            for level in LEVELS:
                z = cut + round(level * (n - 2 * cut - 1))
                away = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
                where = np.meshgrid(*((c + away) / mm - 0.5 for c, mm in zip(self.centre, self.spacing, strict=False)), indexing="ij")
                shown.append(map_coordinates(frame[..., z], where, order=1, mode="nearest"))
        image = np.stack(shown)
        low, high = np.percentile(image, GREY)
        return Views(self.name, np.clip((image - low) / (high - low), 0, 1).astype(np.float32))


def compared(hearts: list[Shown], judges: list[Shown]) -> dict[str, Any]:
    """Both distances."""
    points = np.linspace(0.002, 0.998, POINTS)
    ours, theirs = (np.quantile(np.concatenate([one.values() for one in side]), points) for side in (hearts, judges))
    test = two_sample([one.views() for one in judges], [one.views() for one in hearts])
    return {"quantiles": round(float(np.abs(ours - theirs).mean()), 3), **{k: round(v, 3) for k, v in test.items()}}


def distances(
    teach: dict[str, Sequence],
    judge: dict[str, Sequence],
    own: dict[str, SyntheticSequence],
    names: tuple[str, str],
    more: dict[str, dict[str, Sequence]] | None = None,
) -> dict[str, Any]:
    """Both distances to the judges: of those who give their looks, of donors in several looks, and of more hearts.

    Args:
        teach, judge: patients of the target.
        own: donors.
        names: of those who give their looks, and of donors who look like them.
        more: other kinds of hearts.
    """
    learnt = [styles.style_of(name, one) for name, one in teach.items()]
    everybody: dict[str, Any] = {**teach, **judge, **own}
    for hearts in (more or {}).values():
        everybody |= hearts
    centres = {name: styles.moving_centre(one.image, one.spacing) for name, one in everybody.items()}
    judges = [Shown(name, one, centres[name]) for name, one in judge.items()]
    sides: dict[str, dict[str, Any]] = {
        names[0]: teach,
        "ACDC": own,
        "ACDC, looks of other scanners": {n: looks.looked(one, looks.look_of(n, 1, "Siemens"), (0, 1)) for n, one in own.items()},
        names[1]: {n: styles.styled(one, styles.style_for(learnt, n, 1), (0, 1)) for n, one in own.items()},
    } | (more or {})
    found = {}
    for kind, hearts in sides.items():
        found[kind] = compared([Shown(name, one, centres[name]) for name, one in hearts.items()], judges)
        console.print(f"{kind}: {found[kind]}")
    return found


def by_vendor(raw: Path, own: dict[str, SyntheticSequence]) -> dict[str, Any]:
    """Both distances of donors in several looks, and of phantoms, to each vendor's test patients."""
    wide = [phantom_subject(number, FIRST_SEED, field=FIELD, stills=True) for number in range(DONORS)]
    phantoms = {one.source.patient: Sequence(one.source.image.astype(np.float32), one.mask, one.source.spacing, 0, 1) for one in wide}
    names = "its patients without contours", "ACDC, looks of its patients"
    return {vendor: distances(*sides, own, names, {"phantoms": phantoms}) for vendor, sides in of_vendors(raw).items()}


def muscle_over_blood(heart: SyntheticSequence) -> float:
    """Medians at ED within the contours, above the darkest."""
    image, mask = heart.image[0], heart.mask[0]
    dark = np.quantile(image, 0.02)
    return float((np.median(image[mask == MYO]) - dark) / (np.median(image[mask == LV]) - dark))


def spread(values: list[float]) -> dict[str, Any]:
    """Of the hearts of one kind."""
    return {"n": len(values), "median": round(float(np.median(values)), 2), "range": [round(min(values), 2), round(max(values), 2)]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--acdc", "--mnms", "--out"):
        arguments.add_argument(name, type=Path, required=True)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    teach, judge = target(given.mnms)
    own = donors(given.acdc)
    found = distances(teach, judge, own, ("the ten patients themselves", "ACDC, looks of the ten"))
    found["by vendor"] = by_vendor(given.mnms, own)
    drawn = [looks.looked(one, looks.look_of(n, number, "Siemens"), [0]) for n, one in own.items() for number in range(1, 7)]
    styled = [styles.style_of(name, one) for name, one in (teach | judge).items()]
    found["muscle over blood"] = {
        "ACDC": spread([muscle_over_blood(one) for one in own.values()]),
        "ACDC, six looks of other scanners": spread([muscle_over_blood(one) for one in drawn]),
        "the twenty patients": spread([(s.levels[1] - s.levels[0]) / (s.levels[2] - s.levels[0]) for s in styled]),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(given.out / "target_looks.json", found)


if __name__ == "__main__":
    main()
