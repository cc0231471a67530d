"""How much of what nnU-Net predicts lies apart from the heart, and what that costs. For docs/decisions/phantom-field.md.

    python tests/benchmarks/islands.py LABELS NAME=FOLDER ... --out FILE

LABELS is a folder of nnU-Net's labels (1 RV, 2 MYO, 3 LV), each FOLDER one of predictions, such as ``fold_0/validation``. Cases that all of
them hold are compared. An island is a piece of any structure that does not touch the largest piece.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import STRUCTURES


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Of two masks; NaN if both are empty."""
    total = one.sum() + other.sum()
    return float(2 * (one & other).sum() / total) if total else np.nan


def of_case(prediction: Path, label: Path) -> dict[str, float]:
    """Islands of one frame, their area in cm2 summed over slices, and Dice with and without them."""
    image = nib.load(prediction)
    found, truth = np.asarray(image.dataobj), np.asarray(nib.load(label).dataobj)
    alone = without_islands(found)
    apart = (found > 0) & (alone == 0)
    x, y = image.header.get_zooms()[:2]
    return {
        "islands": ndimage.label(apart, np.ones((3, 3, 3)))[1],
        "cm2": float(np.count_nonzero(apart)) * x * y / 100,
        **{f"Dice {name}": dice(found == value, truth == value) for name, value in STRUCTURES.items()},
        **{f"Dice {name}, largest heart": dice(alone == value, truth == value) for name, value in STRUCTURES.items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("labels", type=Path)
    arguments.add_argument("predictions", nargs="+", help="NAME=FOLDER")
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    folders = {name: Path(folder) for name, folder in (text.split("=", 1) for text in given.predictions)}
    cases = sorted(set.intersection(*({path.name for path in folder.glob("*.nii.gz")} for folder in folders.values())))
    result = {}
    for name, folder in folders.items():
        rows = [of_case(folder / case, given.labels / case) for case in cases]
        result[name] = {"cases": len(cases)} | {key: round(float(np.nanmean([row[key] for row in rows])), 3) for key in rows[0]}
        console.print(f"{name}: {result[name]}")
    write_json(given.out, result)


if __name__ == "__main__":
    main()
