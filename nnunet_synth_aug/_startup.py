"""Start-up hook: tells nnU-Net where this package's trainers are, so that ``-tr`` finds them without a manual step.

``nnunet_synth_aug.pth`` in site-packages calls :func:`register` in every interpreter. It only appends a folder to the
environment variable ``nnUNet_extTrainer``, nnU-Net's own mechanism since 2.8.0. Standard library only and a few
microseconds. ``NNUNET_SYNTH_AUG_AUTOREGISTER=0`` switches it off.
"""

import os

SHIM = "nnUNetTrainerSynthAug_shim.py"
VARIABLE = "nnUNet_extTrainer"
SWITCH = "NNUNET_SYNTH_AUG_AUTOREGISTER"


def trainers_folder() -> str:
    """Folder to put into ``nnUNet_extTrainer``: ``trainers`` beside this package, in a checkout and when installed."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "trainers")  # noqa: PTH100, PTH118, PTH120


def register() -> None:
    """Append the trainers' folder to ``nnUNet_extTrainer``; keeps the user's own value, adds nothing twice."""
    if os.environ.get(SWITCH) == "0":
        return
    folder = trainers_folder()
    if not os.path.isfile(os.path.join(folder, SHIM)):  # noqa: PTH113, PTH118
        return
    paths = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    if folder not in paths:
        os.environ[VARIABLE] = os.pathsep.join([*paths, folder])
