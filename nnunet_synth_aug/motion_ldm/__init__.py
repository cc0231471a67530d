"""Stage 3: the residual latent motion of a whole cycle, as one sample of periodic coefficients."""
