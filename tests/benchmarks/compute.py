"""Parameters and FLOPs of every preset, beside the paper's; with --time, seconds and memory per case on this machine.

    python tests/benchmarks/compute.py [--preset base ...] [--time] [--device cuda] [--batch 1 8] [--write] [--docs docs]

One case is a cine of 30 frames with a mask in every frame. FLOPs are those of convolutions and matrix products, two per
multiply-add, as torch's FlopCounterMode counts them on networks without weights (the meta device). How often a sampler calls its
network is counted while a case is sampled with networks of a few weights and the preset's own settings. Timings need no training,
and each has a process of its own, so that memory peaks do not mix.
--write keeps everything in docs/compute.json, from which docs/results/compute.md is made. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from untrained import FRAMES, IDENTITY, latent_shape, sample_cases, time_case, untrained

from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.config import PRESETS, GeneratorConfig, LDMConfig, VAEConfig
from nnunet_synth_aug.model.config import preset as named
from nnunet_synth_aug.model.ldm import LatentDiffusion
from nnunet_synth_aug.model.motion import motion_network
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.static import static_network
from nnunet_synth_aug.model.vae.network import AnatomyVAE
from nnunet_synth_aug.synthesis.closed_loop import MAX_TRIES

FRAMEWISE = "base, framewise"
META = torch.device("meta")
#: Speed in TFLOP/s, low and high, at which the training time on one H200 (bf16) is estimated. Assumed, not measured.
ASSUMED_SPEED = (50.0, 80.0)
#: Decoded to find the motion gain: every other frame, the three around ES, and ES at every further gain.
CALIBRATION_FRAMES = FRAMES // 2 + 3 + MAX_TRIES - 1


@dataclass(frozen=True)
class Paper:
    """What the shapes of the paper's released networks (arXiv 2606.26764) and its sampling script tell."""

    static: float = 1.13  # TFLOP per evaluation of the static LDM
    motion: tuple[float, float] = (1.45, 1.48)  # of the motion LDM, by two counts
    decoders: float = 1.52  # image and mask decoder together, one frame
    steps: int = 30
    guidance: int = 2  # evaluations per step
    motion_frames: int = 29  # one by one; ED is the static LDM's
    ldm_parameters: float = 1372e6

    @property
    def evaluations(self) -> dict[str, int]:
        """Per case."""
        return {"static": self.steps * self.guidance, "motion": self.motion_frames * self.steps * self.guidance}

    def case(self, motion: float) -> dict[str, float]:
        """TFLOP of one case, if one evaluation of the motion LDM takes ``motion``."""
        called = self.evaluations
        parts = {"static": called["static"] * self.static, "motion": called["motion"] * motion, "decoding": FRAMES * self.decoders}
        return parts | {"total": sum(parts.values())}

    def figures(self) -> dict[str, Any]:
        cases = [self.case(motion) for motion in self.motion]
        return {"ldm_parameters": self.ldm_parameters, "evaluations": self.evaluations, "case_tflop": cases}


@dataclass(frozen=True)
class Cost:
    """Of one network and one sample."""

    parameters: int
    forward: int  # FLOP
    training: int  # FLOP, forward and backward


