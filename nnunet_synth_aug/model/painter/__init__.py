"""The painter: a diffusion that draws slices around contours, in the style of a patient."""
