"""Standardisation of latents: invertible, and honest about what it leaves out."""

import pytest
import torch

from nnunet_synth_aug.model.latents.scale import LatentScale


def world(n=12, harmonics=2, channels=3, rank=4):
    """Coefficients that live in ``rank`` directions."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(n, channels, 5, 6, 4, generator=generator) * 3 + 1
    mixing = torch.randn(rank, 2 * harmonics * channels, generator=generator) * torch.tensor([8.0, 4.0, 2.0, 1.0])[:, None]
    hidden = torch.randn(n, rank, 5, 6, 4, generator=generator)
    motion = torch.einsum("nrxyz,rk->nkxyz", hidden, mixing).unflatten(1, (2 * harmonics, channels))
    valid = torch.ones(n, 1, 5, 6, 4)
    valid[..., 0] = 0
    return latents, motion * valid[:, None], valid


def test_latents_come_back_and_have_unit_variance():
    latents, motion, valid = world()
    scale = LatentScale.measured(latents, valid, motion, valid, 4)
    standard = scale.standardise(latents)
    inside = standard[..., 1:]
    assert inside.mean((0, 2, 3, 4)).abs().max() < 1e-4
    assert (inside.std((0, 2, 3, 4)) - 1).abs().max() < 1e-2
    torch.testing.assert_close(scale.restore(standard), latents)


def test_motion_comes_back_from_as_many_directions_as_it_has():
    latents, motion, valid = world()
    scale = LatentScale.measured(latents, valid, motion, valid, 4)
    components = scale.standardise_motion(motion)
    assert components.shape[1] == 4
    torch.testing.assert_close(scale.restore_motion(components), motion, atol=1e-3, rtol=1e-3)
    assert components[..., 1:].square().mean((0, 2, 3, 4)).sqrt().tolist() == pytest.approx([1.0] * 4, abs=0.02)


def test_fewer_directions_keep_the_largest_share():
    latents, motion, valid = world()
    lost = []
    for components in (1, 2, 3):
        scale = LatentScale.measured(latents, valid, motion, valid, components)
        back = scale.restore_motion(scale.standardise_motion(motion))
        lost.append(float((back - motion).square().sum() / motion.square().sum()))
    assert lost[0] > lost[1] > lost[2] > 0
    assert lost[0] < 0.5


def test_a_continued_generator_keeps_its_directions_and_takes_the_size_of_its_patients_motion():
    latents, motion, valid = world()
    scale = LatentScale.measured(latents, valid, motion, valid, 4)
    elsewhere = torch.linspace(0.2, 1, 5)[:, None, None] * 7 * motion  # larger, and not everywhere alike
    sized = scale.resized(elsewhere, valid)
    assert sized.directions is scale.directions
    assert sized.mean is scale.mean
    assert scale.standardise_motion(elsewhere)[..., 1:].square().mean().sqrt() > 3
    components = sized.standardise_motion(elsewhere)[..., 1:]
    assert components.square().mean((0, 2, 3, 4)).sqrt().tolist() == pytest.approx([1.0] * 4, abs=0.01)
    torch.testing.assert_close(sized.restore_motion(sized.standardise_motion(elsewhere)), elsewhere, atol=1e-2, rtol=1e-3)


def test_errors_weigh_as_much_as_the_heart_moves():
    """Directions are orthonormal: to the power 2, the weighted error of the components is that of the coefficients themselves."""
    latents, motion, valid = world()
    scale = LatentScale.measured(latents, valid, motion, valid, 4)
    assert scale.region.min() < scale.region.max()
    error = torch.randn(3, 4, 5, 6, 4, generator=torch.Generator().manual_seed(1))
    weighted = scale.motion_weight(2.0) * error.square() * scale.spread.mean() ** 2
    torch.testing.assert_close(weighted.sum((1, 2, 3, 4)), scale.restore_motion(error).square().sum((1, 2, 3, 4, 5)), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scale.motion_weight(1.0).square(), scale.motion_weight(2.0))
    assert scale.motion_weight(0.0).unique().tolist() == [1.0]


def test_anatomy_counts_where_the_heart_moves():
    latents, motion, valid = world()
    motion[:, :, :, :2] *= 0.2  # a still chest
    scale = LatentScale.measured(latents, valid, motion, valid, 4)
    weight = scale.anatomy_weight(1.0)
    assert weight.shape == (1, 5, 6, 1)
    assert weight[0, :2].max() < 0.4 * weight[0, 2:].min()
    torch.testing.assert_close(scale.anatomy_weight(2.0), weight.square())
    assert scale.anatomy_weight(0.0).unique().tolist() == [1.0]
