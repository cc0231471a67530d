"""Stage 2: the latent of the end-diastolic anatomy from noise and clinical priors."""
