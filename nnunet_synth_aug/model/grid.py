"""From native geometry to the generator's grid: in-plane resampling, slice padding, sequence-wise grey values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from nnunet_synth_aug.core.cases import Sequence, Spacing
from nnunet_synth_aug.core.labels import N_CLASSES
from nnunet_synth_aug.data.remodel import RadialMap
from nnunet_synth_aug.model.config import GridConfig

#: Share of an image's area from which on a picture of its middle counts as showing all of it.
SHOWS_ALL = 0.8


@dataclass(frozen=True)
class Grid:
    """The grid of one generator; in-plane spacing is decided by its training cohort."""

    size: tuple[int, int, int]  # voxels
    pixel: float  # mm in plane

    @property
    def fov(self) -> float:
        """Field of view in plane [mm]."""
        return self.size[0] * self.pixel


@dataclass(frozen=True)
class Placement:
    """Where the grid lies on the image: an in-plane similarity transform, and smooth deformations on top of it."""

    centre: tuple[float, float]  # mm from the image's corner
    angle: float = 0.0  # degrees
    scale: float = 1.0  # > 1 enlarges the heart
    warp: torch.Tensor | None = None  # (2, X, Y): mm along the grid's axes by which its points are moved; the same in all slices and frames
    maps: tuple[RadialMap, ...] = ()  # what remodels the heart, in the image's own geometry


@dataclass(frozen=True)
class Gridded:
    """A sequence on the grid."""

    image: torch.Tensor  # float16 (T, X, Y, Z) in [-1, 1], 0 outside the valid region
    mask: torch.Tensor  # uint8 (T, X, Y, Z)
    valid: torch.Tensor  # bool (X, Y, Z): inside the image and in an existing slice
    spacing: Spacing  # mm; slice thickness is the native one
    ed: int
    es: int
    labelled: tuple[int, ...]
    predicted: tuple[int, ...]  # frames whose mask is a network's
    cut: bool  # whether labelled slices fell off the grid: volumes must be measured again
    grey: tuple[float, float]  # grey values that became -1 and 1
    context: tuple[float, float] | None  # mean and SD of the whole image in [-1, 1] units, None if the grid shows it all

    @property
    def masked(self) -> bool:
        """Whether the ED frame has a mask, contoured or predicted, so that volumes can be measured."""
        return self.ed in (*self.labelled, *self.predicted)


def choose_grid(config: GridConfig, extents: list[tuple[float, float]]) -> Grid:
    """In-plane field of view: the cohort's median (longer side), at most ``max_fov``.

    nnU-Net z-scores each image by its own field of view, so the synthetic one follows the real ones.
    """
    fov = min(float(np.median([max(e) for e in extents])), config.max_fov)
    return Grid(config.size, round(fov / config.size[0], 4))


def heart_centre(sequence: Sequence) -> tuple[float, float]:
    """Where the grid is centred, in mm: on the labelled heart, shifted so that no field of view is wasted."""
    shape = sequence.image.shape[1:3]
    voxels = np.argwhere(sequence.mask.any(axis=(0, 3)))
    middle = (voxels.min(0) + voxels.max(0) + 1) / 2 if len(voxels) else np.array(shape) / 2
    return (float(middle[0] * sequence.spacing[0]), float(middle[1] * sequence.spacing[1]))


def place(sequence: Sequence, grid: Grid) -> Placement:
    """Placement without augmentation: the heart's centre, but never outside the image if the image is large enough."""
    centre = []
    for axis, middle in enumerate(heart_centre(sequence)):
        extent = sequence.image.shape[1 + axis] * sequence.spacing[axis]
        centre.append(extent / 2 if extent <= grid.fov else float(np.clip(middle, grid.fov / 2, extent - grid.fov / 2)))
    return Placement((centre[0], centre[1]))


def _sampling_points(placement: Placement, grid: Grid, shape: tuple[int, int], spacing: Spacing) -> torch.Tensor:
    """Normalised sampling points (1, X, Y, 2) for grid_sample; its last axis is (Y, X)."""
    angle = math.radians(placement.angle)
    x = (torch.arange(grid.size[0]) + 0.5 - grid.size[0] / 2) * grid.pixel / placement.scale
    y = (torch.arange(grid.size[1]) + 0.5 - grid.size[1] / 2) * grid.pixel / placement.scale
    gx, gy = torch.meshgrid(x, y, indexing="ij")
    if placement.warp is not None:
        gx, gy = gx + placement.warp[0], gy + placement.warp[1]
    px = math.cos(angle) * gx - math.sin(angle) * gy + placement.centre[0]
    py = math.sin(angle) * gx + math.cos(angle) * gy + placement.centre[1]
    for remodel in placement.maps:
        px, py = remodel(px, py)
    # align_corners=False: -1 and 1 are the outer edges of the first and last pixel.
    nx = 2 * px / (shape[0] * spacing[0]) - 1
    ny = 2 * py / (shape[1] * spacing[1]) - 1
    return torch.stack([ny, nx], dim=-1)[None].float()


