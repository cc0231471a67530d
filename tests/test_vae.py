"""The VAE's losses against independent references, and its shapes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, N_CLASSES, RV
from nnunet_synth_aug.model.config import TrainConfig, VAEConfig
from nnunet_synth_aug.model.training.loop import Step
from nnunet_synth_aug.model.vae.losses import consistency, dice_ce, edge_l1, kl_divergence, row_mean, texture_l1
from nnunet_synth_aug.model.vae.network import AnatomyVAE, latent_validity, to_slices, to_stack
from nnunet_synth_aug.model.vae.train import FrameBatch, FrameSampler, orient, vae_loss

ALL = torch.ones(2, N_CLASSES)


def test_kl_equals_torch_distributions():
    mean, log_variance = 3 * torch.randn(2, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = reference_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_kl_is_least_at_the_prior():
    """The paper's code has its minimum elsewhere."""
    log_variance, mean = torch.linspace(-2, 2, 401), torch.linspace(-1, 1, 401)
    assert float(log_variance[kl_divergence(torch.zeros(401), log_variance).argmin()]) == pytest.approx(0, abs=1e-6)
    assert float(mean[kl_divergence(mean, torch.zeros(401)).argmin()]) == pytest.approx(0, abs=1e-6)


def test_gradient_of_kl_pulls_to_the_prior():
    mean, log_variance = torch.tensor([2.0, -1.0]).requires_grad_(), torch.tensor([1.5, -3.0]).requires_grad_()
    kl_divergence(mean, log_variance).sum().backward()
    assert mean.grad.tolist() == pytest.approx([2.0, -1.0])
    assert log_variance.grad.tolist() == pytest.approx([0.5 * (np.exp(1.5) - 1), 0.5 * (np.exp(-3) - 1)])


@st.composite
def regions(draw):
    """Validity (2, 1, 8, 8, 3): a crop with odd borders, and padded slices, another for each row."""
    valid = torch.zeros(2, 1, 8, 8, 3)
    for row in range(2):
        x, y, z = (draw(st.tuples(st.integers(0, n - 1), st.integers(1, n))) for n in (8, 8, 3))
        valid[row, :, x[0] : x[0] + x[1], y[0] : y[0] + y[1], z[0] : z[0] + z[1]] = 1
    return valid


@settings(max_examples=40, deadline=None)
@given(valid=regions(), seed=st.integers(0, 10_000))
def test_losses_ignore_what_is_not_valid(valid, seed):
    """Neither their values nor their gradients know padded slices and the outside of a crop."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(2, 1, 8, 8, 3, generator=generator)
    teacher = 9 * torch.randn(2, N_CLASSES, 8, 8, 3, generator=generator)
    images = torch.randn(2, 2, 1, 8, 8, 3, generator=generator)
    logits = torch.randn(2, 2, N_CLASSES, 8, 8, 3, generator=generator)
    masks = torch.randint(0, N_CLASSES, (2, 2, 8, 8, 3), generator=generator)
    outside = valid == 0
    # the second of each pair equals the first where it is valid
    other_image = torch.where(outside, images[1], images[0])
    other_logits = torch.where(outside, logits[1], logits[0])
    other_mask = torch.where(outside[:, 0], masks[1], masks[0])
    other_teacher = torch.where(outside, 5.0, teacher)
    other_target = torch.where(outside, -3.0, target)
    values = []
    for image, mask, logit, teach, goal in (
        (images[0], masks[0], logits[0], teacher, target),
        (other_image, other_mask, other_logits, other_teacher, other_target),
    ):
        image, logit = image.clone().requires_grad_(), logit.clone().requires_grad_()
        losses = torch.stack(
            [
                row_mean((image - goal).abs(), valid),
                edge_l1(image, goal, valid),
                texture_l1(image, goal, valid),
                dice_ce(logit, mask, valid, ALL),
                consistency(logit, teach, valid),
            ]
        )
        assert losses.shape == (5, 2)
        losses.sum().backward()
        for gradient in (image.grad, logit.grad):
            assert gradient[outside.expand_as(gradient)].abs().sum() == 0
        values.append(losses.detach())
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)


def test_texture_prefers_other_structure_to_none():
    """Where a loss per pixel has it the other way round: why images come out blurred."""
    generator = torch.Generator().manual_seed(0)
    target, other = (0.1 * torch.randn(1, 1, 48, 48, 2, generator=generator) for _ in range(2))
    blurred, valid = torch.zeros_like(target), torch.ones_like(target)
    assert edge_l1(blurred, target, valid) < edge_l1(other, target, valid)
    assert texture_l1(other, target, valid) < 0.3 * texture_l1(blurred, target, valid)
    assert texture_l1(target, target, valid) == 0
    quiet = target.clone()
    quiet[:, :, 24:] = 0  # as much structure in another place is not the same
    assert texture_l1(quiet.flip(2), quiet, valid) > 0.4 * texture_l1(blurred, target, valid)


def test_texture_sees_what_is_finer_than_a_wall():
    """In an image whose power falls with frequency like a real one's: first differences are nearly all borders (0.17 here)."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(64), torch.fft.fftfreq(64), indexing="ij"))
    spectrum = torch.fft.fft2(torch.randn(64, 64, generator=generator)) * torch.where(frequency > 0, frequency, torch.inf) ** -1.5
    target, coarse = (torch.fft.ifft2(s).real[None, None, ..., None] for s in (spectrum, spectrum * (frequency < 0.16)))
    valid = torch.ones_like(target)
    assert (target - coarse).std() < 0.25 * target.std()
    assert texture_l1(coarse, target, valid) > 0.25 * texture_l1(0 * target, target, valid)


