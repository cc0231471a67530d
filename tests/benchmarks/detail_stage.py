"""A second network for what the VAE leaves out: does it make decoded images of unseen patients sharp? (docs/decisions/linear-codes.md)

    python tests/benchmarks/detail_stage.py -d 28 -f 0 --generator GENERATOR --out RUN [--steps 1000]

What a generator's VAE leaves out of an image is cut into patches of 8 x 8 pixels and coded by its principal components. A small diffusion
learns these codes slice by slice, given the decoded image and its latent, from the fold's training patients. The held-out patients are
decoded, and the details sampled. Writes docs/benchmarks/detail-stage.json, and RUN/detail.png: one slice of each held-out patient, real,
decoded, and with details of less to full randomness. Such a picture must not be published.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from page_table import DOCS
from skimage.io import imsave
from torch import nn

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.config import TrainConfig
from nnunet_synth_aug.model.diffusion import RECTIFIED_FLOW
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.painter.codes import SIDE, Basis
from nnunet_synth_aug.model.painter.network import Block
from nnunet_synth_aug.model.training.loop import Step, train
from nnunet_synth_aug.model.unet import time_features
from nnunet_synth_aug.reports.reconstruction import by_vendor, detail, psnr, ssim, worst_power

CPU = torch.device("cpu")
#: Components kept of what is left out and of the decoded image.
CODES, SEEN = 20, 24
#: Sampling: randomness, and steps of Heun's method.
TEMPERATURES, SAMPLER_STEPS = (0.0, 0.7, 1.0), 10
#: Slices of a step, and frames taken of a training patient.
BATCH, FRAMES = 48, 6


@dataclass(frozen=True)
class Slices:
    """Slices of one patient or many."""

    real: torch.Tensor  # (N, X, Y)
    decoded: torch.Tensor  # (N, X, Y)
    valid: torch.Tensor  # (N, X, Y)
    latent: torch.Tensor  # (N, C, x, y)


class DetailNetwork(nn.Module):
    """F(u, t) of the codes (N, CODES, x, y), given a context."""

    def __init__(self, context: int, width: int = 96, blocks: int = 5, embedding: int = 64) -> None:
        super().__init__()
        self.embedding = embedding
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Conv2d(CODES + context, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(blocks))
        self.leave = nn.Conv2d(width, CODES, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, u: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        embedding = self.time(time_features(t, self.embedding))
        x = self.enter(torch.cat([u, context], 1))
        for block in self.blocks:
            x = block(x, embedding)
        return self.leave(F.silu(x))


@torch.no_grad()
def slices_of(generator: Generator, cohort: Cohort, patient: str, frames: int) -> Slices:
    """ED, ES and other frames of a patient, decoded."""
    sequence = load_sequence(cohort.subject(patient))
    chosen = {sequence.ed, sequence.es, *np.linspace(0, len(sequence.image) - 1, frames).round().astype(int).tolist()}
    gridded = to_grid(sequence, generator.grid, generator.config.grid, frames=sorted(chosen))
    latent = encode(generator.vae, gridded.image, gridded.valid, CPU)
    decoded = torch.cat([generator.vae.decode(some)[0] for some in latent.split(4)])[:, 0]
    there = gridded.valid.any(0).any(0)
    valid = gridded.valid.float().expand_as(decoded)

    def flat(volumes: torch.Tensor) -> torch.Tensor:
        return volumes[..., there].movedim(-1, 1).flatten(0, 1)

    return Slices(flat(gridded.image.float()), flat(decoded.clamp(-1, 1) * valid), flat(valid), flat(latent))


class Stage:
    """The network with the scales of its training patients."""

    def __init__(self, taught: Slices) -> None:
        self.codes = Basis.of(taught.real - taught.decoded, taught.valid, CODES)
        self.seen = Basis.of(taught.decoded, taught.valid, SEEN)
        self.mean, self.std = taught.latent.mean((0, 2, 3)), taught.latent.std((0, 2, 3))
        self.network: nn.Module = DetailNetwork(SEEN + taught.latent.shape[1] + 1)

    def context(self, some: Slices) -> torch.Tensor:
        """What is known: the decoded image, its latent, and where it is valid."""
        latent = (some.latent - self.mean[:, None, None]) / self.std[:, None, None]
        return torch.cat([self.seen.code(some.decoded), latent, F.avg_pool2d(some.valid[:, None], SIDE)], 1)

    def fit(self, taught: Slices, steps: int, out: Path) -> None:
        """Train on all slices."""

        def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            rows = torch.from_numpy(step.rng.integers(len(taught.real), size=BATCH))
            some = Slices(taught.real[rows], taught.decoded[rows], taught.valid[rows], taught.latent[rows])
            x0, context = self.codes.code(some.real - some.decoded), self.context(some)
            t = RECTIFIED_FLOW.draw_times(BATCH, CPU)
            weight = F.avg_pool2d(some.valid[:, None], SIDE)
            return RECTIFIED_FLOW.loss(lambda u, t: network(u, t, context), x0, t, torch.randn_like(x0), weight).mean(), {}

        torch.manual_seed(0)
        settings = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=2e-3, ema_decay=0.995)
        self.network = train(self.network, loss, settings, out, "detail", 0, {"slices": len(taught.real)}, CPU)

    @torch.no_grad()
    def sharpened(self, some: Slices, temperature: float) -> torch.Tensor:
        """The decoded images with sampled details; all slices begin with the same noise."""
        context = self.context(some)
        noise = temperature * torch.randn(1, CODES, *context.shape[2:], generator=torch.Generator().manual_seed(0))
        noise = noise.expand(len(context), -1, -1, -1)
        code = RECTIFIED_FLOW.sample(lambda u, t: self.network(u, t, context), noise, SAMPLER_STEPS)
        return (some.decoded + self.codes.image(code)) * some.valid


def judged(image: torch.Tensor, some: Slices) -> dict[str, float]:
    """How near images are to the real ones, and how sharp."""
    made, real, valid = (v.movedim(0, -1) for v in (image, some.real, some.valid > 0))
    figures = {"psnr": psnr(made[None], real[None], valid), "ssim": ssim(made[None], real[None], valid)}
    return figures | {
        "detail": detail(made[None], valid) / max(detail(real[None], valid), 1e-9),
        "spectrum": worst_power(made[None], real[None], valid),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", required=True)
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    generator, cohort = load_generator(given.generator, CPU), Cohort.load(given.dataset)
    split = fold_patients(cohort, given.fold)
    every = [slices_of(generator, cohort, patient, FRAMES) for patient in split.train]
    taught = Slices(*(torch.cat([getattr(one, part) for one in every]) for part in ("real", "decoded", "valid", "latent")))
    stage, begun = Stage(taught), time.process_time()
    stage.fit(taught, given.steps, given.out)
    seconds = round(time.process_time() - begun)
    rows: dict[str, list[dict[str, Any]]] = {}
    shown = []
    for patient in split.val:
        some = slices_of(generator, cohort, patient, 2)
        images = {"decoded": some.decoded} | {f"details, randomness {t}": stage.sharpened(some, t) for t in TEMPERATURES}
        for name, image in images.items():
            rows.setdefault(name, []).append({"vendor": "all", **judged(image, some)})
        middle = len(some.real) // 4
        shown.append(torch.cat([some.real[middle], *(image[middle] for image in images.values())], 1))
    imsave(given.out / "detail.png", ((torch.cat(shown).clamp(-1, 1) + 1) * 127.5).byte().numpy(), check_contrast=False)
    about = {"source": cohort.name, "preset": generator.config.preset, "vae_steps": generator.config.vae.train.steps}
    about |= {"training_patients": len(split.train), "held_out": len(split.val), "steps": given.steps, "cpu_seconds": seconds}
    about |= {"machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}", "date": time.strftime("%Y-%m-%d")}
    figures = {name: by_vendor(own, ["psnr", "ssim", "detail", "spectrum"])["all"] for name, own in rows.items()}
    write_json(DOCS / "benchmarks" / "detail-stage.json", {**about, "version": __version__, "figures": figures})
    for name, own in figures.items():
        print(name, {key: round(value["value"], 3) for key, value in own.items() if isinstance(value, dict)})


if __name__ == "__main__":
    main()
