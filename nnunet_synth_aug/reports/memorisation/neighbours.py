"""Nearest neighbours of generated ED anatomies among training and among unseen patients.

A copy may be rotated, shifted, enlarged or mirrored, because the generator was trained on such copies. So every heart is first
brought into one pose (LV in the middle, RV to one side, one size), and a query counts in the better of itself and its mirror image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln

from nnunet_synth_aug.core.cases import Sequence, Spacing
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import Placement, to_grid
from nnunet_synth_aug.model.vae.network import latent_validity

#: Radius in mm of a circle as large as LV and myocardium together, in the common pose.
POSE_RADIUS = 35.0
SPACES = ("latent", "image")


@dataclass(frozen=True)
class Portrait:
    """The ED anatomy of one heart in the common pose, plain and mirrored (axis 0), flattened for comparison."""

    id: str
    group: str
    picture: np.ndarray  # float32 (2, X, Y, Z) in [-1, 1]
    vectors: dict[str, np.ndarray]  # space -> float32 (2, P)
    valid: dict[str, np.ndarray]  # space -> bool (2, P)


def pose(mask: np.ndarray, spacing: Spacing) -> Placement | None:
    """Where the grid must lie for the common pose of an ED mask (X, Y, Z); None if a structure is missing."""
    centroids = {}
    for label in (LV, MYO, RV):
        points = np.argwhere((mask == label).any(axis=2))
        if not len(points):
            return None
        centroids[label] = (points.mean(axis=0) + 0.5) * spacing[:2]
    dx, dy = centroids[RV] - centroids[LV]
    heart = ((mask == LV) | (mask == MYO)).sum(axis=(0, 1))
    radius = math.sqrt(float(heart[heart > 0].mean()) * spacing[0] * spacing[1] / math.pi)
    return Placement(
        centre=(float(centroids[LV][0]), float(centroids[LV][1])),
        angle=math.degrees(math.atan2(dy, dx)),
        scale=float(np.clip(POSE_RADIUS / radius, 0.4, 2.5)),
    )


@torch.no_grad()
def portrait(generator: Generator, sequence: Sequence, name: str, group: str) -> Portrait | None:
    """The ED anatomy as it is compared, or None if its mask lacks a structure.

    latent: the VAE's posterior mean, standardised as for the static LDM; valid where any pixel is.
    image: grey values, averaged over 2 x 2 pixels.
    """
    placement = pose(sequence.mask[sequence.ed], sequence.spacing)
    if placement is None:
        return None
    ed = slice(sequence.ed, sequence.ed + 1)
    alone = Sequence(sequence.image[ed], sequence.mask[ed], sequence.spacing, 0, 0, (0,))
    gridded = to_grid(alone, generator.grid, generator.config.grid, placement)
    image, valid = gridded.image.float()[:, None], gridded.valid[None, None].float()
    image, valid = (torch.cat([v, v.flip(-2)]) for v in (image, valid))  # the RV lies along X: mirrored across that axis
    latent = generator.vae.encode(image.to(generator.device), valid.to(generator.device))[0].float()
    there = latent_validity(valid, generator.vae.factor) > 0
    latent = generator.scale.standardise(latent).cpu()
    share = F.avg_pool3d(valid, (2, 2, 1))
    small = F.avg_pool3d(image * valid, (2, 2, 1)) / share.clamp_min(1e-6)
    vectors = {"latent": latent * there, "image": small * (share > 0.99)}
    masks = {"latent": there.expand_as(latent), "image": share > 0.99}
    return Portrait(name, group, image[:, 0].numpy(), *({k: v.flatten(1).numpy() for k, v in part.items()} for part in (vectors, masks)))


def rms_distance(a: np.ndarray, a_valid: np.ndarray, b: np.ndarray, b_valid: np.ndarray) -> np.ndarray:
    """Root mean square differences (n, m) of rows (n, P) and (m, P) over the positions valid in both; inf without any."""
    (a, va), (b, vb) = ((x.astype(np.float64) * v, v.astype(np.float64)) for x, v in ((a, a_valid), (b, b_valid)))
    count = va @ vb.T
    square = (a**2) @ vb.T + va @ (b**2).T - 2 * a @ b.T
    return np.where(count > 0, np.sqrt(np.clip(square, 0, None) / np.maximum(count, 1)), np.inf)


def correlation_distance(a: np.ndarray, a_valid: np.ndarray, b: np.ndarray, b_valid: np.ndarray) -> np.ndarray:
    """1 - Pearson r (n, m) of rows over the positions valid in both: blind to brightness and contrast; 1 for a flat image."""
    (a, va), (b, vb) = ((x.astype(np.float64) * v, v.astype(np.float64)) for x, v in ((a, a_valid), (b, b_valid)))
    count = np.maximum(va @ vb.T, 1)
    mean_a, mean_b = a @ vb.T / count, va @ b.T / count
    covariance = a @ b.T / count - mean_a * mean_b
    spread = (a**2 @ vb.T / count - mean_a**2) * (va @ (b**2).T / count - mean_b**2)
    return np.where(spread > 1e-12, 1 - covariance / np.sqrt(np.maximum(spread, 1e-12)), 1.0)


def distances(queries: list[Portrait], references: list[Portrait], space: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, m) of queries, in the better of their two mirror images, to references; and whether the mirror image was better."""
    function = {"latent": rms_distance, "image": correlation_distance}[space]
    b, b_valid = np.stack([r.vectors[space][0] for r in references]), np.stack([r.valid[space][0] for r in references])
    sides = []
    for side in (0, 1):
        a, a_valid = np.stack([q.vectors[space][side] for q in queries]), np.stack([q.valid[space][side] for q in queries])
        sides.append(function(a, a_valid, b, b_valid))
    both = np.stack(sides)
    return both.min(axis=0), both.argmin(axis=0).astype(bool)


def _ranks(n: int, m: int) -> np.ndarray:
    """Chance (n,) that the k-th smallest of n values is the smallest of a random subset of m of them."""
    k = np.arange(n)
    possible = n - 1 - k >= m - 1
    rest = np.where(possible, n - 1 - k, m - 1)  # C(rest, m - 1) / C(n, m), by logarithms
    log = gammaln(rest + 1) - gammaln(m) - gammaln(rest - m + 2) - (gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1))
    return np.where(possible, np.exp(log), 0.0)


def expected_minimum(values: np.ndarray, m: int) -> np.ndarray:
    """Mean (n,) over all subsets of m columns of the smallest value of each row (n, columns).

    The nearest of many is nearer than the nearest of few: training and unseen patients are compared at equal numbers.
    """
    return np.sort(values, axis=1) @ _ranks(values.shape[1], m)


def chance_nearer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Chance (n,) that the nearest of equally many random columns is in a (n, p) and not in b (n, q); 0.5 if it makes no difference."""
    m = min(a.shape[1], b.shape[1])
    weight_a, weight_b = _ranks(a.shape[1], m), _ranks(b.shape[1], m)
    a, b = np.sort(a, axis=1)[:, :, None], np.sort(b, axis=1)[:, None]
    nearer = (a < b) + 0.5 * (a == b)
    return np.einsum("i,nij,j->n", weight_a, nearer, weight_b)
