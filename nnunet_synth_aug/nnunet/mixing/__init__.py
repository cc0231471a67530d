"""Synthetic cases in nnU-Net's training batches."""
