"""Every setting of the generator, with its default, and the presets that set them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from nnunet_synth_aug.core.errors import UserError


@dataclass(frozen=True)
class GridConfig:
    """The common grid on which the networks see every heart. Slices keep their native thickness."""

    size: tuple[int, int, int] = (96, 96, 8)  # voxels (X, Y, Z); X and Y divisible by 16
    max_fov: float = 192.0  # mm in plane; a larger image is cropped around the heart
    intensity_percentiles: tuple[float, float] = (0.5, 99.5)  # of the whole sequence -> [-1, 1]


@dataclass(frozen=True)
class TrainConfig:
    """One training stage."""

    steps: int = 400
    batch_size: int = 4
    learning_rate: float = 1e-3  # peak; linear warm-up, then cosine to 2 %
    warmup: float = 0.05  # share of the steps
    ema_decay: float = 0.99  # of the weights that are used afterwards
    checkpoint_seconds: float = 60.0  # a kill loses at most this much and ten steps
    autocast: Literal["auto", "off", "bf16"] = "auto"  # of the networks, see training.uses_bf16; losses are float32


@dataclass(frozen=True)
class VAEConfig:
    """Semi-supervised VAE of single slices. One decoder trunk carries an image head and a mask head.

    Weights of losses are relative to the L1 of pixels, the L1 of edges and the DiceCE of contoured frames, which count 1 each.
    """

    patch: int = 2  # pixels per side folded into channels before the first convolution, unfolded after the last
    channels: tuple[int, ...] = (32, 48, 64)  # per level; each step halves X and Y, never Z
    latent_channels: int = 8
    kl_weight: float = 1e-3  # per latent dimension
    texture_weight: float = 2.0  # of the L1 between local amounts of gradient, which keeps images from being blurred
    predicted_weight: float = 0.5  # of DiceCE on frames whose mask is a network's (synthaug fit --segmenter)
    consistency_weight: float = 0.1  # of the EMA teacher's mask on frames that have none
    consistency_start: float = 0.4  # share of the steps before the teacher is trusted
    latent_noise: float = 0.15  # relative noise on the latent while training: the LDM's samples are not exact either
    labelled_share: float = 0.5  # of each batch
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1000, batch_size=24, learning_rate=2e-3))


@dataclass(frozen=True)
class LDMConfig:
    """A latent diffusion (static or motion)."""

    objective: Literal["rf", "edm"] = "rf"  # rectified flow or EDM, see diffusion
    channels: tuple[int, ...] = (32, 64)  # per level
    embedding: int = 128
    attention: bool = True  # at the coarsest level
    dropout: float = 0.05
    prior_dropout: float = 0.15  # per variable
    null_share: float = 0.1  # samples with no prior at all (classifier-free guidance)
    sampler_steps: int = 12  # 2 * 12 - 1 evaluations
    emphasis: float = 1.0  # an error counts as (how far the heart moves there) to this power, see latents.LatentScale; 0: all alike
    guidance: float = 1.5
    guidance_interval: tuple[float, float] = (0.2, 0.9)  # of time t, 1 = noise
    temperature: float = 1.0  # SD of the noise that sampling starts from; less is nearer to the mean, cleaner and less varied
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=700, batch_size=8, learning_rate=2e-3))


#: Settings of an LDM that decide how it is sampled, not how it is trained.
SAMPLING = ("sampler_steps", "guidance", "guidance_interval", "temperature")

#: Of the motion LDM: what it knows of a heart's motion is its mean, and what it draws beyond that smears walls (docs/decisions.md).
MOTION_TEMPERATURE = 0.5


@dataclass(frozen=True)
class LatentConfig:
    """How cines become latents for the two LDMs."""

    copies: int = 200  # hearts encoded, about: patients unchanged, then augmented until there are as many
    rotation: float = 20.0  # degrees, uniform +-
    scale: float = 0.12  # relative, uniform +-; EDV and mass follow by measurement, not by formula
    shift: float = 6.0  # mm, uniform +-
    warp: float = 3.5  # mm, SD of the smooth deformation of augmented copies, see data.deforming; volumes follow by measurement
    gain: float = 0.35  # how much less copies beat at most, relative, and up to 0.1 more, see beat; EF follows by decoding
    remodel: float = 0.0  # 0 to 1: how much copies are dilated, thickened and weakened, see data.remodelling
    max_frames: int = 16  # frames encoded per cine; the periodic fit needs no more
    harmonics: int = 4  # K of the periodic residual basis
    components: int = 24  # R, principal directions of the coefficients that the motion LDM makes
    motion: Literal["fourier", "framewise"] = "fourier"  # or "framewise": every frame sampled by itself, the paper's scheme, for comparison

    def variants(self, patients: int) -> int:
        """Copies of each patient, the first unaugmented: many for few patients, who would else be learnt by heart."""
        return max(1, round(self.copies / patients))


@dataclass(frozen=True)
class PretrainConfig:
    """Training on phantoms before the patients."""

    hearts: int = 0  # number of phantoms; 0 starts from random weights
    seed: int = 1000  # of the phantom cohort
    finetune_steps: float = 0.5  # share of each stage's steps spent on the patients afterwards
    finetune_rate: float = 0.5  # of the learning rate


@dataclass(frozen=True)
class GeneratorConfig:
    """The cascade: VAE, static LDM, motion LDM."""

    preset: str = "tiny"
    seed: int = 0
    grid: GridConfig = field(default_factory=GridConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    latents: LatentConfig = field(default_factory=LatentConfig)
    static: LDMConfig = field(default_factory=LDMConfig)
    motion: LDMConfig = field(default_factory=lambda: LDMConfig(temperature=MOTION_TEMPERATURE))
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> GeneratorConfig:
        return _build(GeneratorConfig, _without_retired(values))


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


def _build(kind: type, values: dict[str, Any]) -> Any:
    """Nested dataclass from JSON; lists become the tuples they were."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := set(values) - set(known):
        raise UserError(f"the generator's config has unknown settings {sorted(unknown)}; it was made by another version of this package")
    defaults = kind()
    out: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            out[name] = _build(type(default), value)
        else:
            out[name] = tuple(value) if isinstance(value, list) else value
    return kind(**out)


