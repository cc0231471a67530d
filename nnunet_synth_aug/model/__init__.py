"""The generator: VAE, static LDM, motion LDM, and how they are trained."""
