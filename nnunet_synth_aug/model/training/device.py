"""Where networks run."""

from __future__ import annotations

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
