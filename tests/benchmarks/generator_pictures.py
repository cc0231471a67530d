"""Pictures of a finished phantom study of generator.py.

    python tests/benchmarks/generator_pictures.py RUN --preset small --out docs/images

Writes montage.png (ED and ES of eight generated hearts beside eight held-out ones of the cohort, five slices each) and
ef_sweep_0.gif to ef_sweep_4.gif (one heart each: the same seeds and priors but for the EF, open loop, no quality control).
Only phantoms may be published: patients' images, and hearts made from them, stay where they are.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from generator import EF_SWEEP, F

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.pictures import (
    cycle_pictures,
    frame_picture,
    grey_window,
    picked_slices,
    side_by_side,
    titled,
    write_gif,
    write_montage,
)

N, SLICES, SIZE = 8, 5, 76


def heart(image: np.ndarray, mask: np.ndarray, ed: int, es: int) -> np.ndarray:
    """Two rows of slices of (T, X, Y, Z): ED and ES, outlined."""
    window, slices = grey_window(image), picked_slices(mask[[ed, es]], SLICES)
    return np.concatenate([frame_picture(image[t], mask[t], window, slices, SIZE) for t in (ed, es)])


def montage(arm: Path, path: Path) -> None:
    """Generated hearts on the left, held-out ones on the right."""
    found = Cohort.load("921")
    if not all(s.patient.startswith("phantom") for s in found.subjects):
        raise UserError("only the pictures of a phantom study may leave the machine")
    held_out = set(fold_patients(found, int(F)).val)
    real = [load_sequence(s) for s in found.subjects if s.patient in held_out][:N]
    ids = read_index(arm / "accepted")[0][:N]
    rows = []
    for name, sequence in zip(ids, real, strict=False):
        made = read_sequence(arm / "accepted", name)
        left = heart(made.image, made.mask, made.ed, made.es)
        right = heart(sequence.image, sequence.mask, sequence.ed, sequence.es)
        rows.append(np.concatenate([left, np.full((left.shape[0], 24, 3), 255, np.uint8), right], axis=1))
    write_montage(path, [titled([rows[0]], "generated (ED above ES)".ljust(176) + "held-out phantoms")[0], *rows[1:]])


def sweep(arm: Path, number: int, path: Path) -> None:
    """One heart at every EF, beating side by side."""
    cycles = []
    for ef in EF_SWEEP:
        folder = arm / "sweep" / f"ef{ef}"
        made = read_sequence(folder, read_index(folder)[0][number])
        measured = "-" if made.measured.lv_ef is None else f"{made.measured.lv_ef:.0f} %"
        cycles.append(titled(cycle_pictures(made.image, made.mask, 1, 120), f"asked {ef} %, got {measured}"))
    write_gif(path, side_by_side(*cycles), colours=48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="--out of generator.py")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--arm", default="default")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    a = parser.parse_args()
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str((a.run / "nnunet" / name).resolve())
    arm = a.run / "arms" / f"{a.preset}_{a.arm}"
    a.out.mkdir(parents=True, exist_ok=True)
    written = [a.out / "montage.png", *(a.out / f"ef_sweep_{i}.gif" for i in range(5))]
    montage(arm, written[0])
    for number, path in enumerate(written[1:]):
        sweep(arm, number, path)
    print(json.dumps({"written": [path.name for path in written]}))


if __name__ == "__main__":
    main()