def flops(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def flow_cost(make: Callable[[GeneratorConfig], LatentDiffusion], config: GeneratorConfig, channels: int, given: int) -> Cost:
    """Of an LDM that makes ``channels`` channels, ``given`` others being its context."""
    with META:
        network = make(config)
        x = torch.zeros(1, channels, *latent_shape(config)[1:])
        context = torch.zeros(1, given, *latent_shape(config)[1:])
        t = torch.zeros(1)
    conditions = IDENTITY.encode([Priors()]).to(META)

    def forward() -> torch.Tensor:
        return network(x, t, context, conditions)

    return Cost(parameters(network), flops(forward), flops(lambda: forward().sum().backward()))


def static_cost(config: GeneratorConfig) -> Cost:
    return flow_cost(static_network, config, config.vae.latent_channels, 1)


def motion_cost(config: GeneratorConfig) -> Cost:
    return flow_cost(motion_network, config, motion_scheme(config).channels, motion_scheme(config).context_channels)


def vae_cost(config: GeneratorConfig) -> tuple[Cost, int]:
    """Of the VAE, ``forward`` being one decoded frame; and the FLOP of encoding one."""
    with META:
        network = AnatomyVAE(config.vae)
        image = torch.zeros(1, 1, *config.grid.size)
        latent = torch.zeros(1, *latent_shape(config))

    def autoencode() -> None:
        mean, log_variance = network.encode(image, image)
        decoded, logits = network.decode(mean + log_variance)  # gradients reach both
        (decoded.sum() + logits.sum()).backward()

    cost = Cost(parameters(network), flops(lambda: network.decode(latent)), flops(autoencode))
    return cost, flops(lambda: network.encode(image, image))


def evaluations(config: GeneratorConfig) -> dict[str, int]:
    """How often sampling one case evaluates each network, counted on networks of a few weights."""
    factor = config.grid.size[0] // latent_shape(config)[1]

    def narrow(settings: LDMConfig) -> LDMConfig:
        return replace(settings, channels=(8,), embedding=16)

    small = replace(
        config,
        grid=replace(config.grid, size=(2 * factor, 2 * factor, 3)),
        vae=replace(config.vae, channels=(8,) * len(config.vae.channels)),
        static=narrow(config.static),
        motion=narrow(config.motion),
    )
    generator = untrained(small, torch.device("cpu"))
    rows: Counter[str] = Counter()

    def watch(network: nn.Module, name: str) -> None:
        network.register_forward_hook(lambda _module, _inputs, output: rows.update({name: len(output)}))

    watch(generator.static, "static")
    watch(generator.motion, "motion")
    watch(generator.vae.image_head, "decoded_frames")
    sample_cases(generator, 1)
    rows["decoded_frames"] //= small.grid.size[2]  # the VAE sees slices
    return dict(rows)


def vae_training_flops(config: VAEConfig, depth: int, cost: Cost, encode: int) -> float:
    """All steps: reconstruction of the whole batch and, from ``consistency_start`` on, the teacher's pass over unlabelled slices.

    ``cost`` and ``encode`` are those of a frame of ``depth`` slices; a batch is counted in slices.
    """
    batch = config.train.batch_size
    unlabelled = batch - max(1, round(batch * config.labelled_share))
    teacher = (1 - config.consistency_start) * unlabelled * (encode + cost.forward) if config.consistency_weight > 0 else 0.0
    return config.train.steps * (batch * cost.training + teacher) / depth


def count(config: GeneratorConfig) -> dict[str, Any]:
    """Everything that is counted, of one config."""
    vae, encode = vae_cost(config)
    static, motion = static_cost(config), motion_cost(config)
    called = evaluations(config)
    case = {
        "static": called["static"] * static.forward / 1e12,
        "motion": called["motion"] * motion.forward / 1e12,
        "decoding": called["decoded_frames"] * vae.forward / 1e12,
    }
    rounds = 1 + (config.pretrain.finetune_steps if config.pretrain.hearts else 0)  # on phantoms first, then on the patients
    training = {
        "vae": rounds * vae_training_flops(config.vae, config.grid.size[2], vae, encode) / 1e15,
        "static": rounds * config.static.train.steps * config.static.train.batch_size * static.training / 1e15,
        "motion": rounds * config.motion.train.steps * config.motion.train.batch_size * motion.training / 1e15,
    }
    total = sum(training.values())
    return {
        "grid": list(config.grid.size),
        "latent": list(latent_shape(config)),
        "parameters": {"vae": vae.parameters, "static": static.parameters, "motion": motion.parameters},
        "gflop": {"encode": encode / 1e9, "decode": vae.forward / 1e9, "static": static.forward / 1e9, "motion": motion.forward / 1e9},
        "evaluations": called,
        "case_tflop": case | {"total": sum(case.values())},
        "calibration_tflop_at_most": CALIBRATION_FRAMES * vae.forward / 1e12,
        "training_pflop": training | {"total": total},
        "encoding_tflop": config.latents.copies * config.latents.max_frames * encode / 1e12,
        "h200_minutes_assumed": [total * 1e3 / speed / 60 for speed in reversed(ASSUMED_SPEED)],
    }


def counts(names: list[str]) -> dict[str, Any]:
    """Of the presets, and of ``base`` if it sampled its motion frame by frame as the paper does."""
    found = {name: count(named(name)) for name in names}
    if "base" in names:
        base = named("base")
        found[FRAMEWISE] = count(replace(base, latents=replace(base.latents, motion="framewise")))
    return found


def timed(name: str, device: str, batch: int) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(time_case, name, device, batch).result()


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Timings; a new one replaces the old one of the same machine, preset and batch."""

    def key(row: dict[str, Any]) -> tuple[str, int, int]:
        return row["machine"], list(PRESETS).index(row["preset"]), row["batch"]

    return sorted(({key(r): r for r in old} | {key(r): r for r in new}).values(), key=key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--time", action="store_true", help="time the sampling of cases, too")
    parser.add_argument("--device", default="cpu", help="of the timings")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="cases sampled together in the timings")
    parser.add_argument("--write", action="store_true", help="write compute.json")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "counts": counts(options.preset),
        "paper": Paper().figures(),
        "assumed_tflop_per_s": list(ASSUMED_SPEED),
        "timings": [timed(name, options.device, batch) for name in options.preset for batch in options.batch] if options.time else [],
    }
    if options.write:
        path = options.docs / "compute.json"
        kept: dict[str, Any] = read_json(path) if path.is_file() else {"counts": {}, "timings": []}
        known = kept["counts"] | found["counts"]
        ordered = {name: known[name] for name in (*PRESETS, FRAMEWISE) if name in known}
        kept = found | {"counts": ordered, "timings": merged(kept["timings"], found["timings"])}
        write_json(path, kept)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
