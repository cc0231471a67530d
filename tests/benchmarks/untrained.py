"""Sampling with random weights: an untrained network costs what a trained one costs."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from typing import Any

import torch

from nnunet_synth_aug.core.priors import NUMERIC, Priors
from nnunet_synth_aug.model.conditions import PriorScaler
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.config import preset as named
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.motion import motion_network
from nnunet_synth_aug.model.motion_basis import ES_SHARE
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.noise import GREYS, Grain
from nnunet_synth_aug.model.static import static_network
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.model.vae.network import AnatomyVAE
from nnunet_synth_aug.synthesis.cascade import sample_anatomies, sample_cycles
from nnunet_synth_aug.synthesis.hearts import Request

FRAMES = 30  # of one case
FOV = 192.0  # mm in plane
IDENTITY = PriorScaler((0.0,) * len(NUMERIC), (1.0,) * len(NUMERIC))


def latent_shape(config: GeneratorConfig) -> tuple[int, int, int, int]:
    """(C, x, y, Z)."""
    factor = config.vae.patch * 2 ** (len(config.vae.channels) - 1)
    X, Y, Z = config.grid.size
    return config.vae.latent_channels, X // factor, Y // factor, Z


def untrained(config: GeneratorConfig, device: torch.device) -> Generator:
    """A generator with random weights and one template, whose stack fills the grid."""
    C, x, y, Z = latent_shape(config)
    coefficients = C if config.latents.motion == "framewise" else 2 * config.latents.harmonics * C
    scale = LatentScale(
        mean=torch.zeros(C),
        std=torch.ones(C),
        region=torch.ones(x, y),
        directions=torch.eye(motion_scheme(config).channels, coefficients),
        spread=torch.ones(motion_scheme(config).channels),
    )
    template = Template(
        priors=Priors(n_slices=Z, slice_thickness=8.0),
        grey=(0.0, 1000.0),
        context=None,
        n_frames=FRAMES,
        frame_seconds=0.03,
        closure=1.0,
        es_fraction=ES_SHARE,
    )
    return Generator(
        config=config,
        grid=Grid(config.grid.size, FOV / config.grid.size[0]),
        vae=AnatomyVAE(config.vae).to(device).eval(),
        static=static_network(config).to(device).eval(),
        motion=motion_network(config).to(device).eval(),
        scale=scale.to(device),
        scaler=IDENTITY,
        grain=Grain((0.02,) * GREYS),
        templates=(template,),
        provenance={},
        device=device,
    )


def sample_cases(generator: Generator, n: int) -> None:
    """``n`` cases in one batch, open loop, without quality control; ends with arrays in main memory."""
    anatomies = sample_anatomies(generator, [Request(f"case_{i}", i, Priors(), FRAMES) for i in range(n)])
    sample_cycles(generator, anatomies, list(range(n)))


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}"


def time_case(name: str, device_name: str, batch: int, most: int = 5, budget: float = 60.0) -> dict[str, Any]:
    """Seconds per case (median over runs), processor seconds per case (mean) and peak memory of a preset.

    Peak memory is what the process held at most on a CPU (Python and torch included), what tensors held at most on a GPU;
    so a process should time one preset only.

    Args:
        name: of the preset.
        device_name: as torch's.
        batch: cases sampled together.
        most: runs.
        budget: seconds after which no further run is started.
    """
    device = torch.device(device_name)
    generator = untrained(named(name), device)
    if device.type == "cuda":
        sample_cases(generator, batch)  # chooses kernels
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    began = time.process_time()
    while not seconds or (len(seconds) < most and sum(seconds) * batch < budget):
        start = time.perf_counter()
        sample_cases(generator, batch)
        seconds.append((time.perf_counter() - start) / batch)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident
    return {
        "preset": name,
        "machine": machine(device),
        "cores": os.cpu_count(),
        "batch": batch,
        "seconds_per_case": round(statistics.median(seconds), 3),
        "cpu_seconds_per_case": round((time.process_time() - began) / len(seconds) / batch, 3),
        "runs": len(seconds),
        "peak_mib": round(peak / 2**20),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
