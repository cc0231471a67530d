"""Cohorts: importers, the nnU-Net raw dataset, splits, and the digital phantom."""
