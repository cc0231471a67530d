"""What everything else is built on: errors, labels, priors, files, paths and settings. No torch, no nnU-Net."""