def _slice_window(sequence: Sequence, depth: int) -> tuple[int, int, bool]:
    """First native slice, number of slices kept, and whether labelled slices are lost."""
    n = sequence.image.shape[3]
    if n <= depth:
        return 0, n, False
    labelled = np.flatnonzero(sequence.mask.any(axis=(0, 1, 2)))
    middle = (labelled[0] + labelled[-1] + 1) / 2 if len(labelled) else n / 2
    first = int(np.clip(round(middle - depth / 2), 0, n - depth))
    lost = len(labelled) > 0 and (labelled[0] < first or labelled[-1] >= first + depth)
    return first, depth, bool(lost)


def grey_window(sequence: Sequence, config: GridConfig) -> tuple[float, float]:
    """Grey values that become -1 and 1: percentiles of the whole sequence, so that frames do not flicker."""
    low, high = np.percentile(sequence.image, config.intensity_percentiles)
    return float(low), float(high if high > low else low + 1.0)


def to_grid(
    sequence: Sequence, grid: Grid, config: GridConfig, placement: Placement | None = None, frames: list[int] | None = None
) -> Gridded:
    """Resample a sequence to the grid.

    Args:
        sequence: native geometry.
        grid: target.
        config: grey-value percentiles.
        placement: where and how the grid lies; default :func:`place`.
        frames: which frames to keep (ED, ES and labelled indices then count in this list); default all.
    """
    placement = placement or place(sequence, grid)
    frames = list(range(len(sequence.image))) if frames is None else frames
    X, Y = sequence.image.shape[1:3]
    first, depth, cut = _slice_window(sequence, grid.size[2])
    low, high = grey_window(sequence, config)
    points = _sampling_points(placement, grid, (X, Y), sequence.spacing)
    native = sequence.image[frames][..., first : first + depth]
    scaled = np.clip((native - low) / (high - low) * 2 - 1, -1, 1)
    if (coarser := grid.pixel / placement.scale / sequence.spacing[0]) > 1.5:
        # A much coarser grid would alias without a filter.
        scaled = gaussian_filter(scaled, (0, 0.3 * coarser, 0.3 * coarser, 0))

    def sample(volume: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:  # (N, C, X, Y) -> the grid's (N, C, X', Y')
        return F.grid_sample(volume, points.expand(len(volume), -1, -1, -1), mode=mode, padding_mode="zeros", align_corners=False)

    def fold(array: np.ndarray) -> torch.Tensor:  # (T, X, Y, Z) -> (T*Z, 1, X, Y)
        return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2).reshape(-1, 1, X, Y)

    def pad(folded: torch.Tensor) -> torch.Tensor:  # (T*Z, X', Y') -> (T, X', Y', Z')
        volume = folded.reshape(-1, depth, *grid.size[:2]).permute(0, 2, 3, 1)
        before = (grid.size[2] - depth) // 2
        return F.pad(volume, (before, grid.size[2] - depth - before))

    inside = sample(torch.ones(1, 1, X, Y))[0, 0] > 0.5
    valid = pad(inside[None].expand(depth, -1, -1).float())[0] > 0.5
    image = pad(sample(fold(scaled.astype(np.float32)))[:, 0]) * valid
    mask = torch.zeros(image.shape, dtype=torch.uint8)
    if known := [i for i, t in enumerate(frames) if t in (*sequence.labelled, *sequence.predicted)]:  # the masks of the others are empty
        drawn = sequence.mask[[frames[i] for i in known]][..., first : first + depth]
        one_hot = F.one_hot(fold(drawn)[:, 0].long(), N_CLASSES).permute(0, 3, 1, 2).float()
        # A shift by half a pixel makes many ties, and argmax would give them all to the lower label: nearest decides.
        shares = sample(one_hot) + 0.01 * sample(one_hot, "nearest")
        mask[known] = pad(shares.argmax(1).float()).to(torch.uint8) * valid
    shown = (grid.fov / placement.scale) ** 2 / (X * sequence.spacing[0] * Y * sequence.spacing[1])
    position = {t: i for i, t in enumerate(frames)}
    return Gridded(
        image=image.to(torch.float16),
        mask=mask,
        valid=valid,
        spacing=(grid.pixel, grid.pixel, sequence.spacing[2]),
        ed=position[sequence.ed],
        es=position[sequence.es],
        labelled=tuple(position[t] for t in sequence.labelled if t in position),
        predicted=tuple(position[t] for t in sequence.predicted if t in position),
        cut=cut,
        grey=(low, high),
        # Unclipped on purpose: nnU-Net's z-score sees the bright outliers too.
        context=None if shown > SHOWS_ALL else _context(sequence, low, high),
    )


def _context(sequence: Sequence, low: float, high: float) -> tuple[float, float]:
    frame = (sequence.image[sequence.ed] - low) / (high - low) * 2 - 1
    return float(frame.mean()), float(frame.std())
