"""Cines as latents, for the two LDMs."""
