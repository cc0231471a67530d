"""Where networks run, and in what numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nnunet_synth_aug.core.errors import UserError


def usable_device(device: str | torch.device, named: str, instead: str) -> torch.device:
    """A device that exists and answers.

    Args:
        device: such as ``cuda:1``.
        named: what the sentence calls it, such as ``-device cuda:1``.
        instead: what to use in its place, such as ``-device cpu``.

    Raises:
        UserError: it cannot be used here.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"{named} cannot be used here ({str(error).splitlines()[0]}); use {instead}") from error
    return found


def uses_bf16(mode: str, device: torch.device) -> bool:
    """Whether the networks run in bfloat16: with "auto", where the hardware computes in it.

    That is on NVIDIA GPUs from Ampere on, and on CPUs with AVX512-BF16 or AMX (a step of the tiny VAE takes 0.57 s instead
    of 0.99 s, of its LDMs 0.20 s instead of 0.29 s, on one core of an AMD EPYC with AVX512-BF16).
    """
    if mode not in ("auto", "off", "bf16"):
        raise UserError(f"autocast is {mode!r} in the training's settings; choose auto, off or bf16")
    if mode != "auto":
        return mode == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
