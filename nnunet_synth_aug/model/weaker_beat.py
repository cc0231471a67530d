"""The same heart beating less or more: a copy's motion, and so its EF, without a blend of two pictures.

Half of the residual between ED and ES is not a heart that contracts by half. Its latent lies half-way between those of two pictures, and
decodes to a wall that is half blood. A heart that contracts by half looks as the same heart does half-way through its contraction: the cine
itself shows every weaker beat. Only beats beyond the heart's own are extrapolated.
"""

from __future__ import annotations

import torch

#: How much more than their own copies may beat at most: nothing shows what such a heart looks like.
STRONGER = 0.1


def beaten(residuals: torch.Tensor, ed: int, es: int, gain: float) -> torch.Tensor:
    """Residuals of a heart whose contraction at every frame is ``gain`` times its own.

    Args:
        residuals: (T, C, x, y, Z), latents of a cycle's frames minus that of ED, in time order.
        ed: index of the ED frame.
        es: index of the ES frame.
        gain: up to 1, frames are taken from where the contraction is so much less, in systole from systole and in diastole from diastole,
            linear between neighbours. Beyond 1, residuals are multiplied.

    Returns:
        (T, C, x, y, Z), 0 at ED.
    """
    if gain >= 1 or len(residuals) < 3 or ed == es:
        return gain * residuals
    # Chronological, from ED: the cycle may have been recorded from anywhere.
    order = torch.roll(torch.arange(len(residuals)), -ed)
    path = residuals[order].double()
    turn = (es - ed) % len(residuals)
    level = contraction(path, turn)
    out = torch.empty_like(path)
    for at in range(len(path)):
        limb = range(turn + 1) if at <= turn else range(len(path) - 1, turn - 1, -1)  # each from the least contracted frame to ES
        wanted = gain * level[at]
        if level[limb[0]] > wanted:  # the recording ends before the heart has filled again: systole shows it less contracted
            limb = range(turn + 1)
        out[at] = _at(path[list(limb)], level[list(limb)], float(wanted))
    back = torch.empty_like(out)
    back[order] = out
    return back.to(residuals)


def contraction(path: torch.Tensor, turn: int) -> torch.Tensor:
    """How far each frame is on the way from ED (0) to ES (1): (T,), never falling before ES and never rising after.

    Args:
        path: residuals (T, ...) from ED on.
        turn: index of ES.
    """
    flat = path.flatten(1)
    along = (flat @ flat[turn] / flat[turn].square().sum().clamp_min(1e-12)).clamp(0, 1)
    systole = along[: turn + 1].cummax(0).values
    diastole = along[turn:].flip(0).cummax(0).values.flip(0)
    return torch.cat([systole, diastole[1:]])


def _at(frames: torch.Tensor, level: torch.Tensor, wanted: float) -> torch.Tensor:
    """The residual where a rising ``level`` (T,) reaches ``wanted``, linear between two of the ``frames`` (T, ...)."""
    after = int(torch.searchsorted(level, wanted).clamp(1, len(level) - 1))
    low, high = float(level[after - 1]), float(level[after])
    share = 0.0 if high <= low else min(max((wanted - low) / (high - low), 0.0), 1.0)
    return (1 - share) * frames[after - 1] + share * frames[after]