PRESETS: dict[str, GeneratorConfig] = {
    # CPU minutes: the demo. Measured in docs/walkthrough.md.
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
    # One GPU, at most half an hour for the three stages. Parameters and FLOPs: docs/compute.md.
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
    values = config.to_json()
    for setting in settings:
        path, equals, text = setting.partition("=")
        *parts, name = path.split(".")
        place = values
        for part in parts:
            place = place.get(part, {}) if isinstance(place, dict) else {}
        if not equals or name not in place or isinstance(place[name], dict):
            raise UserError(f"--set {setting}: {path} is not a setting; 'synthaug fit --dry-run' lists them all")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        kinds = {float: (int, float), tuple: (list,)}.get(type(place[name]), (type(place[name]),))
        if not isinstance(value, kinds):
            raise UserError(f"--set {setting}: {path} is {place[name]!r} in the preset, and {value!r} is of another kind")
        place[name] = value
    return GeneratorConfig.from_json(values)


#: Phantoms to pretrain on, per preset: about as many as the time of its own training allows.
PHANTOMS = {"tiny": 40, "small": 120, "base": 300}


def pretrained_on(config: GeneratorConfig, source: str) -> GeneratorConfig:
    """The settings with pretraining on ``source``: "phantom", or "none"."""
    if source not in ("none", "phantom"):
        raise UserError(f"there is no pretraining on {source!r}; choose none or phantom")
    hearts = PHANTOMS[config.preset] if source == "phantom" else 0
    return dataclasses.replace(config, pretrain=dataclasses.replace(config.pretrain, hearts=hearts))


def preset(name: str) -> GeneratorConfig:
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