def test_a_checkerboard_is_no_texture():
    # It has the most difference between neighbours for its amplitude; a decoder that may pay with it does.
    gen = torch.Generator().manual_seed(0)
    target = torch.rand((1, 1, 32, 32, 2), generator=gen)
    valid = torch.ones_like(target)
    blurred = torch.full_like(target, 0.5)
    x, y = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    board = (0.2 * (-1.0) ** (x + y))[None, None, :, :, None].expand_as(target)
    assert texture_l1(blurred + board, target, valid) >= 0.999 * texture_l1(blurred, target, valid)


def test_rows_do_not_see_each_other():
    """What makes the loss of a batch the mean of the losses of its parts, on any number of processes."""
    logits, mask = torch.randn(3, N_CLASSES, 6, 6, 2), torch.randint(0, N_CLASSES, (3, 6, 6, 2))
    image, target, valid = torch.randn(3, 1, 6, 6, 2), torch.randn(3, 1, 6, 6, 2), torch.ones(3, 1, 6, 6, 2)
    valid[1, :, 3:], valid[2, ..., 1] = 0, 0
    annotated = torch.ones(3, N_CLASSES)
    annotated[1, RV] = 0
    arguments = (
        (edge_l1, (image, target, valid)),
        (texture_l1, (image, target, valid)),
        (dice_ce, (logits, mask, valid, annotated)),
        (consistency, (logits, logits * 9, valid)),
    )
    for loss, inputs in arguments:
        alone = torch.cat([loss(*(v[row : row + 1] for v in inputs)) for row in range(3)])
        torch.testing.assert_close(loss(*inputs), alone)
        assert loss(*(v[:0] for v in inputs)).shape == (0,)


def test_dice_ce_with_every_class_is_plain_cross_entropy_plus_dice():
    logits, mask = torch.randn(2, N_CLASSES, 6, 6, 2), torch.randint(0, N_CLASSES, (2, 6, 6, 2))
    p, y = logits.softmax(1), F.one_hot(mask, N_CLASSES).movedim(-1, 1).float()
    dice = (2 * (p * y).sum((2, 3, 4)) + 1) / ((p + y).sum((2, 3, 4)) + 1)
    expected = F.cross_entropy(logits, mask, reduction="none").mean((1, 2, 3)) + 1 - dice[:, 1:].mean(1)
    torch.testing.assert_close(dice_ce(logits, mask, torch.ones(2, 1, 6, 6, 2), ALL), expected)


def predicting(mask, label):
    """Confident logits of ``mask`` (1, X, Y, Z), but for a block of background where they say ``label``."""
    predicted = mask.clone()
    predicted[:, 0:2] = label
    return 12 * F.one_hot(predicted, N_CLASSES).movedim(-1, 1).float()


@pytest.mark.parametrize("missing", [RV, MYO, LV])
def test_structures_that_were_not_contoured_are_not_learnt_as_background(missing):
    """Predicting the missing structure where the mask says background costs nothing; predicting another there does."""
    present = next(label for label in (LV, MYO) if label != missing)
    other = next(label for label in (LV, MYO, RV) if label not in (missing, present))
    annotated = torch.ones(1, N_CLASSES)
    annotated[0, missing] = 0
    mask = torch.zeros(1, 6, 6, 2, dtype=torch.long)
    mask[:, 2:4, 2:4] = present
    valid = torch.ones(1, 1, 6, 6, 2)
    nothing, free, wrong = (float(dice_ce(predicting(mask, label), mask, valid, annotated)) for label in (0, missing, other))
    assert free == pytest.approx(nothing, abs=1e-3)
    assert wrong > nothing + 0.1


def test_nothing_is_learnt_about_a_structure_that_was_not_contoured():
    """Moving probability between background and the structure changes nothing, wherever it is; a stray label of it counts as background."""
    logits = torch.randn(1, N_CLASSES, 6, 6, 2, dtype=torch.float64).float().requires_grad_()
    annotated, valid = torch.ones(1, N_CLASSES), torch.ones(1, 1, 6, 6, 2)
    annotated[0, RV] = 0
    mask = torch.randint(0, N_CLASSES, (1, 6, 6, 2))
    background = torch.where(mask == RV, 0, mask)
    loss = dice_ce(logits, mask, valid, annotated)
    torch.testing.assert_close(loss, dice_ce(logits, background, valid, annotated))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    share = logits.detach()[:, [0, RV]].softmax(1)
    # Descending moves both logits by their share in the sum of the two: their ratio never changes the loss.
    torch.testing.assert_close(gradient[:, 0] * share[:, 1], gradient[:, RV] * share[:, 0], rtol=1e-4, atol=1e-7)
    assert float(gradient[:, LV].abs().max()) > 1e-4


