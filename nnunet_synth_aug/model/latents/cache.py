"""The latents of a training set on disk, so that a killed training does not encode its cines again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from nnunet_synth_aug.model.conditions import Conditions, PriorScaler
from nnunet_synth_aug.model.latents.encode import LatentSet
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, save_checkpoint

#: Kept beside the checkpoints of running stages, and removed with the last of them.
FILE = "latents.training.safetensors"
_PLAIN = ("ed", "motion", "moving", "phase", "valid")


def save_latents(folder: Path, latents: LatentSet, identity: str) -> None:
    """Write ``folder``/FILE; ``identity`` is the digest of all that the latents depend on."""
    tensors = {name: getattr(latents, name) for name in _PLAIN} | latents.scale.tensors()
    tensors |= {f"conditions.{f.name}": getattr(latents.conditions, f.name) for f in fields(Conditions)}
    header = {"identity": identity, "prior_mean": list(latents.scaler.mean), "prior_std": list(latents.scaler.std)}
    save_checkpoint(folder / FILE, tensors, header)


def load_latents(folder: Path, identity: str) -> LatentSet | None:
    """What :func:`save_latents` wrote; None if there is nothing of that identity."""
    if not (folder / FILE).is_file():
        return None
    tensors, header = load_checkpoint(folder / FILE)
    if header["identity"] != identity:
        return None
    return LatentSet(
        **{name: tensors[name] for name in _PLAIN},
        conditions=Conditions(**{f.name: tensors[f"conditions.{f.name}"] for f in fields(Conditions)}),
        scaler=PriorScaler(tuple(header["prior_mean"]), tuple(header["prior_std"])),
        scale=LatentScale.from_tensors(tensors),
    )
