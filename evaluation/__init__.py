"""Segmentation metrics, paired statistics per patient and one report; works alone and imports no torch."""
