"""Training objectives and samplers of a latent diffusion, as pure functions of a network.

All objectives share one parametrisation. On a Gaussian path x = alpha x_0 + sigma e, with e ~ N(0, I), t = 0 data and t = 1 noise,
the network sees u = x / s with s^2 = alpha^2 + sigma^2 and predicts

    F = (alpha e - sigma x_0) / s,

the velocity of Salimans and Ho (arXiv 2202.00512). For data of unit variance u and F have unit variance at every t and are
uncorrelated, so the network predicts only what a linear estimator cannot (the idea of EDM's preconditioning, Karras et al.,
arXiv 2206.00364, section 5), and one that says 0 already samples unit Gaussians. Data and noise follow by rotation:

    x_0 = (alpha u - sigma F) / s,    e = (sigma u + alpha F) / s.

Objectives differ in the path, the times at which they train, and the steps of the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from nnunet_synth_aug.core.errors import UserError

#: F(u, t) with u (B, C, X, Y, Z) and t (B,).
Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Start:
    """Data that sampling begins with instead of with noise alone (SDEdit, Meng et al., arXiv 2108.01073)."""

    data: torch.Tensor  # (B, ...)
    strength: float  # the time at which it begins, as a share of the first: near 0 gives ``data`` back, 1 nearly forgets them
    free: torch.Tensor | None = None  # bool, broadcastable: where they may change; they stay elsewhere (Avrahami et al., arXiv 2206.02779)


@dataclass(frozen=True)
class Objective:
    """How a network is trained, and how it samples by Heun's method: ``steps`` steps cost 2 steps - 1 evaluations."""

    path: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]  # t -> alpha, sigma
    draw_times: Callable[[int, torch.device | str], torch.Tensor]  # n -> training times (n,)
    grid: Callable[[int], torch.Tensor]  # steps -> sampler's times, float64, from noise to exactly 0

    def estimate(self, network: Network, x: torch.Tensor, time: float, alpha: float, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Estimates of data and noise (B, ...) in x at one time of the path."""
        s = math.hypot(alpha, sigma)
        u = x / s
        f = network(u, torch.full((len(x),), time, device=x.device, dtype=x.dtype))
        return (alpha * u - sigma * f) / s, (sigma * u + alpha * f) / s

    def loss(self, network: Network, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Weighted mean squared error of F in each row. Of EDM it equals 1 / c_out^2 times the denoiser's.

        Args:
            network: F(u, t).
            x0: (B, C, ...) data of unit variance.
            t: (B,) times.
            noise: like x0.
            weight: of elements, broadcastable to x0 (validity, channel weights); only its ratios within a row matter.

        Returns:
            (B,).
        """
        alpha, sigma = (v.reshape(-1, *[1] * (x0.ndim - 1)) for v in self.path(t))
        s = torch.sqrt(alpha**2 + sigma**2)
        alpha, sigma = alpha / s, sigma / s
        error = (network(alpha * x0 + sigma * noise, t).float() - (alpha * noise - sigma * x0)) ** 2
        weight = weight.expand_as(error)
        return (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)

    @torch.no_grad()
    def sample(self, network: Network, noise: torch.Tensor, steps: int, start: Start | None = None) -> torch.Tensor:
        """Integrate dx = x_0 d alpha + e d sigma along the path, from ``noise`` (B, ...) to data.

        Every step is of second order in t (rectified flow) or sigma (EDM), but for the last one, which is Euler's.

        Args:
            network: F(u, t).
            noise: (B, ...) of unit variance.
            steps: of the solver.
            start: data to begin with instead of with noise alone.
        """
        times = self.grid(steps) * (1.0 if start is None else start.strength)
        alphas, sigmas = (v.tolist() for v in self.path(times))
        points = list(zip(times.tolist(), alphas, sigmas, strict=True))
        x = sigmas[0] * noise
        if start is not None:
            x = x + alphas[0] * start.data
        for now, then in pairwise(points):
            d_alpha, d_sigma = then[1] - now[1], then[2] - now[2]
            x0, e = self.estimate(network, x, *now)
            ahead = x + d_alpha * x0 + d_sigma * e
            if then[0] > 0:
                x0_ahead, e_ahead = self.estimate(network, ahead, *then)
                ahead = x + d_alpha * (x0 + x0_ahead) / 2 + d_sigma * (e + e_ahead) / 2
            x = ahead
            if start is not None and start.free is not None:
                x = torch.where(start.free, x, then[1] * start.data + then[2] * noise)
        return x


def _logit_normal(mean: float, std: float) -> Callable[[int, torch.device | str], torch.Tensor]:
    return lambda n, device: torch.sigmoid(mean + std * torch.randn(n, device=device))


def _even(steps: int) -> torch.Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


#: Mean and standard deviation of logit(t) in training (logit-normal times: Esser et al., arXiv 2403.03206, section 3.1). Shifted to
#: the noisy end, where the coarse anatomy and the bulk of the contraction are decided: with (0, 1) only 1.4 % of the
#: samples have t > 0.9, and short trainings contract too little.
TIME_MEAN, TIME_STD = 0.6, 1.2

#: Rectified flow (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747): x = (1 - t) x_0 + t e, Heun's method on even times.
RECTIFIED_FLOW = Objective(
    path=lambda t: (1 - t, t),
    draw_times=_logit_normal(TIME_MEAN, TIME_STD),
    grid=_even,
)

#: Noise levels of EDM's sampler and of its training, as published for data of SD 0.5 and here doubled for unit variance. The training's are
#: those for latents (Karras et al., arXiv 2312.02696): ln sigma has mean -0.4 + ln 2 and SD 1.
SIGMA_MIN, SIGMA_MAX, RHO = 2 * 0.002, 2 * 80.0, 7.0
EDM_MEAN, EDM_STD = -0.4 + math.log(2), 1.0


def _karras(steps: int) -> torch.Tensor:
    """Noise levels even in sigma^(1/rho) (arXiv 2206.00364, equation 5), and 0, as times."""
    ends = torch.tensor([SIGMA_MAX, SIGMA_MIN], dtype=torch.float64) ** (1 / RHO)
    sigma = (ends[0] + torch.linspace(0, 1, steps, dtype=torch.float64) * (ends[1] - ends[0])) ** RHO
    return torch.cat([sigma / (1 + sigma), torch.zeros(1, dtype=torch.float64)])


#: EDM: x = x_0 + sigma e, Heun's method in sigma. Its time t = sigma / (1 + sigma) has the signal-to-noise ratio of the rectified flow's
#: t, so that logit(t) = ln sigma and a guidance interval means the same. The grid wants 18 steps or more: with a network that says 0
#: the SD of samples is 1.14 after 12 steps, 1.06 after 18.
EDM = Objective(
    path=lambda t: (torch.ones_like(t), t / (1 - t)),
    draw_times=_logit_normal(EDM_MEAN, EDM_STD),
    grid=_karras,
)

OBJECTIVES = {"rf": RECTIFIED_FLOW, "edm": EDM}


def objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        UserError: there is none.
    """
    if name not in OBJECTIVES:
        raise UserError(f"there is no objective {name!r}; choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def guided(conditional: Network, doubled: Network, guidance: float, interval: tuple[float, float]) -> Network:
    """Classifier-free guidance inside a time interval (Kynkaanniemi et al., arXiv 2404.07724).

    F is guided; data, noise and velocity are affine in it, so they are guided alike.

    Args:
        conditional: network with priors, for B rows.
        doubled: network for 2B rows, the first half with priors and the second without.
        guidance: 1 is none.
        interval: of t, inclusive.
    """

    def network(u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if guidance == 1.0 or not interval[0] <= float(t[0]) <= interval[1]:
            return conditional(u, t)
        with_priors, without = doubled(torch.cat([u, u]), torch.cat([t, t])).chunk(2)
        return without + guidance * (with_priors - without)

    return network
