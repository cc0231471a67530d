"""Make a generator that was trained on phantoms the one that ships with the package.

    python tests/benchmarks/ship_pretrained.py RUN/arms/small_default/generator

Weights are stored in half precision. Only phantoms may be shipped: a generator that saw any patient is refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, sha256, write_json
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.model.generator import STAGES, load_generator
from nnunet_synth_aug.model.pretrained import PHANTOM
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, save_checkpoint


def ship(folder: Path) -> int:
    """Write the generator in ``folder`` to its place in the package; returns its size in bytes."""
    load_generator(folder, torch.device("cpu"))  # complete, and one piece
    meta = read_json(folder / GENERATOR_META)
    # A generator may continue an earlier one of phantoms: whoever any of them saw counts for the leak guard.
    patients = sorted({*meta["patients"], *((meta["pretraining"] or {}).get("patients", []))})
    if strangers := [patient for patient in patients if not patient.startswith("phantom")]:
        raise UserError(f"{folder} was trained on {strangers[0]}, who may be a person; only a generator of phantoms can be shipped")
    PHANTOM.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        tensors, header = load_checkpoint(folder / f"{stage}.safetensors")
        path = PHANTOM / f"{stage}.safetensors"
        # Statistics stay exact; rounding a weight to half precision changes it by 0.05 % at most.
        save_checkpoint(path, {k: v.half() if k.startswith("net.") else v for k, v in tensors.items()}, header)
        meta["finished"][stage]["sha256"] = sha256(path)
    meta |= {"dataset": f"{len(patients)} phantoms, shipped", "fold": "all", "split_hash": "", "templates": [], "patients": patients}
    write_json(PHANTOM / GENERATOR_META, meta)
    load_generator(PHANTOM, torch.device("cpu"))
    return sum(path.stat().st_size for path in PHANTOM.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path)
    print(json.dumps({"written": PHANTOM.name, "bytes": ship(parser.parse_args().generator)}))


if __name__ == "__main__":
    main()
