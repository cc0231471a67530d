"""Stage 1: semi-supervised VAE. Image volume <-> latent -> image and aligned mask from one decoder trunk."""