def world(annotated=frozenset({RV, MYO, LV})):
    """Two cines of noise, as much of a TrainingSet as the sampler looks at; the first has masks in frames 0 and 2."""
    rng = np.random.default_rng(0)
    cases = []
    for labelled in ((0, 2), ()):
        image = torch.from_numpy(rng.uniform(-1, 1, (4, 16, 16, 3))).half()
        mask = torch.from_numpy(rng.integers(0, 4, (4, 16, 16, 3))).to(torch.uint8)
        gridded = SimpleNamespace(image=image, mask=mask, valid=torch.ones(16, 16, 3, dtype=torch.bool), labelled=labelled, predicted=())
        cases.append(SimpleNamespace(gridded=gridded, subject=SimpleNamespace(annotated=annotated)))
    return SimpleNamespace(cases=cases)


CONFIG = VAEConfig(channels=(4, 8), latent_channels=3, labelled_share=0.25, train=TrainConfig(batch_size=8), consistency_start=0.5)


def test_a_batch_holds_labelled_frames_first_and_says_what_was_contoured():
    data = world(frozenset({MYO, LV}))
    batch = FrameSampler(data, CONFIG).draw(np.random.default_rng(0), torch.device("cpu"))
    assert batch.image.shape == batch.valid.shape == (8, 1, 16, 16, 1)
    assert batch.n_labelled == batch.joint_labelled == 2
    assert batch.annotated[:, [0, RV, MYO, LV]].tolist() == [[1, 0, 1, 1]] * 8
    masks = data.cases[0].gridded.mask
    known = [sorted(masks[frame, ..., level].flatten().tolist()) for frame in (0, 2) for level in range(3)]
    assert all(sorted(batch.mask[row].flatten().tolist()) in known for row in range(2))
    with pytest.raises(UserError, match="has a mask"):
        FrameSampler(SimpleNamespace(cases=data.cases[1:]), CONFIG)


def loss_of(batch: FrameBatch, share: float = 0.0) -> float:
    torch.manual_seed(4)
    network, teacher = AnatomyVAE(CONFIG), AnatomyVAE(CONFIG)
    with torch.no_grad():  # a teacher that is sure of itself
        teacher.mask_head.weight *= 200
    torch.manual_seed(5)
    return vae_loss(network, batch, CONFIG, Step(0, share, np.random.default_rng(0), teacher))[0].item()


def test_masks_of_unlabelled_frames_are_never_read():
    batch = FrameSampler(world(), CONFIG).draw(np.random.default_rng(0), torch.device("cpu"))
    mask = batch.mask.clone()
    mask[2:] = (mask[2:] + 1) % N_CLASSES
    assert loss_of(replace(batch, mask=mask)) == loss_of(batch)
    mask[:2] = (mask[:2] + 1) % N_CLASSES
    assert loss_of(replace(batch, mask=mask)) != loss_of(batch)


def test_the_teacher_is_heard_from_its_start_on():
    batch = FrameSampler(world(), CONFIG).draw(np.random.default_rng(0), torch.device("cpu"))
    assert loss_of(batch, 0.49) == loss_of(batch, 0.0)
    assert loss_of(batch, 0.5) > loss_of(batch, 0.0)


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


def test_every_slice_is_coded_by_itself():
    volume = torch.randn(2, 1, 16, 16, 5)
    assert torch.equal(to_stack(to_slices(volume), 5), volume)
    network = AnatomyVAE(CONFIG).eval()
    changed = volume.clone()
    changed[1, ..., 3] += 1
    with torch.no_grad():
        both = [network.decode(network.encode(v, torch.ones_like(v))[0]) for v in (volume, changed)]
    for before, after in zip(*both, strict=True):
        differs = (before != after).flatten(1, 3).any(1)  # (B, Z)
        assert differs.nonzero().tolist() == [[1, 3]]


def test_padded_slices_are_never_drawn():
    data = world()
    data.cases[0].gridded.valid[..., 0] = data.cases[1].gridded.valid[..., 0] = False
    for seed in range(5):
        assert FrameSampler(data, CONFIG).draw(np.random.default_rng(seed), torch.device("cpu")).valid.min() == 1


def test_orientations_are_the_eight_of_the_square():
    volume = torch.arange(9.0).reshape(3, 3, 1)
    seen = {tuple(orient(volume, turns, flip).flatten().tolist()) for turns in range(4) for flip in (False, True)}
    assert len(seen) == 8
    assert np.isclose(orient(volume, 1, True).sum(), volume.sum())
