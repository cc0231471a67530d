"""The folder that nnU-Net searches for trainers. It imports every module here: keep it to the one shim."""
