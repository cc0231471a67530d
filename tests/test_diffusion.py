"""Laws of the three objectives and their samplers, against closed forms."""

import math

import pytest
import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.diffusion import (
    EDM,
    EDM_MEAN,
    EDM_STD,
    OBJECTIVES,
    RECTIFIED_FLOW,
    SIGMA_MAX,
    SIGMA_MIN,
    TIME_MEAN,
    TIME_STD,
    Start,
    guided,
    objective,
)

EVERY = pytest.mark.parametrize("chosen", OBJECTIVES.values(), ids=OBJECTIVES)


def spread(objective_, t):
    """alpha, sigma and s at times (B,), as columns."""
    alpha, sigma = (v[:, None] for v in objective_.path(t))
    return alpha, sigma, torch.sqrt(alpha**2 + sigma**2)


def linear_gaussian(objective_, mean, std):
    """The exact network for data N(mean, std^2): the joint Gaussian of x_0, e and x = alpha x_0 + sigma e."""

    def network(u, t):
        alpha, sigma, s = spread(objective_, t)
        innovation = (s * u - alpha * mean) / (alpha**2 * std**2 + sigma**2)
        x0, e = mean + alpha * std**2 * innovation, sigma * innovation
        return (alpha * e - sigma * x0) / s

    return network


@pytest.mark.parametrize("steps", [1, 3, 7, 12, 30])
def test_constant_field_integrates_to_one(steps):
    """dx/dt = e - x_0 = 1 from t = 1 to 0 is -1; MONAI's float16 time steps give 1.0102 here at 30 steps."""

    def network(u, t):  # e - x_0 = ((2 t - 1) u + F) / s
        _, _, s = spread(RECTIFIED_FLOW, t)
        return s - (2 * t[:, None] - 1) * u

    end = RECTIFIED_FLOW.sample(network, torch.zeros(2, 1), steps)
    assert torch.allclose(end, torch.full_like(end, -1.0), atol=1e-6)


@EVERY
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 2.0)])
def test_sampler_reaches_the_gaussian_that_the_network_describes(chosen, mean, std):
    """The probability flow of a Gaussian maps noise e to mean + std e."""
    noise = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]
    end = chosen.sample(linear_gaussian(chosen, mean, std), noise, 60)
    assert float(end.mean()) == pytest.approx(mean, abs=0.02)
    assert float(end.std() / noise.std()) == pytest.approx(std, rel=0.01)
    assert torch.allclose(end, mean + std * noise, atol=0.03 * max(std, 1))


@EVERY
def test_order_of_the_sampler(chosen):
    """Halving the steps' length divides the error by 2^order. Heun's last step is Euler's, whose local error is second order, too."""
    noise, mean, std = 1.5, 1.0, 0.5
    network = linear_gaussian(chosen, mean, std)
    alpha, sigma = (float(v[0]) for v in chosen.path(chosen.grid(16)))
    # the flow keeps (x - alpha mean) / sqrt(alpha^2 std^2 + sigma^2)
    exact = mean + std * (sigma * noise - alpha * mean) / math.sqrt(alpha**2 * std**2 + sigma**2)
    start = torch.tensor([[noise]], dtype=torch.float64)
    coarse, fine = (abs(float(chosen.sample(network, start, n)) - exact) for n in (16, 32))
    assert 2.8 < coarse / fine < 6.0


