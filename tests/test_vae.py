"""The VAE's losses against independent references, and its shapes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from nnunet_synth_aug.anatomy_vae.losses import consistency, dice_ce, edge_l1, kl_divergence, masked_mean
from nnunet_synth_aug.anatomy_vae.network import AnatomyVAE, fold_pixels, latent_validity, unfold_pixels
from nnunet_synth_aug.anatomy_vae.stage import orient
from nnunet_synth_aug.config import VAEConfig
from nnunet_synth_aug.labels import LV, MYO, N_CLASSES, RV

ALL = torch.ones(2, N_CLASSES)


def test_kl_equals_torch_distributions():
    mean, log_variance = torch.randn(50), torch.randn(50)
    expected = reference_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(50), torch.ones(50)))
    assert torch.allclose(kl_divergence(mean, log_variance), expected, atol=1e-5)


def test_kl_is_least_at_unit_variance():
    """The paper's code has its minimum elsewhere."""
    log_variance = torch.linspace(-2, 2, 401)
    assert float(log_variance[kl_divergence(torch.zeros(401), log_variance).argmin()]) == pytest.approx(0, abs=1e-6)


def test_losses_ignore_what_is_not_valid():
    image, target = torch.randn(2, 1, 8, 8, 3), torch.randn(2, 1, 8, 8, 3)
    logits, mask = torch.randn(2, N_CLASSES, 8, 8, 3), torch.randint(0, N_CLASSES, (2, 8, 8, 3))
    valid = torch.ones(2, 1, 8, 8, 3)
    valid[..., 2] = 0
    valid[:, :, 6:] = 0
    other_image, other_mask, other_logits = image.clone(), mask.clone(), logits.clone()
    other_image[..., 2] += 9
    other_image[:, :, 6:] -= 9
    other_mask[..., 2] = 1
    other_logits[..., 2] = 7
    for loss in (
        lambda i, m, g: masked_mean((i - target).abs(), valid),
        lambda i, m, g: edge_l1(i, target, valid),
        lambda i, m, g: dice_ce(g, m, valid, ALL),
        lambda i, m, g: consistency(logits, g * 9, valid),
    ):
        assert float(loss(image, mask, logits)) == pytest.approx(float(loss(other_image, other_mask, other_logits)), abs=1e-6)


def test_dice_ce_with_every_class_is_plain_cross_entropy_plus_dice():
    logits, mask = torch.randn(2, N_CLASSES, 6, 6, 2), torch.randint(0, N_CLASSES, (2, 6, 6, 2))
    p, y = logits.softmax(1), F.one_hot(mask, N_CLASSES).movedim(-1, 1).float()
    dice = (2 * (p * y).sum((0, 2, 3, 4)) + 1) / ((p + y).sum((0, 2, 3, 4)) + 1)
    expected = F.cross_entropy(logits, mask) + 1 - dice[1:].mean()
    assert float(dice_ce(logits, mask, torch.ones(2, 1, 6, 6, 2), ALL)) == pytest.approx(float(expected), abs=1e-5)


def test_structures_that_were_not_contoured_are_not_learnt_as_background():
    """An unlabelled RV: predicting RV where the mask says background costs nothing; predicting LV there does."""
    annotated = torch.ones(1, N_CLASSES)
    annotated[0, RV] = 0
    mask = torch.zeros(1, 6, 6, 2, dtype=torch.long)
    mask[:, 2:4, 2:4] = LV
    valid = torch.ones(1, 1, 6, 6, 2)

    def logits_for(label):
        predicted = mask.clone()
        predicted[:, 0:2] = label
        return 12 * F.one_hot(predicted, N_CLASSES).movedim(-1, 1).float()

    nothing, rv, myo = (float(dice_ce(logits_for(label), mask, valid, annotated)) for label in (0, RV, MYO))
    assert rv == pytest.approx(nothing, abs=1e-3)
    assert myo > nothing + 0.1


def test_shapes_keep_every_slice():
    config = VAEConfig(channels=(4, 8, 8), latent_channels=3)
    network = AnatomyVAE(config)
    image = torch.randn(2, 1, 32, 48, 5)
    mean, log_variance = network.encode(image, torch.ones_like(image))
    assert mean.shape == log_variance.shape == (2, 3, 4, 6, 5)
    decoded, logits = network.decode(mean)
    assert decoded.shape == image.shape
    assert logits.shape == (2, N_CLASSES, 32, 48, 5)
    assert latent_validity(torch.ones_like(image), network.factor).shape == (2, 1, 4, 6, 5)


def test_folding_pixels_is_invertible_and_keeps_neighbours_together():
    volume = torch.arange(2.0 * 3 * 8 * 4 * 5).reshape(2, 3, 8, 4, 5)
    folded = fold_pixels(volume, 2)
    assert folded.shape == (2, 12, 4, 2, 5)
    assert torch.equal(unfold_pixels(folded, 2), volume)
    assert set(folded[0, :4, 0, 0, 0].tolist()) == set(volume[0, 0, :2, :2, 0].flatten().tolist())


def test_orientations_are_the_eight_of_the_square():
    volume = torch.arange(9.0).reshape(3, 3, 1)
    seen = {tuple(orient(volume, turns, flip).flatten().tolist()) for turns in range(4) for flip in (False, True)}
    assert len(seen) == 8
    assert np.isclose(orient(volume, 1, True).sum(), volume.sum())
