"""One heart in eight looks, above eight hearts as other scanners show them. For docs/results/other-scanners.md.

    python tests/benchmarks/looks_picture.py                                          # phantoms alone: docs/images/looks.png
    python tests/benchmarks/looks_picture.py --acdc ACDC --mnms MNMS_RAW --out FILE   # an ACDC patient, and patients of M&Ms below

ACDC is a folder as ``synthaug import acdc`` takes it, of ED and ES volumes; MNMS_RAW an nnU-Net raw folder with ``patients.csv``. A picture
of patients must not be published: FILE is refused below docs/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from page_table import DOCS

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, VENDORS
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.core.tables import read_table
from nnunet_synth_aug.core.volumes import read_volume
from nnunet_synth_aug.data.importers.acdc import list_acdc, read_acdc
from nnunet_synth_aug.data.looks import look_of, looked
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.synthesis.pictures import frame_picture, grey_window, titled, write_montage

LOOKS, SIDE = 8, 130  # pixels of a picture's side, on the screen
FIELD = 130.0  # mm that a picture shows


def phantom(index: int, vendor: str, diagnosis: str = "NOR") -> SyntheticSequence:
    """ED of a phantom, as a scanner of this vendor shows it."""
    made = phantom_subject(index, seed=11, diagnosis=diagnosis, vendor=vendor).source
    image, mask = np.asarray(made.image[:1], np.float32), np.asarray(made.masks["ED"])[None]
    return SyntheticSequence(made.patient, image, mask, made.spacing, 0, 0, 0.0, 0, Priors(), Priors())


def patient(acdc: Path) -> SyntheticSequence:
    """ED of one patient of ACDC."""
    [made] = list(read_acdc(acdc, list_acdc(acdc)[:1]))
    image = made.image[[made.ed]].astype(np.float32)
    return SyntheticSequence(made.patient, image, made.masks["ED"][None], made.spacing, 0, 0, 0.0, 0, Priors(), Priors())


def others(raw: Path) -> list[tuple[str, SyntheticSequence]]:
    """ED of eight patients of other hospitals, spread over the vendors."""
    rows = [row for row in read_table(raw / "patients.csv")[1].values() if row["role"] == "test"]
    vendors = sorted({row["vendor"] for row in rows})
    found = []
    for vendor in vendors:
        names = sorted(row["patient"] for row in rows if row["vendor"] == vendor)
        for name in names[:: max(len(names) * len(vendors) // LOOKS, 1)][: LOOKS // len(vendors)]:
            image = read_volume(raw / "imagesTr" / f"{name}_ED_0000.nii.gz").array.astype(np.float32)
            mask = read_volume(raw / "labelsTr" / f"{name}_ED.nii.gz").array.astype(np.uint8)
            # The pixel size is not known (docs of the data); 1.3 mm is the usual one.
            heart = SyntheticSequence(name, image[None], mask[None], (1.3, 1.3, 10.0), 0, 0, 0.0, 0, Priors(), Priors())
            found.append((vendor, heart))
    return found


def picture(heart: SyntheticSequence) -> np.ndarray:
    """The slice with the largest LV, without contours."""
    z = int(np.argmax(np.count_nonzero(heart.mask[0] == LV, axis=(0, 1))))
    where = np.argwhere(heart.mask[0][..., z] > 0)
    box = []
    for axis in (0, 1):
        half = min(round(FIELD / heart.spacing[axis] / 2), heart.mask.shape[1 + axis] // 2)
        middle = min(max(round(float(where[:, axis].mean())), half), heart.mask.shape[1 + axis] - half)
        box.append(slice(middle - half, middle + half))
    image = heart.image[0][box[0], box[1], z : z + 1]
    return frame_picture(image, None, grey_window(image), [0], SIDE, rows=1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--acdc", "--mnms", "--out"):
        arguments.add_argument(name, type=Path)
    given = arguments.parse_args()
    out = given.out or DOCS / "images" / "looks.png"
    if given.acdc is None or given.mnms is None:
        shown = phantom(0, "Siemens")
        below = [(vendor, phantom(1 + number, vendor)) for number in range(LOOKS // len(VENDORS)) for vendor in VENDORS]
    elif DOCS in out.resolve().parents:
        raise UserError(f"--out {out} would publish patients; give a file that is not below {DOCS}")
    else:
        shown, below = patient(given.acdc), others(given.mnms)
    looks = [looked(shown, look_of(shown.id, number, "Siemens"), [0]) for number in range(1, LOOKS)]
    first = [titled([picture(shown)], "as it is"), *(titled([picture(one)], f"look {n}") for n, one in enumerate(looks, 1))]
    second = [titled([picture(one)], vendor) for vendor, one in below]
    write_montage(out, [np.concatenate([one for [one] in row], axis=1) for row in (first, second)])
    print(out)


if __name__ == "__main__":
    main()
