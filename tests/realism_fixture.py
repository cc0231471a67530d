"""Phantom patients and an untrained generator for the reports on realism and memorisation."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nnunet_synth_aug.core.priors import NUMERIC
from nnunet_synth_aug.data.cohort import Cohort, write_cohort
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import write_subjects
from nnunet_synth_aug.model.conditions import PriorScaler
from nnunet_synth_aug.model.config import GeneratorConfig, GridConfig, LDMConfig, VAEConfig
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.motion import motion_network
from nnunet_synth_aug.model.noise import GREYS, Grain
from nnunet_synth_aug.model.static import static_network
from nnunet_synth_aug.model.vae.network import AnatomyVAE

TRAINING = 3
MICRO = GeneratorConfig(
    preset="micro",
    grid=GridConfig(size=(48, 48, 12)),
    vae=VAEConfig(channels=(4, 8), latent_channels=4),
    static=LDMConfig(channels=(8, 16), embedding=16),
    motion=LDMConfig(channels=(8, 16), embedding=16),
)


@dataclass(frozen=True)
class World:
    """Real hearts, and a generator that claims to have been trained on the first three."""

    generator: Generator
    cohort: Cohort


def write(folder: Path, phantoms: list[SourceSubject]) -> None:
    """The cohort, as pretraining writes its own."""
    subjects, notes = write_subjects(phantoms, folder, "phantoms", len(phantoms))
    write_cohort(folder, subjects, {"source": "phantom"}, notes)


def read_world(folder: Path) -> World:
    """The cohort with the generator."""
    cohort = Cohort.read(folder, "phantoms")
    torch.manual_seed(0)
    channels, device = MICRO.vae.latent_channels, torch.device("cpu")
    generator = Generator(
        config=MICRO,
        grid=Grid(MICRO.grid.size, 4.0),
        vae=AnatomyVAE(MICRO.vae).eval(),
        static=static_network(MICRO).eval(),
        motion=motion_network(MICRO).eval(),
        # The reports use no motion: what it is scaled by is of no account.
        scale=LatentScale(torch.zeros(channels), torch.ones(channels), *(torch.ones(1) for _ in range(3))),
        scaler=PriorScaler((0.0,) * len(NUMERIC), (100.0,) * len(NUMERIC)),
        grain=Grain((0.02,) * GREYS),
        templates=(),
        provenance={"patients": [s.patient for s in cohort.subjects[:TRAINING]], "generator_hash": "untrained", "fold": 0},
        device=device,
    )
    return World(generator, cohort)
