"""Every setting of the generator, with its default, and the presets that set them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.settings import Amount, Autocast, FromZero, Number, Positive, read

# Numbers stay as they were written (1 or 1.0), since the config's hash names a generator.
Above = Annotated[Number, Gt(0)]
Part = Annotated[Number, Interval(ge=0, le=1)]
Percentile = Annotated[Number, Interval(ge=0, le=100)]


@dataclass(frozen=True)
class GridConfig:
    """The common grid on which the networks see every heart. Slices keep their native thickness."""

    size: tuple[Positive, Positive, Positive] = (96, 96, 8)  # voxels (X, Y, Z); X and Y divisible by 16
    max_fov: Above = 192.0  # mm in plane; a larger image is cropped around the heart
    intensity_percentiles: tuple[Percentile, Percentile] = (0.5, 99.5)  # of the whole sequence -> [-1, 1]


@dataclass(frozen=True)
class TrainConfig:
    """One training stage."""

    steps: Positive = 400
    batch_size: Positive = 4
    learning_rate: Above = 1e-3  # peak; linear warm-up, then cosine to 2 %
    warmup: Part = 0.05  # share of the steps
    ema_decay: Part = 0.99  # of the weights that are used afterwards
    checkpoint_seconds: Amount = 60.0  # a kill loses at most this much and ten steps
    autocast: Autocast = "auto"  # of the networks, see training.device.uses_bf16; losses are float32


@dataclass(frozen=True)
class VAEConfig:
    """Semi-supervised VAE of single slices. One decoder trunk carries an image head and a mask head.

    Weights of losses are relative to the L1 of pixels, the L1 of edges and the DiceCE of contoured frames, which count 1 each.
    """

    patch: Positive = 2  # pixels per side folded into channels before the first convolution, unfolded after the last
    channels: tuple[Positive, ...] = (32, 48, 64)  # per level; each step halves X and Y, never Z
    latent_channels: Positive = 8
    kl_weight: Amount = 1e-3  # per latent dimension
    texture_weight: Amount = 2.0  # of the L1 between local amounts of gradient, which keeps images from being blurred
    predicted_weight: Amount = 0.5  # of DiceCE on frames whose mask is a network's (synthaug fit --segmenter)
    consistency_weight: Amount = 0.1  # of the EMA teacher's mask on frames that have none
    consistency_start: Part = 0.4  # share of the steps before the teacher is trusted
    latent_noise: Amount = 0.15  # relative noise on the latent while training: the LDM's samples are not exact either
    labelled_share: Part = 0.5  # of each batch
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1000, batch_size=24, learning_rate=2e-3))


@dataclass(frozen=True)
class LDMConfig:
    """A latent diffusion (static or motion)."""

    objective: Literal["rf", "edm"] = "rf"  # rectified flow or EDM, see diffusion
    channels: tuple[Positive, ...] = (32, 64)  # per level
    embedding: Positive = 128
    attention: bool = True  # at the coarsest level
    dropout: Part = 0.05
    prior_dropout: Part = 0.15  # per variable
    null_share: Part = 0.1  # samples with no prior at all (classifier-free guidance)
    sampler_steps: Positive = 12  # 2 * 12 - 1 evaluations
    emphasis: Number = 1.0  # an error counts as (how far the heart moves there) to this power, see latents.LatentScale; 0: all alike
    guidance: Number = 1.5
    guidance_interval: tuple[Part, Part] = (0.2, 0.9)  # of time t, 1 = noise
    temperature: Amount = 1.0  # SD of the noise that sampling starts from; less is nearer to the mean, cleaner and less varied
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=700, batch_size=8, learning_rate=2e-3))


#: Settings of an LDM that decide how it is sampled, not how it is trained.
SAMPLING = ("sampler_steps", "guidance", "guidance_interval", "temperature")

#: Of the motion LDM: what it knows of a heart's motion is its mean, and what it draws beyond that smears walls
#: (docs/decisions/motion-temperature.md).
MOTION_TEMPERATURE = 0.5


@dataclass(frozen=True)
class LatentConfig:
    """How cines become latents for the two LDMs."""

    copies: Positive = 200  # hearts encoded, about: patients unchanged, then augmented until there are as many
    rotation: Amount = 20.0  # degrees, uniform +-
    scale: Amount = 0.12  # relative, uniform +-; EDV and mass follow by measurement, not by formula
    shift: Amount = 6.0  # mm, uniform +-
    warp: Amount = 3.5  # mm, SD of the smooth deformation of augmented copies, see data.deforming; volumes follow by measurement
    gain: Amount = 0.35  # how much less copies beat at most, relative, and up to 0.1 more, see beat; EF follows by decoding
    remodel: Part = 0.0  # 0 to 1: how much copies are dilated, thickened and weakened, see data.remodelling
    max_frames: Positive = 16  # frames encoded per cine; the periodic fit needs no more
    harmonics: Positive = 4  # K of the periodic residual basis
    components: Positive = 24  # R, principal directions of the coefficients that the motion LDM makes
    motion: Literal["fourier", "framewise"] = "fourier"  # or "framewise": every frame sampled by itself, the paper's scheme, for comparison

    def variants(self, patients: int) -> int:
        """Copies of each patient, the first unaugmented: many for few patients, who would else be learnt by heart."""
        return max(1, round(self.copies / patients))


@dataclass(frozen=True)
class PretrainConfig:
    """Training on phantoms before the patients."""

    hearts: FromZero = 0  # number of phantoms; 0 starts from random weights
    seed: FromZero = 1000  # of the phantom cohort
    finetune_steps: Amount = 0.5  # share of each stage's steps spent on the patients afterwards
    finetune_rate: Amount = 0.5  # of the learning rate


@dataclass(frozen=True)
class GeneratorConfig:
    """The cascade: VAE, static LDM, motion LDM."""

    preset: str = "tiny"
    seed: FromZero = 0
    grid: GridConfig = field(default_factory=GridConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    latents: LatentConfig = field(default_factory=LatentConfig)
    static: LDMConfig = field(default_factory=LDMConfig)
    motion: LDMConfig = field(default_factory=lambda: LDMConfig(temperature=MOTION_TEMPERATURE))
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def to_json(self) -> dict[str, Any]:
        """Every setting as nested mappings."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Any, where: str = "the generator's config") -> GeneratorConfig:
        """The config that :meth:`to_json` made, here or in an earlier version.

        Args:
            values: from the generator's JSON; what is left out has its default.
            where: names the file in sentences.

        Raises:
            UserError: it holds what this version does not know.
        """
        with contextlib.suppress(RecursionError):  # which is then told of the file
            values = _without_retired(values) if isinstance(values, dict) else values
        return read(GeneratorConfig, values, where, remedy=_OTHER_VERSION)


