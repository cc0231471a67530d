"""Pictures of cohort hearts beside generated ones, from a finished ``synthaug demo`` folder.

    python tests/benchmarks/pictures.py synthaug_demo --out docs/images

Writes hearts.gif (two cohort hearts, two generated, beating) and hearts.png (ED and ES of each, five slices).
Only a phantom demo may be published: patients' images stay where they are, so another source is refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from evaluation.benchmark.demo import demo_study
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--index", type=int, nargs=2, default=(0, 1), help="which cohort and generated hearts")
    arguments = parser.parse_args()
    if read_json(arguments.demo / "demo.json")["settings"]["source"] is not None:
        raise UserError("only the phantom demo's pictures may leave the machine")
    study = demo_study()
    at = Workspace(arguments.demo.resolve(), study)
    from nnunet_synth_aug.data.phantom import phantom_subject

    cohort = read_json(at.raw / "cohort.json")
    trained_on = read_json(at.generator(0) / "generator.json")["patients"]
    numbers = [i for i, s in enumerate(cohort["subjects"]) if s["patient"] in trained_on]
    bank = at.bank(study.all_arms[1], 0) / "sequences"
    ids = read_index(bank)[0]
    cycles, rows = [], []
    for which in arguments.index:
        truth = phantom_subject(numbers[which])
        source = truth.source
        frames = np.asarray(source.image, np.float32)
        cycles.append(
            titled(cycle_pictures(frames, truth.mask, 2, 110), f"cohort: {source.priors.diagnosis}, EF {source.priors.lv_ef:.0f} %")
        )
        rows += _rows(frames, truth.mask, source.es)
    for which in arguments.index:
        made = read_sequence(bank, ids[which])
        title = f"generated: {made.requested.diagnosis}, EF {made.measured.lv_ef:.0f} %"
        cycles.append(titled(cycle_pictures(made.image, made.mask, 2, 110), title))
        rows += _rows(made.image, made.mask, made.es)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_gif(arguments.out / "hearts.gif", side_by_side(*cycles)[::2], colours=48)  # small enough for a README
    write_montage(arguments.out / "hearts.png", rows)
    print(json.dumps({"written": [str(arguments.out / n) for n in ("hearts.gif", "hearts.png")]}))


def _rows(image: np.ndarray, mask: np.ndarray, es: int) -> list[np.ndarray]:
    window, slices = grey_window(image), picked_slices(mask, 5)
    return [frame_picture(image[t], mask[t], window, slices, 120, rows=1) for t in (0, es)]


if __name__ == "__main__":
    main()
