"""What tests/test_distributed.py runs, in one process and under torchrun: ``distributed_worker.py FOLDER``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import save_file

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.conditions import PriorScaler
from nnunet_synth_aug.model.config import GeneratorConfig, LatentConfig, LDMConfig, TrainConfig, VAEConfig
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.motion import train_motion
from nnunet_synth_aug.model.static import static_network, train_static
from nnunet_synth_aug.model.training.distributed import JointDropout, is_first, mine, processes, rank
from nnunet_synth_aug.model.training.loop import Step, train
from nnunet_synth_aug.model.vae.network import AnatomyVAE
from nnunet_synth_aug.model.vae.train import FrameSampler, train_vae, vae_loss

CPU = torch.device("cpu")
#: Steps of the resumed training, and the one at which it is killed. Checkpoints are due at every tenth.
STEPS, KILLED = 14, 12
TWO = TrainConfig(steps=2, batch_size=4, learning_rate=1e-3, autocast="off")
# No group norm over one channel, and no attention: a bias that cannot matter has a gradient of pure rounding, which Adam magnifies.
LDM = LDMConfig(channels=(12, 20), embedding=16, attention=False, dropout=0.3, train=TWO)
CONFIG = GeneratorConfig(
    # Three of four rows are labelled: two for one process, one for the other.
    vae=VAEConfig(channels=(12, 20), latent_channels=4, labelled_share=0.75, consistency_start=0.0, train=TWO),
    latents=LatentConfig(components=5),
    static=LDM,
    motion=LDM,
)


class KilledError(Exception):
    pass


def frames() -> SimpleNamespace:
    """Five cines of noise, as much of a TrainingSet as the VAE looks at; the stacks differ in depth, one has no RV contours."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(5):
        valid = torch.zeros(16, 16, 4, dtype=torch.bool)
        valid[:, : 16 - 2 * number, : 2 + number % 3] = True
        image = torch.from_numpy(rng.uniform(-1, 1, (3, 16, 16, 4))).half() * valid
        mask = torch.from_numpy(rng.integers(0, 4, (3, 16, 16, 4))).to(torch.uint8) * valid
        annotated = frozenset({MYO, LV} if number == 0 else {RV, MYO, LV})
        cases.append(
            SimpleNamespace(
                gridded=SimpleNamespace(image=image, mask=mask, valid=valid, labelled=(0, 2), predicted=(1,)),
                subject=SimpleNamespace(annotated=annotated),
            )
        )
    return SimpleNamespace(cases=cases)


def latents() -> SimpleNamespace:
    """Seven latents of noise, as much of a LatentSet as the LDMs look at."""
    generator = torch.Generator().manual_seed(0)
    priors = [Priors(lv_edv=100.0 + 20 * i, lv_ef=30.0 + 5 * i, vendor="GE" if i % 2 else None) for i in range(7)]
    valid = torch.ones(7, 1, 4, 4, 4)
    for row in range(7):
        valid[row, ..., 2 + row % 3 :] = 0
    return SimpleNamespace(
        ed=torch.randn(7, 4, 4, 4, 4, generator=generator) * valid,
        motion=torch.randn(6, 5, 4, 4, 4, generator=generator) * valid[1:],
        moving=torch.arange(1, 7),
        phase=torch.zeros(6),  # of the moving ones; periodic motion does not look at it
        valid=valid,
        conditions=PriorScaler.fit(priors).encode(priors),
        scale=LatentScale(
            torch.zeros(4),
            torch.ones(4),
            region=torch.rand(4, 4, generator=generator) + 0.1,
            directions=torch.eye(5, 32),
            spread=torch.linspace(2, 0.5, 5),
        ),
    )


def gradients(folder: Path) -> dict[str, torch.Tensor]:
    """The VAE's gradients in its first step."""
    torch.manual_seed(0)
    network, sampler, once = AnatomyVAE(CONFIG.vae), FrameSampler(frames(), CONFIG.vae), replace(TWO, steps=1)
    train(network, lambda n, step: vae_loss(n, sampler.draw(step.rng, CPU), CONFIG.vae, step), once, folder, "once", 5, {}, CPU)
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def stages(folder: Path) -> dict[str, torch.nn.Module]:
    """Two steps of each stage."""
    return {
        "vae": train_vae(frames(), CONFIG.vae, folder, 3, {}, CPU),
        "static": train_static(latents(), CONFIG, folder, {}, CPU),
        "motion": train_motion(latents(), CONFIG, folder, {}, CPU),
    }


def resumable(folder: Path, killed: int | None) -> torch.nn.Module:
    """The static LDM, trained for ``STEPS`` steps, or killed before step ``killed``."""
    config = replace(CONFIG, static=replace(LDM, train=replace(TWO, steps=STEPS, checkpoint_seconds=0.0)))
    if killed is None:
        return train_static(latents(), config, folder, {}, CPU)
    from nnunet_synth_aug.model import static as stage

    original = stage.diffusion_loss

    def loss(network, *rest):
        if next(r for r in rest if isinstance(r, Step)).index == killed:
            raise KilledError
        return original(network, *rest)

    stage.diffusion_loss = loss
    try:
        train_static(latents(), config, folder, {}, CPU)
    except KilledError:
        return static_network(config)
    finally:
        stage.diffusion_loss = original
    raise AssertionError("not killed")


def dropout() -> torch.Tensor:
    """This process's rows of a dropped-out batch of 4."""
    torch.manual_seed(1)
    return JointDropout(0.4)(mine(torch.ones(4, 50)))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with processes(CPU) as device:
        assert device == CPU
        results = {f"gradient.{k}": v for k, v in gradients(folder).items()}
        for name, network in stages(folder).items():
            results |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
        resumable(folder / "resumed", KILLED)
        (folder / f"rank{rank()}").mkdir()
        save_file({"dropout": dropout()}, folder / f"rank{rank()}" / "dropout.safetensors")
        # Both processes end with the same weights; the test compares both.
        save_file({k: v.detach().contiguous() for k, v in results.items()}, folder / f"rank{rank()}" / "results.safetensors")
        assert is_first() == (rank() == 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
