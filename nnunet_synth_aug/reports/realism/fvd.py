"""Frechet video distance on the user's own I3D network; the weights are neither shipped nor fetched.

The network is the TorchScript file that StyleGAN-V's evaluation uses (Skorokhodov et al., arXiv 2112.14683): called with clips in
[0, 255] and rescale, resize and return_features set, it gives 400 numbers per clip before the softmax. I3D was trained on
everyday videos and judges single frames more than motion (Ge et al., arXiv 2404.12391). An FVD can be compared only with one
of the same network, clips and number of clips, which is why all of them stand beside the figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import sha256
from nnunet_synth_aug.reports.cines import Cine

CLIP_FRAMES, CLIPS_PER_HEART = 16, 3
MIN_CLIPS = 64
BATCH = 8

PROTOCOL = {
    "call": "rescale=True, resize=True, return_features=True on float32 (B, 3, T, H, W) in [0, 255]",
    "clip_frames": CLIP_FRAMES,
    "frames": "from ED on, evenly over the frames that exist, nearest frame, cyclic; no interpolation",
    "slices": f"{CLIPS_PER_HEART} per heart, at even distances between the first and the last slice with heart at ED, ends left out",
    "grey": "percentiles 1 and 99 of each sequence to 0 and 255, the same value in three channels",
    "covariance": "plain, as in the original (Unterthiner et al., arXiv 1812.01717)",
}


class VideoNetwork:
    """A TorchScript video network, and which one it is."""

    def __init__(self, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise UserError(f"{path} does not exist; give the TorchScript file of I3D, or leave out the FVD")
        try:
            self.module: Any = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path} is not a TorchScript file that this torch can load; give the TorchScript version of I3D") from error
        self.path, self.device, self.digest = path, device, sha256(path)

    @torch.no_grad()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features (N, d) of clips float32 (N, T, H, W) in [0, 255]."""
        out = []
        for start in range(0, len(clips), BATCH):
            video = torch.from_numpy(clips[start : start + BATCH])[:, None].expand(-1, 3, -1, -1, -1).contiguous().to(self.device)
            try:
                found = self.module(video, rescale=True, resize=True, return_features=True)
            except RuntimeError as error:
                line = str(error).strip().splitlines()[-1]
                raise UserError(
                    f"{self.path} cannot be called as I3D is ({line}); give the TorchScript file of StyleGAN-V's evaluation"
                ) from error
            out.append(found.float().flatten(1).cpu().numpy())
        return np.concatenate(out)


def clips(cine: Cine) -> np.ndarray:
    """Clips float32 (CLIPS_PER_HEART, CLIP_FRAMES, H, W) in [0, 255] of one heart, as PROTOCOL says; none without a cine."""
    if not cine.moving:
        return np.empty((0, CLIP_FRAMES, *cine.image.shape[2:0:-1]), np.float32)
    n = len(cine.image)
    frames = (cine.ed + np.arange(CLIP_FRAMES) * n // CLIP_FRAMES) % n
    heart = np.flatnonzero(cine.mask[cine.ed].any(axis=(0, 1)))
    first, last = (heart[0], heart[-1]) if len(heart) else (0, cine.image.shape[3] - 1)
    slices = np.linspace(first, last, CLIPS_PER_HEART + 2)[1:-1].round().astype(int)
    return np.ascontiguousarray(cine.image[frames][..., slices].transpose(3, 0, 2, 1)) * np.float32(255)


def enough_clips(n_real: int, n_synthetic: int) -> None:
    """Refuse samples that are too small for 400 x 400 covariances to say anything."""
    if min(n_real, n_synthetic) < MIN_CLIPS:
        raise UserError(
            f"there are {n_real} real and {n_synthetic} generated clips ({CLIPS_PER_HEART} per heart), and an FVD on fewer than "
            f"{MIN_CLIPS} of either is mostly chance; sample more hearts, or leave out the FVD"
        )
