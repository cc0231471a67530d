"""Live refresh: the generator replaces cases of the bank while nnU-Net trains."""
