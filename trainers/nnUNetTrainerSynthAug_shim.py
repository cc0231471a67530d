"""Where nnU-Net's trainer lookup meets nnunet-synth-aug.

nnU-Net forgets the modules of this folder after a lookup, so a class defined here could not be pickled, and a relative
import would break the lookup of every trainer. The classes live in ``nnunet_synth_aug.nnunet.trainer``, which is imported
only when one of them is asked for: nothing here can disturb the lookup of other trainers, even after an uninstall.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Any ``nnUNetTrainerSynthAug``, ``nnUNetTrainerSynthAug_mixNN``, ``_mixNNtoMM``, with or without ``_Eepochs`` and ``_TRAINER``."""
    if not name.startswith("nnUNetTrainerSynthAug"):
        raise AttributeError(name)
    from nnunet_synth_aug.nnunet import trainer

    return trainer.asked_for(name)
