"""Scores become statistics: patients, pairs, intervals, ranks."""