_OTHER_VERSION = "use the version of this package that made it, or run 'synthaug fit' again"

#: Settings of earlier versions, by part and name, and the value at which they changed nothing.
RETIRED = {
    "vae.equivariance": 0.0,
    "vae.mask_weight": 1.0,
    "vae.edge_weight": 1.0,
    "static.sparse_share": 0.0,
    "motion.sparse_share": 0.0,
    "train.weight_decay": 0.01,
    "train.clip_norm": 1.0,
}


def _without_retired(values: dict[str, Any], part: str = "") -> dict[str, Any]:
    """The config without settings of earlier versions; ``part`` is the name of what holds ``values``.

    Raises:
        UserError: one has a value that this version cannot follow.
    """
    kept: dict[str, Any] = {}
    for name, value in values.items():
        place = f"{part}.{name}"
        if place not in RETIRED:
            kept[name] = _without_retired(value, name) if isinstance(value, dict) else value
        elif value != RETIRED[place]:
            raise UserError(
                f"the generator's config has {place} = {value!r}, but this version of the package knows {RETIRED[place]} only; "
                "use the version that trained it, or run 'synthaug fit' again"
            )
    return kept


PRESETS: dict[str, GeneratorConfig] = {
    # CPU minutes: the demo. Measured in docs/results/demo.md.
    "tiny": GeneratorConfig(),
    # A CPU hour or two: the same nets with two more slices, trained longer.
    "small": GeneratorConfig(
        preset="small",
        grid=GridConfig(size=(96, 96, 10)),
        vae=VAEConfig(train=TrainConfig(steps=3000, batch_size=24, ema_decay=0.998, learning_rate=2e-3)),
        latents=LatentConfig(copies=640),
        static=LDMConfig(train=TrainConfig(steps=8100, batch_size=8, ema_decay=0.997, learning_rate=4e-3)),
        motion=LDMConfig(temperature=MOTION_TEMPERATURE, train=TrainConfig(steps=3600, batch_size=8, ema_decay=0.997, learning_rate=4e-3)),
    ),
    # One GPU, at most half an hour for the three stages. Parameters and FLOPs: docs/results/compute.md.
    "base": GeneratorConfig(
        preset="base",
        grid=GridConfig(size=(128, 128, 12)),
        vae=VAEConfig(channels=(64, 128, 192), train=TrainConfig(steps=8000, batch_size=192, ema_decay=0.999, learning_rate=4e-4)),
        latents=LatentConfig(copies=800, max_frames=32, components=32),
        static=LDMConfig(
            channels=(128, 192, 288),
            embedding=256,
            dropout=0.1,
            train=TrainConfig(steps=8000, batch_size=32, ema_decay=0.999, learning_rate=3e-4),
        ),
        motion=LDMConfig(
            channels=(128, 192, 288),
            embedding=256,
            dropout=0.1,
            temperature=MOTION_TEMPERATURE,
            train=TrainConfig(steps=8000, batch_size=32, ema_decay=0.999, learning_rate=3e-4),
        ),
    ),
}


def overridden(config: GeneratorConfig, settings: list[str]) -> GeneratorConfig:
    """The settings with some replaced, each as ``part.name=value``; values are JSON or plain text.

    >>> overridden(preset("tiny"), ["latents.motion=framewise", "vae.labelled_share=1.0"]).latents.motion
    'framewise'
    """
    for setting in settings:
        values = config.to_json()
        path, equals, text = setting.partition("=")
        *parts, name = path.split(".")
        place = values
        for part in parts:
            place = place.get(part, {}) if isinstance(place, dict) else {}
        if not equals or name not in place or isinstance(place[name], dict):
            raise UserError(f"--set {setting}: {path} is not a setting; 'synthaug fit --dry-run' lists them all")
        try:
            place[name] = json.loads(text)
        except (ValueError, RecursionError):
            place[name] = text
        config = read(GeneratorConfig, values, f"--set {setting}")
    return config


#: Phantoms to pretrain on, per preset: about as many as the time of its own training allows.
PHANTOMS = {"tiny": 40, "small": 120, "base": 300}


def pretrained_on(config: GeneratorConfig, source: str) -> GeneratorConfig:
    """The settings with pretraining on ``source``: "phantom", or "none"."""
    if source not in ("none", "phantom"):
        raise UserError(f"there is no pretraining on {source!r}; choose none or phantom")
    hearts = PHANTOMS[config.preset] if source == "phantom" else 0
    return dataclasses.replace(config, pretrain=dataclasses.replace(config.pretrain, hearts=hearts))


def preset(name: str) -> GeneratorConfig:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
