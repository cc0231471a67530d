"""Where nnU-Net's trainer lookup meets this package.

nnU-Net forgets the modules of this folder after a lookup, so a class defined here could not be pickled, and a relative
import would break the lookup of every trainer. The classes live in ``nnunet_synth_aug.nnunet.trainer``.
"""

from typing import Any

from nnunet_synth_aug.nnunet import trainer


def __getattr__(name: str) -> Any:
    """Any ``nnUNetTrainerSynthAug``, ``nnUNetTrainerSynthAug_mixNN`` or ``nnUNetTrainerSynthAug_mixNN_Eepochs``."""
    if not name.startswith("nnUNetTrainerSynthAug"):
        raise AttributeError(name)
    return getattr(trainer, name)
