"""The bank: sequences as nnU-Net's own preprocessed cases."""
