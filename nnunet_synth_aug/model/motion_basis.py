"""The periodic residual basis.

    m(phi) = sum_{k=1..K} a_k (cos k phi - 1) + b_k sin k phi

m(0) = 0 and m(phi + 2 pi) = m(phi) hold for any coefficients: the ED residual is zero and the cycle
closes by construction, for any number of frames.
"""

from __future__ import annotations

import math

import torch

#: Where ES lies in an aligned cycle, as a share of it.
ES_SHARE = 0.4
#: ES annotations outside of this range of the cycle are not believed, and nothing is aligned to them.
PLAUSIBLE_ES = (0.15, 0.75)


def phases(n_frames: int, cycle: float | None = None, ed: float = 0, es: float | None = None) -> torch.Tensor:
    """Cardiac phase in radians of every frame (T,): 0 at ED and, where ES is known, 2 pi ES_SHARE at ES.

    Systole takes about the same time at any heart rate, diastole what is left. Stretching both to fixed shares
    puts the same event at the same phase in every heart, so that the motion LDM need not guess the timing
    (a guess that averages hearts of different timing is a heart that contracts too little).

    Args:
        n_frames: T.
        cycle: length of the cardiac cycle in frames, T or more; default T.
        ed: index of the ED frame.
        es: index of the ES frame; None for plain, unaligned phases.
    """
    phi = torch.remainder(2 * math.pi * (torch.arange(n_frames, dtype=torch.float64) - ed) / (cycle or n_frames), 2 * math.pi)
    if es is None:
        return phi
    share = ((es - ed) / (cycle or n_frames)) % 1.0
    if not PLAUSIBLE_ES[0] <= share <= PLAUSIBLE_ES[1]:
        return phi
    turn, aligned = 2 * math.pi * share, 2 * math.pi * ES_SHARE
    return torch.where(phi < turn, phi * aligned / turn, aligned + (phi - turn) * (2 * math.pi - aligned) / (2 * math.pi - turn))


def basis(phi: torch.Tensor, harmonics: int) -> torch.Tensor:
    """Basis functions at phases (T,) -> (T, 2K): cos k phi - 1 for k = 1..K, then sin k phi."""
    # Reduced first, so that phi and phi + 2 pi give the same floating-point numbers.
    phi = torch.remainder(phi.double(), 2 * math.pi)
    k = torch.arange(1, harmonics + 1, dtype=torch.float64, device=phi.device)
    angles = phi[:, None] * k
    return torch.cat([angles.cos() - 1, angles.sin()], dim=1)


def motion(coefficients: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
    """Residuals (B, T, C, X, Y, Z) at phases (T,) from coefficients (B, 2K, C, X, Y, Z)."""
    functions = basis(phi, coefficients.shape[1] // 2).to(coefficients)
    return torch.einsum("tk,bkcxyz->btcxyz", functions, coefficients)


def fit_motion(residuals: torch.Tensor, phi: torch.Tensor, harmonics: int, ridge: float = 1e-3) -> torch.Tensor:
    """Least-squares coefficients (2K, C, X, Y, Z) of residuals (T, C, X, Y, Z) at phases (T,).

    The ridge grows with k^2, which settles what few frames or an uncovered stretch of the cycle leave
    open in favour of the smoother motion; K is limited so that frames outnumber unknowns.
    """
    allowed = max(1, min(harmonics, (len(phi) - 1) // 2))
    functions = basis(phi, allowed).to(residuals.dtype)
    k = torch.arange(1, allowed + 1, dtype=residuals.dtype).repeat(2)
    normal = functions.T @ functions + torch.diag(ridge * len(phi) * k**2)
    flat = torch.linalg.solve(normal, functions.T @ residuals.reshape(len(residuals), -1))
    full = torch.zeros(2, harmonics, flat.shape[1], dtype=residuals.dtype)
    full[:, :allowed] = flat.reshape(2, allowed, -1)
    return full.reshape(2 * harmonics, *residuals.shape[1:])
