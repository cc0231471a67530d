"""Rectified flow: loss and sampler as pure functions of a network.

Path: x_t = (1 - t) x_0 + t e with e ~ N(0, I); t = 0 is data, t = 1 is noise. The velocity is
v = dx_t/dt = e - x_0 (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

#: v(x, t) with x (B, C, X, Y, Z) and t (B,).
Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


#: Mean and standard deviation of logit(t) in training. Shifted to the noisy end, where the coarse anatomy and the bulk of the
#: contraction are decided: with (0, 1) only 1.4 % of the samples have t > 0.9, and short trainings contract too little.
TIME_MEAN, TIME_STD = 0.6, 1.2


def draw_times(n: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Logit-normal training times (B,) (Esser et al., arXiv 2403.03206, section 3.1)."""
    return torch.sigmoid(TIME_MEAN + TIME_STD * torch.randn(n, device=device))


def precondition(network: Velocity, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Velocity from a network that predicts only what a linear estimator cannot.

    For unit-variance data E[v | x_t] = c(t) x_t with c = (2t - 1) / s^2, and what is left has the standard
    deviation 1 / s, where s^2 = (1 - t)^2 + t^2 (from the joint Gaussian of v and x_t; the idea is EDM's,
    Karras et al., arXiv 2206.00364, section 5). An untrained network then already samples unit Gaussians.
    """
    shape = (-1,) + (1,) * (x.ndim - 1)
    s = torch.sqrt((1 - t) ** 2 + t**2).reshape(shape)
    c = (2 * t - 1).reshape(shape) / s**2
    return c * x + network(x / s, t) / s


def flow_loss(velocity: Velocity, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared velocity error over the elements where ``weight`` (broadcastable to x0) is 1.

    The factor s^2 makes the loss of every time equally large for a preconditioned network.
    """
    shape = (-1,) + (1,) * (x0.ndim - 1)
    tt = t.reshape(shape)
    error = (velocity((1 - tt) * x0 + tt * noise, t) - (noise - x0)) ** 2 * ((1 - tt) ** 2 + tt**2)
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum().clamp_min(1)


def guided(conditional: Velocity, unconditional: Velocity, guidance: float, interval: tuple[float, float]) -> Velocity:
    """Classifier-free guidance inside a time interval (Kynkaanniemi et al., arXiv 2404.07724)."""

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        v = conditional(x, t)
        if guidance == 1.0 or not interval[0] <= float(t[0]) <= interval[1]:
            return v
        return v + (guidance - 1.0) * (v - unconditional(x, t))

    return velocity


@torch.no_grad()
def sample_flow(velocity: Velocity, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """Integrate from noise (t = 1) to data (t = 0) with Heun's method; the last step is Euler's.

    Args:
        velocity: v(x, t).
        noise: (B, ...) start.
        steps: number of steps on an even grid, held in float64 so that the steps add up to 1.
    """
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    x = noise
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        t = torch.full((len(x),), now, device=x.device, dtype=x.dtype)
        v = velocity(x, t)
        ahead = x + (then - now) * v
        if then > 0:
            v = (v + velocity(ahead, torch.full_like(t, then))) / 2
            ahead = x + (then - now) * v
        x = ahead
    return x
