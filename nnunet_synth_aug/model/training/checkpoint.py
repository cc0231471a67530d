"""One checkpoint format: safetensors with a JSON header. Nothing is ever unpickled.

The header travels inside the file, so weights and description cannot part; the same JSON is written
beside it for people.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, write_json


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and its readable twin (.json) atomically."""
    plain = {k: v.detach().to("cpu").contiguous().clone() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"header": json.dumps(header)})
        write_json(path.with_suffix(".json"), header)
        # safetensors lets nobody but the owner read; a generator is shared like any other file.
        temporary.chmod(path.with_suffix(".json").stat().st_mode)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; run 'synthaug fit' first")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads((file.metadata() or {})["header"])
            return {k: file.get_tensor(k) for k in file.keys()}, header  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a complete checkpoint ({error}); delete it and run 'synthaug fit' again") from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Adam's moments as flat names, so that they fit into safetensors."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{k}": torch.as_tensor(v) for i, values in state.items() for k, v in values.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put an optimiser's state back, in place."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    full = optimiser.state_dict()
    full["state"] = state
    optimiser.load_state_dict(full)
