"""The semi-supervised VAE, which decodes an image and its mask from one latent."""
