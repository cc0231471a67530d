"""The 3D U-Net of both LDMs: adaptive group norm, strides (2, 2, 1), attention at the coarsest level."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_synth_aug.model.training.distributed import JointDropout


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """A norm with up to eight groups."""
    return nn.GroupNorm(math.gcd(8, channels), channels, affine=affine)


def time_features(t: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoidal features (B, width) of the flow time in [0, 1]."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000), width // 2, device=t.device))
    angles = t[:, None] * frequencies[None] * math.pi
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class AdaptiveBlock(nn.Module):
    """Residual block whose normalisation is scaled and shifted by the embedding (AdaGN, Dhariwal and Nichol, arXiv 2105.05233)."""

    def __init__(self, c_in: int, c_out: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv3d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = group_norm(c_out, affine=False), nn.Conv3d(c_out, c_out, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * c_out)
        self.dropout = JointDropout(dropout)
        self.skip = nn.Conv3d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, Z) to as many voxels."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(F.silu(embedding))[:, :, None, None, None].chunk(2, dim=1)
        h = self.conv2(self.dropout(F.silu(self.norm2(h) * (1 + scale) + shift)))
        return self.skip(x) + h


class Attention(nn.Module):
    """Self-attention over all positions of the coarsest level."""

    def __init__(self, channels: int, head: int = 32) -> None:
        super().__init__()
        self.heads = max(channels // head, 1)
        self.norm, self.qkv, self.out = group_norm(channels), nn.Conv3d(channels, 3 * channels, 1), nn.Conv3d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, Z) to the same."""
        B, C = x.shape[:2]
        qkv = self.qkv(self.norm(x)).reshape(B, 3, self.heads, C // self.heads, -1).transpose(-1, -2)  # (B, 3, heads, N, c)
        qkv = qkv.contiguous()  # torch's fused attention wants c last in memory and else falls back on a slow one
        h = F.scaled_dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


class UNet(nn.Module):
    """(B, c_in, X, Y, Z), t (B,), embedding (B, E) -> (B, c_out, X, Y, Z). X and Y are halved per level, Z never."""

    def __init__(self, c_in: int, c_out: int, channels: tuple[int, ...], embedding: int, dropout: float, attention: bool) -> None:
        super().__init__()
        self.embedding = embedding
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.enter = nn.Conv3d(c_in, channels[0], 3, padding=1)
        self.down, self.pool, self.up, self.grow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(channels):
            self.down.append(AdaptiveBlock(channels[max(level - 1, 0)], width, embedding, dropout))
            if level + 1 < len(channels):
                self.pool.append(nn.Conv3d(width, width, (3, 3, 1), stride=(2, 2, 1), padding=(1, 1, 0)))
        self.middle = AdaptiveBlock(channels[-1], channels[-1], embedding, dropout)
        self.attention = Attention(channels[-1]) if attention else nn.Identity()
        for level in reversed(range(len(channels))):
            self.up.append(AdaptiveBlock(2 * channels[level], channels[level], embedding, dropout))
            if level > 0:
                self.grow.append(nn.Conv3d(channels[level], channels[level - 1], (3, 3, 1), padding=(1, 1, 0)))
        last = nn.Conv3d(channels[0], c_out, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.leave = nn.Sequential(group_norm(channels[0]), nn.SiLU(), last)

    def forward(self, x: torch.Tensor, t: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """The network's output for ``x`` (B, C, x, y, Z) at times ``t`` (B,)."""
        embedding = embedding + self.time(time_features(t, self.embedding))
        x = self.enter(x)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x, embedding)
            skips.append(x)
            if level < len(self.pool):
                x = self.pool[level](x)
        x = self.attention(self.middle(x, embedding))
        for level, block in enumerate(self.up):
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            if level < len(self.grow):
                x = self.grow[level](F.interpolate(x, scale_factor=(2, 2, 1), mode="nearest"))
        return self.leave(x)
