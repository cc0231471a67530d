"""A heart as the page takes it: all frames of all slices in one picture, the masks in a second one, and what was asked and measured."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.labels import LV, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.explore.hearts import WORDS, Heart
from nnunet_synth_aug.synthesis.pictures import grey_window, picked_slices

#: Side of the square around the heart that is shown, in mm: the same for all hearts, so that a large one looks large.
SIDE = 132.0
#: Between the grey levels that stand for two labels in the masks' picture.
LABEL_STEP = 80
#: What the export keeps of a heart: slices, pixels of a slice's side, and quality of WebP.
FEW_SLICES, SMALL, QUALITY = 5, 72, 62

#: The quality control's reasons, in the page's words.
_REASONS = {
    "missed": "{} far from what was asked",
    "torn_slices": "ragged contours in some slice",
    "fragmented": "{} in several pieces",
    "missing": "no {}",
    "lv_not_enclosed": "LV not surrounded by muscle",
    "rv_detached": "RV apart from the LV",
    "no_contraction": "no contraction",
    "ed_not_largest": "larger later than at its beginning",
    "several_contractions": "several contractions",
    "mass_not_conserved": "muscle that comes and goes",
}


def in_words(reasons: Iterable[str]) -> list[str]:
    """Reasons of the quality control for people who do not know its names, each thing once."""
    found: dict[str, list[str]] = {}
    for reason in reasons:
        name, when = reason, ""
        for ending, told in (("_at_es", "at ES"), ("_in_cycle", "in the cycle")):
            if reason.endswith(ending):
                name, when = reason.removesuffix(ending), told
        known = next((key for key in _REASONS if name == key or name.startswith(f"{key}_")), None)
        what = name if known is None else name.removeprefix(f"{known}_")
        words = name.replace("_", " ") if known is None else _REASONS[known].format(WORDS.get(what, what))
        found.setdefault(words, []).append(when)
    return [" ".join([words, " and ".join(filter(None, whens))]).strip() for words, whens in found.items()]


def shown(heart: Heart, notes: list[str], small: bool = False) -> dict[str, Any]:
    """All that the page needs to let a heart beat.

    Args:
        heart: the one.
        notes: sentences on its wish.
        small: few slices and lossy pixels, for a file that holds many hearts; else all of them as they are.
    """
    sequence = heart.sequence
    order = slices_from_base(sequence.mask)
    if small:
        order = sorted(picked_slices(sequence.mask, FEW_SLICES), key=order.index)
    crop = _square(sequence)
    grey, labels = (sequence_part[(slice(None), *crop, order)] for sequence_part in (sequence.image, sequence.mask))
    low, high = grey_window(grey)
    grey = (np.clip((grey - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    pixel = float(sequence.spacing[0])
    if small:
        pixel *= grey.shape[1] / SMALL
    voxel = float(np.prod(sequence.spacing)) / 1000
    volumes = {
        name: [round(float(n) * voxel, 1) for n in np.count_nonzero(sequence.mask == label, axis=(1, 2, 3))]
        for name, label in (("lv", LV), ("rv", RV))
    }
    return {
        "name": sequence.id,
        "seed": heart.wish.seed,
        "frames": len(grey),
        "slices": len(order),
        "tile": SMALL if small else grey.shape[1],
        "pixel_mm": round(pixel, 3),
        "frame_ms": round(1000 * sequence.frame_seconds, 1),
        "ed": sequence.ed,
        "es": sequence.es,
        "asked": _rounded(heart.wish.asked),
        "drawn": _rounded(sequence.requested),
        "measured": _rounded(sequence.measured),
        "volumes": volumes,
        "notes": notes,
        "objections": in_words(heart.reasons),
        "tried": heart.tried,
        "image": _sprite(grey, small, masks=False),
        "mask": _sprite(labels, small, masks=True),
    }


def slices_from_base(mask: np.ndarray) -> list[int]:
    """All slices of a mask (T, X, Y, Z), beginning at the end where the ventricles are wide."""
    area = np.count_nonzero((mask[0] == LV) | (mask[0] == RV), axis=(0, 1))
    half = len(area) // 2
    order = list(range(len(area)))
    return order if area[:half].sum() >= area[-half:].sum() else order[::-1]


def _square(sequence: SyntheticSequence) -> tuple[slice, slice]:
    """Where the shown square lies: centred on the heart, within the image."""
    size = sequence.mask.shape[1:3]
    side = min(round(SIDE / sequence.spacing[0]), *size)
    parts = []
    for axis in (0, 1):
        others = tuple(a for a in range(4) if a != axis + 1)
        inside = np.flatnonzero(sequence.mask.any(axis=others))
        middle = (inside[0] + inside[-1]) / 2 if len(inside) else size[axis] / 2
        first = int(np.clip(round(middle - side / 2), 0, size[axis] - side))
        parts.append(slice(first, first + side))
    return parts[0], parts[1]


def _sprite(values: np.ndarray, small: bool, masks: bool) -> str:
    """Frames of (T, X, Y, Z) side by side, slices below each other; X to the right, Y up. Masks become greys :data:`LABEL_STEP` apart."""
    tiles = values.transpose(3, 0, 2, 1)[:, :, ::-1]  # Z, T, rows, columns
    if small:
        way = Image.Resampling.NEAREST if masks else Image.Resampling.LANCZOS
        tiles = np.stack([[np.asarray(Image.fromarray(tile).resize((SMALL, SMALL), way)) for tile in line] for line in tiles])
    depth, frames, rows, columns = tiles.shape
    whole = Image.fromarray(np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(depth * rows, frames * columns))
    stream, kind = io.BytesIO(), "png"
    if masks:
        whole = whole.convert("P")
        whole.putpalette(np.repeat(np.arange(4) * LABEL_STEP, 3).tolist())
        whole.save(stream, "PNG", bits=2, optimize=small)
    elif small:
        kind = "webp"
        whole.save(stream, "WEBP", quality=QUALITY, method=6)
    else:
        whole.save(stream, "PNG", compress_level=3)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _rounded(priors: Priors) -> dict[str, Any]:
    return {k: round(v, 1) if isinstance(v, float) else v for k, v in priors.specified().items()}
