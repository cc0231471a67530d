"""Beating hearts as GIF and montages as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import atomic_path
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.synthesis.folder import read_sequence

#: Okabe-Ito colours: told apart by colour-blind readers too.
COLOURS = {RV: (0, 158, 115), MYO: (213, 94, 0), LV: (86, 180, 233)}
GAP = 4


def picked_slices(mask: np.ndarray, n: int) -> list[int]:
    """As many slices as asked for, spread over those that hold the heart, base to apex."""
    slices = np.flatnonzero(mask.any(axis=(0, 1, 2)))
    low, high = (slices[0], slices[-1]) if len(slices) else (0, mask.shape[3] - 1)
    return np.linspace(low, high, n + 2)[1:-1].round().astype(int).tolist()


def on(grey: np.ndarray | int, colour: tuple[int, int, int]) -> np.ndarray:
    """An outline's colour over a pixel: RGB (..., 3)."""
    return (0.25 * np.asarray(grey) + 0.75 * np.array(colour)).astype(np.uint8)


def _panel(image: np.ndarray, mask: np.ndarray | None, window: tuple[float, float], size: int) -> np.ndarray:
    """One slice (X, Y) as RGB (size, size, 3), X to the right and Y up, with mask outlines."""
    grey = np.clip((image - window[0]) / (window[1] - window[0]), 0, 1)
    side = max(grey.shape)
    pad = [((side - s) // 2, side - s - (side - s) // 2) for s in grey.shape]
    grey = np.pad(grey, pad)
    picture = Image.fromarray((grey.T[::-1] * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    rgb = np.asarray(picture).copy()
    if mask is not None:
        big = Image.fromarray(np.pad(mask, pad).T[::-1].astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
        labels = np.asarray(big)
        for label, colour in COLOURS.items():
            edge = find_boundaries(labels == label, mode="inner")
            rgb[edge] = on(rgb[edge], colour)
    return rgb


def frame_picture(
    image: np.ndarray, mask: np.ndarray | None, window: tuple[float, float], slices: list[int], size: int, rows: int = 1
) -> np.ndarray:
    """One frame (X, Y, Z) as a row of slices; with a mask and two rows, plain above and outlined below."""
    lines = []
    for row in range(rows):
        outlined = mask if rows == 1 or row == 1 else None
        panels = [_panel(image[..., z], None if outlined is None else outlined[..., z], window, size) for z in slices]
        lines.append(np.concatenate([np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for p in panels], axis=1))
    return np.concatenate(lines, axis=0)


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """Grey values that a picture shows as black and white."""
    low, high = np.percentile(image, (0.5, 99.5))
    return float(low), float(max(high, low + 1))


def cycle_pictures(image: np.ndarray, mask: np.ndarray | None, n_slices: int = 3, size: int = 160, rows: int = 2) -> list[np.ndarray]:
    """Every frame of (T, X, Y, Z) as an RGB picture."""
    window, slices = grey_window(image), picked_slices(mask if mask is not None and mask.any() else np.ones_like(image, bool), n_slices)
    return [frame_picture(image[t], None if mask is None else mask[t], window, slices, size, rows) for t in range(len(image))]


def titled(pictures: list[np.ndarray], title: str) -> list[np.ndarray]:
    """With a line of text above."""
    out = []
    for picture in pictures:
        canvas = Image.new("RGB", (picture.shape[1], picture.shape[0] + 18), "white")
        ImageDraw.Draw(canvas).text((3, 3), title, fill="black")
        canvas.paste(Image.fromarray(picture), (0, 18))
        out.append(np.asarray(canvas))
    return out


def side_by_side(*cycles: list[np.ndarray]) -> list[np.ndarray]:
    """Several hearts beating in step: each cycle is resampled in time to the longest."""
    longest = max(len(c) for c in cycles)
    height = max(c[0].shape[0] for c in cycles)
    frames = []
    for t in range(longest):
        row = [c[int(t * len(c) / longest)] for c in cycles]
        frames.append(np.concatenate([np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0)), constant_values=255) for p in row], axis=1))
    return frames


def write_gif(path: Path, pictures: list[np.ndarray], cycle_seconds: float = 1.2, colours: int = 128) -> None:
    """A GIF that loops, of grey pictures with outlines.

    One palette for all frames, of even greys and the outlines' colours: nothing flickers, and thin outlines keep their colour.
    """
    outlines = np.concatenate([on(np.array([[0], [85], [170], [255]]), colour) for colour in COLOURS.values()])
    greys = np.linspace(0, 255, colours - len(outlines)).round().astype(np.uint8)
    palette = np.concatenate([np.repeat(greys[:, None], 3, axis=1), outlines])
    frames = []
    for picture in pictures:
        index = (picture[..., 0] / 255 * (len(greys) - 1)).round().astype(np.uint8)
        coloured = (picture != picture[..., :1]).any(axis=-1)
        far = np.square(picture[coloured][:, None].astype(int) - outlines).sum(axis=-1)
        index[coloured] = len(greys) + far.argmin(axis=-1)
        frame = Image.fromarray(index, mode="P")
        frame.putpalette(palette.ravel().tolist())
        frames.append(frame)
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, save_all=True, append_images=frames[1:], duration=int(1000 * cycle_seconds / len(frames)), loop=0, optimize=True
        )


def write_montage(path: Path, rows: list[np.ndarray]) -> None:
    """Pictures below each other as PNG."""
    width = max(r.shape[1] for r in rows)
    padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(padded, axis=0)).save(temporary)


def write_gifs(folder: Path, ids: list[str]) -> None:
    """One beating heart per sequence of a folder, plain above and outlined below."""
    with progress("drawing", len(ids)) as bar:
        for done, sequence_id in enumerate(ids, 1):
            sequence = read_sequence(folder, sequence_id)
            pictures = cycle_pictures(sequence.image, sequence.mask)
            write_gif(folder / f"{sequence_id}.gif", pictures, max(sequence.frame_seconds * len(pictures), 0.6))
            bar.advance(done, sequence_id)
