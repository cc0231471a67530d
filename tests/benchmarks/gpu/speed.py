"""How fast a preset trains and samples on a device, in minutes instead of by the whole training.

    python tests/benchmarks/gpu/speed.py --work WORK --json speed.json [--preset base] [--device cuda]

Every stage trains for some steps as `synthaug fit` trains it (its networks, its batches, its precision), on phantoms. From the
pace of the steps follows how long the preset's own number of them takes; what else a stage does (encoding copies of the patients,
writing) is measured and scaled by the number of copies. The same again in single precision shows what bf16 does to pace and loss.
Last, the cost of sampling (tests/benchmarks/compute.py). It needs what base.py needs. WORK may be deleted afterwards; after a kill,
delete it and start again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from base import NNUNET_FOLDERS, Options, cost, machine, make_cohort, parse

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.model.config import GeneratorConfig, preset

STAGES = ("vae", "static", "motion")


def pace(curve: list[dict[str, Any]]) -> float:
    """Seconds per step, without the first quarter of the steps, which load kernels.

    Args:
        curve: lines of ``<stage>.losses.jsonl`` of one process, with ``step`` and ``seconds``.

    Raises:
        UserError: fewer than three lines.
    """
    if len(curve) < 3:
        raise UserError("too few steps to tell their pace; give at least 40 with --steps")
    last = curve[-1]
    first = next(line for line in curve if line["step"] >= last["step"] / 4)
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def whole_seconds(seconds_per_step: float, steps: int, beside: float, copies: int, all_copies: int) -> float:
    """Of a stage: its steps, and what it does beside them, of which as much as possible is per copy of a patient."""
    return seconds_per_step * steps + beside * max(1.0, all_copies / copies)


def in_precision(options: Options, autocast: str) -> GeneratorConfig:
    """The shortened preset; nothing that a single step depends on differs from the whole one but ``autocast``."""
    config = options.config()
    for stage in STAGES:
        settings = getattr(config, stage)
        config = dataclasses.replace(
            config, **{stage: dataclasses.replace(settings, train=dataclasses.replace(settings.train, autocast=autocast))}
        )
    return config


def trained(options: Options, autocast: str) -> dict[str, Any]:
    """A short training: per stage its pace, first and last loss, and how long the whole preset would take."""
    import torch

    from nnunet_synth_aug.core.paths import GENERATOR_META
    from nnunet_synth_aug.model.fit import fit_generator
    from nnunet_synth_aug.model.training.device import uses_bf16

    device, folder = torch.device(options.device), options.work / f"speed_{options.preset}_{autocast}"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    config = in_precision(options, autocast)
    fit_generator(options.name, options.fold, config, device, folder)
    whole, stages = preset(options.preset), {}
    for stage in STAGES:
        curve = [json.loads(line) for line in (folder / f"{stage}.losses.jsonl").open()]
        if len({line["step"] for line in curve}) < len(curve):
            raise UserError(f"{folder} holds curves of several runs; delete it and start again")
        each = pace(curve)
        beside = read_json(folder / GENERATOR_META)["finished"][stage]["seconds"] - curve[-1]["seconds"]
        asked = getattr(whole, stage).train.steps
        stages[stage] = {
            "seconds_per_step": round(each, 4),
            "seconds_beside_steps": round(beside, 1),
            "steps_of_preset": asked,
            "minutes_of_preset": round(whole_seconds(each, asked, beside, config.latents.copies, whole.latents.copies) / 60, 2),
            "first_loss": curve[0]["loss"],
            "last_loss": curve[-1]["loss"],
        }
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    minutes = sum(stage["minutes_of_preset"] for stage in stages.values())
    return {
        "bf16": uses_bf16(autocast, device),
        "steps": options.train_steps,
        "copies": config.latents.copies,
        "stages": stages,
        "minutes_of_preset": round(minutes, 1),
        "peak_gib": None if peak is None else round(peak, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=160, help="of every stage")
    parser.add_argument("--hearts", type=int, default=30, help="of the phantom cohort")
    parser.add_argument("--copies", type=int, default=48, help="augmented copies to encode")
    given = parser.parse_args()
    words = {"work": given.work, "out": given.json.parent, "preset": given.preset, "device": given.device, "hearts": given.hearts}
    words |= {"train-steps": given.steps, "copies": given.copies}
    options = parse([word for name, value in words.items() for word in (f"--{name}", str(value))])[0]
    os.environ.update({name: options.environment[name] for name in NNUNET_FOLDERS})
    for name in NNUNET_FOLDERS:
        Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
    try:
        make_cohort(options)
        figures = {
            "machine": machine(options.device),
            "date": time.strftime("%Y-%m-%d"),
            "preset": options.preset,
            "hearts": options.hearts,
        }
        figures["training"] = trained(options, "auto")
        write_json(given.json, figures)
        figures["single_precision"] = trained(options, "off")
        write_json(given.json, figures)
        figures["sampling"] = cost(options)
        write_json(given.json, figures)
    except UserError as error:
        print(f"speed.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