@EVERY
@pytest.mark.parametrize("strength", [0.1, 0.5, 0.8, 1.0])
def test_data_to_begin_with_follow_the_same_flow_from_their_time_on(chosen, strength):
    mean, std, steps = 1.0, 0.5, 60
    x0, noise = torch.randn(2, 200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha, sigma = (v[0] for v in chosen.path(chosen.grid(steps) * strength))
    x = alpha * x0 + sigma * noise
    exact = mean + std * (x - alpha * mean) / torch.sqrt(alpha**2 * std**2 + sigma**2)
    end = chosen.sample(linear_gaussian(chosen, mean, std), noise, steps, Start(x0, strength))
    assert torch.allclose(end, exact, atol=0.04)
    gentle = chosen.sample(linear_gaussian(chosen, mean, std), noise, steps, Start(x0, 1e-4))
    assert torch.allclose(gentle, x0, atol=2e-3)
    free = torch.rand(200, 1) < 0.5  # the network looks at single values here, so what is kept does not change the others
    kept = chosen.sample(linear_gaussian(chosen, mean, std), noise, steps, Start(x0, strength, free))
    assert torch.equal(kept, torch.where(free, end, x0))


@EVERY
def test_every_sampler_costs_the_same(chosen):
    calls = []

    def network(u, t):
        calls.append(float(t[0]))
        return torch.zeros_like(u)

    chosen.sample(network, torch.randn(3, 2), 7)
    assert len(calls) == 2 * 7 - 1
    assert all(0 < t <= 1 for t in calls)
    assert calls[0] == max(calls)


@EVERY
def test_a_network_that_says_nothing_samples_unit_gaussians(chosen):
    noise = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    end = chosen.sample(lambda u, t: torch.zeros_like(u), noise, 30)
    assert torch.allclose(end, noise, rtol=0.03)


@EVERY
def test_the_network_sees_and_predicts_unit_variance_without_a_linear_relation(chosen):
    """For unit Gaussian data. Were F correlated with u, the network would waste itself on a linear estimator's work."""
    generator = torch.Generator().manual_seed(0)
    x0, e = torch.randn(2, 1, 200_000, generator=generator)
    for time in (0.02, 0.3, 0.7, 0.98):
        alpha, sigma, s = spread(chosen, torch.full((1,), time))
        u, f = (alpha * x0 + sigma * e) / s, (alpha * e - sigma * x0) / s
        assert float(u.std()) == pytest.approx(1, abs=0.01)
        assert float(f.std()) == pytest.approx(1, abs=0.01)
        assert float((u * f).mean()) == pytest.approx(0, abs=0.01)


@EVERY
def test_estimates_of_a_perfect_network_are_exact(chosen):
    x0, e = torch.randn(2, 5, 3, dtype=torch.float64)
    t = torch.full((5,), 0.6, dtype=torch.float64)
    alpha, sigma, s = spread(chosen, t)
    data, noise = chosen.estimate(lambda u, t: (alpha * e - sigma * x0) / s, alpha * x0 + sigma * e, 0.6, float(alpha[0]), float(sigma[0]))
    assert torch.allclose(data, x0)
    assert torch.allclose(noise, e)


def perfect(chosen, x0, e, t):
    shape = (-1,) + (1,) * (x0.ndim - 1)
    alpha, sigma = (v.reshape(shape) for v in chosen.path(t))
    return (alpha * e - sigma * x0) / torch.sqrt(alpha**2 + sigma**2)


@EVERY
def test_a_perfect_network_has_no_loss_and_the_weights_choose_what_counts(chosen):
    x0, noise, t = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.full((4,), 0.3)
    wrong = perfect(chosen, x0, noise, t)
    wrong[..., 0] += 5
    wrong[2, 1, 1] += 7
    everything = torch.ones(4, 1, 3)
    inside = everything.clone()
    inside[..., 0] = 0
    first_channel = torch.tensor([1.0, 0.0])[:, None]
    losses = [chosen.loss(lambda u, t: wrong, x0, t, noise, w) for w in (inside, inside * first_channel, everything, 10 * everything)]
    assert losses[0].tolist() == pytest.approx([0, 0, 49 / 4, 0], abs=1e-5)
    assert losses[1].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-5)
    assert float(losses[2].min()) > 8
    torch.testing.assert_close(losses[2], losses[3])


@EVERY
def test_rows_do_not_see_each_other(chosen):
    x0, noise, t = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.rand(4)
    weight = torch.rand(4, 1, 3).round() + 0.01
    whole = chosen.loss(lambda u, t: torch.tanh(u), x0, t, noise, weight)
    for row in range(4):
        r = slice(row, row + 1)
        torch.testing.assert_close(whole[r], chosen.loss(lambda u, t: torch.tanh(u), x0[r], t[r], noise[r], weight[r]))


def test_weights_of_a_rectified_flow_are_its_velocity_error_times_its_variance():
    x0, noise, t = torch.randn(6, 50), torch.randn(6, 50), torch.linspace(0.05, 0.95, 6)
    _, _, s = spread(RECTIFIED_FLOW, t)
    x = (1 - t[:, None]) * x0 + t[:, None] * noise
    f = torch.sin(x / s)
    velocity = ((2 * t[:, None] - 1) * x / s + f) / s
    expected = ((velocity - (noise - x0)) ** 2 * s**2).mean(1)
    torch.testing.assert_close(RECTIFIED_FLOW.loss(lambda u, t: torch.sin(u), x0, t, noise, torch.ones(6, 1)), expected)


