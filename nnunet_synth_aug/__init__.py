"""Labelled synthetic 4D cardiac MRI as an augmentation for nnU-Net.

Importing this package is cheap on purpose (no torch, no numpy): nnU-Net's
trainer lookup and the start-up hook import it in every process.
"""

__version__ = "0.1.0"
