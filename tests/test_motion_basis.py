"""Zero at ED and periodic, for any coefficients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_synth_aug.data.cycle import closure_ratio, cycle_frames
from nnunet_synth_aug.model.motion_basis import ES_SHARE, basis, fit_motion, motion, phases


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), harmonics=st.integers(1, 8), n_frames=st.integers(2, 60))
def test_ed_residual_is_exactly_zero_and_motion_is_periodic(seed, harmonics, n_frames):
    generator = torch.Generator().manual_seed(seed)
    coefficients = 100 * torch.randn(1, 2 * harmonics, 2, 3, 3, 2, generator=generator)
    assert torch.equal(motion(coefficients, torch.zeros(1))[0, 0], torch.zeros(2, 3, 3, 2))
    assert torch.equal(motion(coefficients, phases(n_frames))[0, 0], torch.zeros(2, 3, 3, 2))
    phi = phases(n_frames)
    here, next_cycle = motion(coefficients, phi), motion(coefficients, phi + 2 * math.pi)
    assert torch.allclose(here, next_cycle, atol=1e-5 * float(coefficients.abs().max()))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), harmonics=st.integers(1, 5), ed=st.integers(0, 5))
def test_fit_recovers_the_motion_it_is_given(seed, harmonics, ed):
    coefficients = torch.randn(1, 2 * harmonics, 1, 2, 2, 2, generator=torch.Generator().manual_seed(seed))
    phi = phases(30, ed=ed)
    residuals = motion(coefficients, phi)[0]
    fitted = fit_motion(residuals, phi.float(), harmonics, ridge=1e-9)
    assert torch.allclose(fitted, coefficients[0], atol=1e-2)


def test_fit_with_two_frames_stays_finite_and_small():
    residuals = torch.stack([torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)])
    phi = torch.tensor([0.0, 2.5])
    fitted = fit_motion(residuals, phi, 4)
    assert torch.isfinite(fitted).all()
    back = motion(fitted[None], phi.double())[0]
    assert torch.allclose(back, residuals, atol=0.05)


def test_basis_columns_are_cosines_minus_one_then_sines():
    phi = torch.tensor([0.7], dtype=torch.float64)
    expected = [math.cos(0.7) - 1, math.cos(1.4) - 1, math.sin(0.7), math.sin(1.4)]
    assert basis(phi, 2)[0].tolist() == pytest.approx(expected)


def circle(n_frames: int, covered: float) -> np.ndarray:
    """Even motion: many voxels, each somewhere else on its way round."""
    angles = 2 * np.pi * covered * np.arange(n_frames) / n_frames
    return np.cos(angles[:, None] + np.linspace(0, 2 * np.pi, 60, endpoint=False))


def test_a_whole_cycle_closes_and_a_gated_one_is_found_out():
    assert closure_ratio(circle(30, 1.0)) == pytest.approx(1.0, abs=0.01)
    assert cycle_frames(circle(30, 1.0)) == 30
    assert closure_ratio(circle(30, 0.85)) > 4
    # Uniform motion: the estimate is right up to chord against arc.
    assert cycle_frames(circle(30, 0.85)) / 30 == pytest.approx(1 / 0.85, abs=0.03)
    assert cycle_frames(circle(30, 0.5)) <= 1.4 * 30


@settings(max_examples=50, deadline=None)
@given(n_frames=st.integers(8, 60), es=st.floats(0.2, 0.7), ed=st.integers(0, 7))
def test_alignment_puts_es_at_its_share_keeps_ed_and_the_order_of_frames(n_frames, es, ed):
    at = ed + es * n_frames
    phi = phases(n_frames, ed=ed, es=at)
    assert phi[ed] == 0
    later = torch.cat([phi[ed:], phi[:ed]])
    assert (later.diff() > 0).all()
    assert float(later.max()) < 2 * math.pi
    before = math.floor(es * n_frames)
    assert float(later[before]) <= 2 * math.pi * ES_SHARE + 1e-9
    assert before + 1 == n_frames or float(later[before + 1]) >= 2 * math.pi * ES_SHARE - 1e-9


@pytest.mark.parametrize("es", [0.0, 1.0, 9.5])
def test_an_es_that_cannot_be_is_not_believed(es):
    assert torch.equal(phases(10, es=es), phases(10))
