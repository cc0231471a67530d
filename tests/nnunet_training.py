"""nnU-Net's way to make a trainer, for the tests that train in their own process."""

from typing import Any

import torch
from nnunet_fixture import DATASET, PLANS
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint


def make(name: str, plans: str = PLANS, fold: Any = 0, resume: bool = False, configuration: str = "2d") -> Any:
    """As nnUNetv2_train does it."""
    made = get_trainer_from_args(DATASET, configuration, fold, name, plans, resume, device=torch.device("cpu"))
    maybe_load_checkpoint(made, resume, False)
    return made
