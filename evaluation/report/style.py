"""The look of every figure: sober, and readable for colour-blind readers (Okabe and Ito's palette)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, GREY, PALE, RULE = "#222222", "#767676", "#b8b8b8", "#dddddd"
#: Of the arms, and of what warns.
BASELINE_COLOUR, AUGMENTED_COLOUR, LOSS = "#767676", "#0072B2", "#D55E00"
STRUCTURE_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#F0E442")

# `Any`: matplotlib types the keys as a literal of all its settings.
RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "nnunet-synth-aug",  # the same figure gives the same bytes
    "figure.facecolor": "white",
}


def unit_label(metric: str, unit: str) -> str:
    """A label for an axis: the metric, and its unit if it has one."""
    return f"{metric} [{unit}]" if unit else metric


@contextmanager
def sober() -> Iterator[None]:
    """Draw and save in this look, and leave the caller's matplotlib settings as they were."""
    import matplotlib  # here so that the command line starts without it

    with matplotlib.rc_context(RC):
        yield