def test_weights_of_edm_are_those_of_its_paper():
    """1 / c_out^2 on the denoiser's error, with SD 1 of the data: c_out^2 = sigma^2 / (sigma^2 + 1)."""
    x0, noise, t = torch.randn(6, 50), torch.randn(6, 50), torch.linspace(0.05, 0.95, 6)
    sigma = (t / (1 - t))[:, None]
    x = x0 + sigma * noise
    denoised = x / (sigma**2 + 1) - sigma / torch.sqrt(sigma**2 + 1) * torch.sin(x / torch.sqrt(sigma**2 + 1))
    expected = ((denoised - x0) ** 2 * (sigma**2 + 1) / sigma**2).mean(1)
    torch.testing.assert_close(EDM.loss(lambda u, t: torch.sin(u), x0, t, noise, torch.ones(6, 1)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_grid_of_edm(steps):
    times = EDM.grid(steps)
    sigma = EDM.path(times)[1]
    assert len(times) == steps + 1
    assert float(sigma[0]) == pytest.approx(SIGMA_MAX)
    assert float(sigma[-1]) == 0
    assert bool((times.diff() < 0).all())
    if steps > 1:
        assert float(sigma[-2]) == pytest.approx(SIGMA_MIN)


@EVERY
@pytest.mark.parametrize("interval", [(0.2, 0.8), (0.0, 1.0)])
def test_guidance_acts_only_inside_its_interval(chosen, interval):
    """Guided and plain evaluations are told apart by how many rows they see."""
    seen: dict[str, list[float]] = {"plain": [], "guided": []}

    def conditional(u, t):
        seen["plain"].append(float(t[0]))
        return torch.zeros_like(u)

    def doubled(u, t):
        assert len(u) == len(t) == 6
        assert torch.equal(u[:3], u[3:])
        seen["guided"].append(float(t[0]))
        return torch.zeros_like(u)

    chosen.sample(guided(conditional, doubled, 2.0, interval), torch.randn(3, 2), 12)
    assert all(interval[0] <= t <= interval[1] for t in seen["guided"])
    assert not any(interval[0] <= t <= interval[1] for t in seen["plain"])
    assert len(seen["guided"]) > 3
    assert (len(seen["plain"]) > 3) == (interval != (0.0, 1.0))


def test_guidance_extrapolates_from_no_priors_to_priors():
    def doubled(u, t):
        return torch.cat([u[: len(u) // 2] + 1, u[len(u) // 2 :]])

    u, t = torch.zeros(2, 1), torch.full((2,), 0.5)
    assert guided(lambda u, t: u + 1, doubled, 3.0, (0.2, 0.8))(u, t).tolist() == [[3.0], [3.0]]  # 0 + 3 (1 - 0)
    assert guided(lambda u, t: u + 1, doubled, 1.0, (0.2, 0.8))(u, t).tolist() == [[1.0], [1.0]]


@EVERY
def test_guidance_of_two_gaussians_has_a_closed_form(chosen):
    """Unit variance, means 1 with and 0 without priors: a guidance of w shifts the mean to w."""
    with_priors, without = linear_gaussian(chosen, 1.0, 1.0), linear_gaussian(chosen, 0.0, 1.0)

    def doubled(u, t):
        half = len(u) // 2
        return torch.cat([with_priors(u[:half], t[:half]), without(u[half:], t[half:])])

    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    end = chosen.sample(guided(with_priors, doubled, 1.7, (0.0, 1.0)), noise, 60)
    assert float(end.mean()) == pytest.approx(1.7, abs=0.03)


@pytest.mark.parametrize(("name", "mean", "std"), [("rf", TIME_MEAN, TIME_STD), ("edm", EDM_MEAN, EDM_STD)])
def test_times_are_logit_normal(name, mean, std):
    torch.manual_seed(0)
    t = torch.logit(objective(name).draw_times(20_000, "cpu").double())
    assert float(t.mean()) == pytest.approx(mean, abs=0.03)
    assert float(t.std()) == pytest.approx(std, abs=0.03)


def test_time_of_edm_is_the_rectified_flows_of_equal_noise():
    t = torch.linspace(0.05, 0.95, 10)
    ratios = [sigma / alpha for alpha, sigma in (RECTIFIED_FLOW.path(t), EDM.path(t))]
    torch.testing.assert_close(*ratios)
    assert math.log(float(EDM.path(torch.tensor(0.8))[1])) == pytest.approx(float(torch.logit(torch.tensor(0.8))), abs=1e-5)


def test_unknown_objective_lists_the_known_ones():
    with pytest.raises(UserError, match="rf, edm"):
        objective("ddpm")
