"""The conditional latent diffusion: batches, masks, guidance and weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.conditions import PriorScaler
from nnunet_synth_aug.model.config import LDMConfig, TrainConfig
from nnunet_synth_aug.model.diffusion import OBJECTIVES
from nnunet_synth_aug.model.ldm import LatentDiffusion, diffusion_loss, sample_latent
from nnunet_synth_aug.model.training.loop import Step, train

CPU = torch.device("cpu")
CONFIG = LDMConfig(channels=(8, 16), embedding=16, sampler_steps=4, prior_dropout=0.0, null_share=0.0, dropout=0.0)
PRIORS = [Priors(lv_edv=120.0), Priors(lv_edv=200.0, lv_ef=30.0), Priors(diagnosis="DCM")]


def fresh() -> LatentDiffusion:
    """A network that says something: the last convolution of a new one is 0."""
    torch.manual_seed(0)
    network = LatentDiffusion(3, 1, CONFIG).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def batch():
    """noise, valid, conditions of three stacks of different depth."""
    valid = torch.ones(3, 1, 4, 4, 5)
    for row in range(3):
        valid[row, ..., 3 + row :] = 0
    noise = torch.randn(3, 3, 4, 4, 5, generator=torch.Generator().manual_seed(1))
    return noise, valid, PriorScaler.fit(PRIORS).encode(PRIORS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_sample_does_not_depend_on_its_companions_and_stays_in_its_stack(name):
    network, (noise, valid, conditions), config = fresh(), batch(), replace(CONFIG, objective=name)
    together = sample_latent(network, noise, valid, valid, conditions, config)
    assert together.abs().sum() > 0
    assert together[(valid == 0).expand_as(together)].abs().sum() == 0
    for row in range(3):
        index = torch.tensor([row])
        alone = sample_latent(network, noise[index], valid[index], valid[index], conditions[index], config)
        torch.testing.assert_close(together[index], alone, rtol=1e-3, atol=1e-4)


def test_guidance_is_that_of_two_networks():
    """The one call of 2B rows equals a call with and a call without priors."""
    network, (noise, valid, conditions) = fresh(), batch()
    everywhere = replace(CONFIG, guidance=2.5, guidance_interval=(0.0, 1.0))
    guided = sample_latent(network, noise, valid, valid, conditions, everywhere)

    class Two(nn.Module):
        def forward(self, u, t, context, _):
            with_priors, without = (network(u, t, context, c) for c in (conditions, conditions.null()))
            return without + 2.5 * (with_priors - without)

    plain = sample_latent(Two(), noise, valid, valid, conditions, replace(CONFIG, guidance=1.0))
    torch.testing.assert_close(guided, plain, rtol=1e-3, atol=1e-4)
    unguided = sample_latent(network, noise, valid, valid, conditions, replace(CONFIG, guidance=1.0))
    assert float((guided - unguided).abs().max()) > 0.01


def loss_of(x0, relative=None, name="rf"):
    _, valid, conditions = batch()
    torch.manual_seed(2)
    config = replace(CONFIG, objective=name)
    return diffusion_loss(fresh(), x0, valid, valid, conditions, config, Step(0, 0.0, np.random.default_rng(0), nn.Identity()), relative)


def test_temperature_scales_the_noise_and_zero_is_the_same_whatever_the_noise():
    network, (noise, valid, conditions) = fresh(), batch()
    cool = sample_latent(network, noise, valid, valid, conditions, replace(CONFIG, temperature=0.5))
    assert torch.equal(cool, sample_latent(network, 0.5 * noise, valid, valid, conditions, CONFIG))
    still = [sample_latent(network, sign * noise, valid, valid, conditions, replace(CONFIG, temperature=0.0)) for sign in (1, -1)]
    assert torch.equal(*still)
    assert not torch.equal(still[0], cool)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_weights_channels(name):
    x0 = batch()[0] * batch()[1]
    channels = [loss_of(x0, torch.eye(3)[c, :, None, None, None], name) for c in range(3)]
    assert len({round(c.item(), 5) for c in channels}) == 3
    torch.testing.assert_close(loss_of(x0, None, name), torch.stack(channels).mean())
    torch.testing.assert_close(loss_of(x0, torch.tensor([2.0, 0.0, 6.0])[:, None, None, None], name), (channels[0] + 3 * channels[2]) / 4)


def test_loss_does_not_judge_what_is_outside_the_stack():
    """Neither the targets there, nor what the network says there: its gradient by x0 outside is what it reads, and it is given 0."""
    noise, valid, conditions = batch()
    said = []

    class Spy(LatentDiffusion):
        def forward(self, u, t, context, conditions):
            said.append(super().forward(u, t, context, conditions))
            said[-1].retain_grad()
            return said[-1]

    torch.manual_seed(0)
    network = Spy(3, 1, CONFIG)
    step = Step(0, 0.0, np.random.default_rng(0), nn.Identity())
    diffusion_loss(network, noise * valid, valid, valid, conditions, CONFIG, step).backward()
    gradient = said[0].grad
    inside = (valid > 0).expand_as(gradient)
    assert gradient[~inside].abs().sum() == 0
    assert (gradient[inside] != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns_a_constant(name, tmp_path):
    """All training latents are the same: samples go there, which those of a new network (mean 0) do not."""
    config = replace(
        CONFIG, objective=name, sampler_steps=18, train=TrainConfig(steps=60, learning_rate=5e-3, autocast="off", batch_size=6)
    )
    x0 = torch.linspace(-1.5, 1.5, 3)[:, None, None, None].expand(6, 3, 4, 4, 2)
    valid, conditions = torch.ones(6, 1, 4, 4, 2), PriorScaler.fit(PRIORS).encode(PRIORS * 2)

    def loss(network, step):
        return diffusion_loss(network, x0, valid, valid, conditions, config, step), {}

    network = train(LatentDiffusion(3, 1, config), loss, config.train, tmp_path, "s", 0, {}, CPU)
    sample = sample_latent(network, torch.randn(6, 3, 4, 4, 2), valid, valid, conditions, config)
    assert sample.mean((0, 2, 3, 4)).tolist() == pytest.approx([-1.5, 0, 1.5], abs=0.4)
