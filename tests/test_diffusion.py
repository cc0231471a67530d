"""Laws of the rectified flow and its sampler."""

import pytest
import torch

from nnunet_synth_aug.diffusion import TIME_MEAN, TIME_STD, draw_times, flow_loss, guided, precondition, sample_flow


@pytest.mark.parametrize("steps", [1, 3, 7, 12, 30])
def test_constant_field_integrates_to_one(steps):
    """MONAI's float16 time steps give 1.0102 here at 30 steps."""
    end = sample_flow(lambda x, t: torch.ones_like(x), torch.zeros(2, 1), steps)
    assert torch.allclose(end, torch.full_like(end, -1.0), atol=1e-6)


def linear_gaussian(mean: float, std: float):
    """Exact velocity for data N(mean, std^2): E[e - x0 | x_t]."""

    def velocity(x, t):
        t = t[:, None]
        variance = (1 - t) ** 2 * std**2 + t**2
        return -mean + (t - (1 - t) * std**2) / variance * (x - (1 - t) * mean)

    return velocity


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 2.0)])
def test_sampler_reaches_the_gaussian_that_the_velocity_describes(mean, std):
    """The flow of a Gaussian maps noise e to mean + std * e."""
    noise = torch.linspace(-2.5, 2.5, 41)[:, None]
    end = sample_flow(linear_gaussian(mean, std), noise, 40)
    assert torch.allclose(end, mean + std * noise, atol=0.02 * max(std, 1))


def test_heun_is_second_order():
    noise = torch.tensor([[1.5]], dtype=torch.float64)
    errors = [abs(float(sample_flow(linear_gaussian(1.0, 0.5), noise, n)) - 1.75) for n in (16, 32)]
    # The last step is Euler's, whose local error is also second order.
    assert 3.0 < errors[0] / errors[1] < 6.0


def test_precondition_is_exact_for_unit_gaussian_data():
    """With a network that says 0 the velocity is the linear estimator's, so samples stay unit Gaussian."""
    noise = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    end = sample_flow(lambda x, t: precondition(lambda y, s: torch.zeros_like(y), x, t), noise, 30)
    assert torch.allclose(end, noise, atol=0.02)


def test_perfect_network_has_no_loss_and_the_weight_masks():
    x0, noise = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    weight = torch.ones(4, 1, 3)
    weight[..., 0] = 0
    target = noise - x0
    wrong_outside = target.clone()
    wrong_outside[..., 0] += 5
    assert float(flow_loss(lambda x, t: wrong_outside, x0, torch.full((4,), 0.3), noise, weight)) == pytest.approx(0, abs=1e-10)
    assert float(flow_loss(lambda x, t: wrong_outside, x0, torch.full((4,), 0.3), noise, torch.ones_like(weight))) > 1


def test_guidance_acts_only_inside_its_interval():
    velocity = guided(lambda x, t: x + 1, lambda x, t: x, 3.0, (0.2, 0.8))
    x = torch.zeros(1, 1)
    assert float(velocity(x, torch.tensor([0.5]))) == 3.0  # 1 + (3 - 1) * (1 - 0)
    assert float(velocity(x, torch.tensor([0.9]))) == 1.0
    assert float(velocity(x, torch.tensor([0.1]))) == 1.0


def test_times_are_logit_normal():
    torch.manual_seed(0)
    t = torch.logit(draw_times(20_000))
    assert float(t.mean()) == pytest.approx(TIME_MEAN, abs=0.03)
    assert float(t.std()) == pytest.approx(TIME_STD, abs=0.03)
