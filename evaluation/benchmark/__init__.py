"""``synthaug benchmark``: a study file becomes steps, the steps run and resume, and every augmented arm is compared with real-only."""
