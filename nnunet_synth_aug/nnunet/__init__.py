"""The nnU-Net side: the bank of preprocessed synthetic cases and the trainer that mixes them in."""
