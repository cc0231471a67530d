"""How many slices of sequences have contours that nobody would draw, beside those of patients, and what a real-only nnU-Net sees there.

    python tests/benchmarks/torn_slices.py --data ACDC --json docs/generator/torn_slices.json \\
        --sequences "the generator's, before:FOLDER;copies:FOLDER" [-d 901 -f 0 --segmenter RESULTS]

ED and ES of every sequence of a bank (its folder ``sequences``). With a segmenter, Dice of its masks and the sequences', slice by slice: in
torn slices a low one says that the mask is wrong where the image is not. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from generator import machine

from nnunet_synth_aug.cli.options import real_only_network
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import PHASES, STRUCTURES
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.nnunet.segmenter import Segmenter
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.quality.contours import sound_range, torn_slices


def counts(masks: Iterable[np.ndarray]) -> dict[str, int]:
    """Of frames (X, Y, Z): slices with labels, torn ones; frames, those torn in the middle and those whose ends a bank leaves out."""
    found = dict.fromkeys(("frames", "spoilt", "cut", "slices", "torn"), 0)
    for mask in masks:
        sound = sound_range(mask)
        found["frames"] += 1
        found["spoilt"] += sound is None
        found["cut"] += sound not in (None, (0, mask.shape[-1]))
        found["slices"] += int(np.any(mask, axis=(0, 1)).sum())
        found["torn"] += int(torn_slices(mask).sum())
    return found


def sequences(folder: Path) -> Iterator[SyntheticSequence]:
    for one in read_index(folder)[0]:
        yield read_sequence(folder, one)


def frame_of(sequence: SyntheticSequence, phase: str) -> int:
    return sequence.ed if phase == "ED" else sequence.es


def agreement(folder: Path, network: Segmenter) -> dict[str, dict[str, dict[str, float]]]:
    """Mean Dice per phase, kind of slice and structure, over the slices where either mask has the structure; and how many slices."""
    dice: dict[tuple[str, str, str], list[float]] = {}
    n: dict[tuple[str, str], int] = {}
    for sequence in sequences(folder):
        for phase in PHASES:
            mask = sequence.mask[t := frame_of(sequence, phase)]
            seen = network.segment(sequence.image[t], sequence.spacing, sequence.context)
            torn = torn_slices(mask)
            for z in np.flatnonzero(np.any(mask, axis=(0, 1))):
                kind = "torn" if torn[z] else "whole"
                n[phase, kind] = n.get((phase, kind), 0) + 1
                for name, label in STRUCTURES.items():
                    one, other = mask[..., z] == label, seen[..., z] == label
                    if total := int(one.sum() + other.sum()):
                        dice.setdefault((phase, kind, name), []).append(2 * float((one & other).sum()) / total)
    return {
        phase: {
            kind: {"slices": n[phase, kind]} | {name: round(float(np.mean(dice[phase, kind, name])), 3) for name in STRUCTURES}
            for kind in ("whole", "torn")
            if (phase, kind) in n
        }
        for phase in PHASES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ACDC folder: contours by hand")
    parser.add_argument("--sequences", required=True, help="LABEL:FOLDER;LABEL:FOLDER")
    parser.add_argument("-d", help="dataset of the segmenter")
    parser.add_argument("-f", default="0", help="its fold")
    parser.add_argument("--segmenter", type=Path, help="results folder of a real-only training; judges the first of the sequences")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    wanted = {label.strip(): Path(folder) for label, folder in (one.split(":", 1) for one in options.sequences.split(";"))}
    try:
        patients = list(read_acdc(options.data))
        found: dict[str, Any] = {f"contours by hand, {len(patients)} patients": {p: counts(s.masks[p] for s in patients) for p in PHASES}}
        for label, folder in wanted.items():
            found[label] = {phase: counts(s.mask[frame_of(s, phase)] for s in sequences(folder)) for phase in PHASES}
        judged: dict[str, Any] = {}
        if options.segmenter is not None:
            network = real_only_network(options.d, options.f, options.segmenter, "cpu")
            judged = {"of": next(iter(wanted)), **agreement(next(iter(wanted.values())), network)}
    except UserError as error:
        parser.error(str(error))
    figures = {**machine(options.machine), "contours": found, "segmenter": judged}
    if options.json is not None:
        write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
