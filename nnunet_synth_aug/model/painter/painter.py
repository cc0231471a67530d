"""The painter: trained on slices with contours, it draws the image of any contours in the style of any patient it has seen.

A diffusion on the principal components of patches of 8 x 8 pixels, slice by slice. It is told the contours, the coarse grey values of what
lies around the heart, and the style. Contours are left out of some training steps, so that guidance can press on them (Ho and Salimans,
arXiv 2207.12598).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json
from nnunet_synth_aug.model.config import TrainConfig
from nnunet_synth_aug.model.diffusion import RECTIFIED_FLOW
from nnunet_synth_aug.model.painter.codes import SIDE, Basis
from nnunet_synth_aug.model.painter.network import COARSE, CODES, PainterNetwork, Told, folded
from nnunet_synth_aug.model.painter.slices import (
    QUANTILES,
    PatientSlices,
    SliceSampler,
    Style,
    heart,
    labels_resampled,
    resampled,
    scaled,
    square,
)
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, save_checkpoint
from nnunet_synth_aug.model.training.device import uses_bf16
from nnunet_synth_aug.model.training.loop import Step, train

#: Squares from which the principal components are.
MEASURED = 600
#: Standard deviation of the noise on the code of what lies around: it is a hint, not a pattern to be kept.
AROUND_NOISE = 0.3
#: Share of the training slices whose contours are not told.
UNTOLD = 0.15
#: Weight of patches near the heart, and power of a component's spread in its weight: structure counts more than grain.
NEAR_HEART, BY_SPREAD, MOST_SPREAD = 3.0, 0.6, 4.0
#: Sampling: steps of Heun's method, and guidance towards the contours.
SAMPLER_STEPS, GUIDANCE = 5, 2.0
#: Changes when a painter of the same patients and settings is another one.
FORMAT = 2
#: Grey values of what is painted: -1 becomes 1, because nnU-Net takes 0 for what lies outside of the scan, and 1 becomes 201.
BLACK, SPAN = 1.0, 200.0


@dataclass(frozen=True)
class PainterConfig:
    """Settings of a painter."""

    pixel: float = 2.0  # side [mm]
    side: int = 128  # of the squares that it learns from [pixels]
    width: int = 112
    blocks: int = 6
    embedding: int = 64
    seed: int = 0
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=2200, batch_size=24, learning_rate=2e-3, ema_decay=0.995))


@dataclass(frozen=True)
class Painter:
    """A trained painter."""

    config: PainterConfig
    network: PainterNetwork
    codes: Basis
    around: Basis
    styles: dict[str, Style]
    device: torch.device
    identity: str = ""  # of what it learnt from and how

    @torch.no_grad()
    def paint(
        self, image: np.ndarray, mask: np.ndarray, spacing: Spacing, style: Style, rng: np.random.Generator, guidance: float = GUIDANCE
    ) -> np.ndarray:
        """One frame in another style.

        Args:
            image: (X, Y, Z) in any grey values; of it only coarse grey values around the heart are used.
            mask: (X, Y, Z) labels.
            spacing: mm.
            style: how the heart is to look.
            rng: decides what contours and style leave open.
            guidance: towards the contours; 1 is none.

        Returns:
            float32 (X, Y, Z), grey values from BLACK to BLACK + SPAN.
        """
        pixel = self.config.pixel
        coarse, labels = resampled(scaled(image), spacing, pixel), labels_resampled(mask, spacing, pixel)
        x, y, depth = coarse.shape
        pad = (0, -y % SIDE, 0, -x % SIDE)
        masks = F.pad(torch.from_numpy(labels).permute(2, 0, 1), pad)
        inside = heart(masks)
        outside = inside.permute(1, 2, 0)[:x, :y].numpy() == 0
        if outside.any():  # the grey values around become the style's
            own = np.quantile(coarse[outside], QUANTILES) + np.arange(len(QUANTILES)) * 1e-6
            coarse = np.interp(coarse, own, style.around_in(_side(image, spacing))).astype(np.float32)
        slices = F.pad(torch.from_numpy(coarse).permute(2, 0, 1)[:, None], pad, mode="replicate")[:, 0]
        around = self.around.code(slices * (1 - inside))
        noise = torch.from_numpy(rng.standard_normal((depth, COARSE + CODES, *around.shape[2:]), dtype=np.float32))
        told = Told(
            (around + AROUND_NOISE * noise[:, :COARSE]).to(self.device),
            folded(masks).to(self.device),
            torch.from_numpy(style.told()).expand(depth, -1).to(self.device),
        )
        untold = told.untold()

        def network(u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=uses_bf16("auto", self.device)):
                found = self.network(u, t, told).float()
                return found if guidance == 1 else found + (guidance - 1) * (found - self.network(u, t, untold).float())

        code = RECTIFIED_FLOW.sample(network, noise[:, COARSE:].to(self.device), SAMPLER_STEPS).cpu()
        painted = self.codes.image(code)[:, :x, :y].clamp(-1, 1).permute(1, 2, 0).numpy()
        native = zoom(painted, [n / m for n, m in zip(image.shape, painted.shape, strict=True)], order=1, mode="nearest", grid_mode=True)
        return ((native + 1) / 2 * SPAN + BLACK).astype(np.float32)

    @torch.no_grad()
    def loss(self, patient: PatientSlices, draws: int = 16) -> float:
        """Training loss on the patient's slices that show the heart, averaged over the same times and noises for every patient."""
        style, told, losses = torch.from_numpy(patient.style.told()), torch.ones(draws, 1, 1, 1), []
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for one in patient.slices:
                if one.mask.any():
                    torch.manual_seed(0)
                    image, mask = (torch.from_numpy(part).expand(draws, -1, -1) for part in square(one, self.config.side))
                    drawn = (image, mask, style.expand(draws, -1))
                    losses.append(float(_loss(self.network, self.codes, self.around, drawn, told, self.device)))
        return float(np.mean(losses))

    def context(self, image: np.ndarray, spacing: Spacing, style: Style) -> tuple[float, float] | None:
        """Mean and standard deviation of the style's whole image, as :meth:`paint` would show it; None if the frame shows all of it."""
        found = style.context(_side(image, spacing))
        return None if found is None else ((found[0] + 1) / 2 * SPAN + BLACK, found[1] / 2 * SPAN)


def _loss(
    network: torch.nn.Module,
    codes: Basis,
    around: Basis,
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    told: torch.Tensor,
    device: torch.device,
) -> torch.Tensor:
    """Of squares as :meth:`SliceSampler.draw` gives them; ``told`` (n, 1, 1, 1) says of which the contours are told."""
    image, mask, style = drawn
    inside = heart(mask)
    hint = around.code(image * (1 - inside))
    given = Told(hint + AROUND_NOISE * torch.randn_like(hint), folded(mask) * told, style)
    given = Told(given.around.to(device), given.contours.to(device), given.style.to(device))
    x0 = codes.code(image).to(device)
    near = F.max_pool2d(F.max_pool2d(inside[:, None], SIDE), 3, 1, 1)
    by_spread = (codes.spread / codes.spread.mean()).clamp_max(MOST_SPREAD)[None, :, None, None] ** BY_SPREAD
    weight = (1 + (NEAR_HEART - 1) * near) * by_spread
    t = RECTIFIED_FLOW.draw_times(len(x0), device)
    return RECTIFIED_FLOW.loss(lambda u, t: network(u, t, given), x0, t, torch.randn_like(x0), weight.to(device)).mean()


def _side(image: np.ndarray, spacing: Spacing) -> float:
    """Root of the area of a frame (X, Y, Z) [mm]."""
    return float(np.sqrt(image.shape[0] * spacing[0] * image.shape[1] * spacing[1]))


def painter_identity(config: PainterConfig, about: dict[str, Any]) -> str:
    """A painter of another identity is another one; ``about`` is all that it depends on besides its settings, JSON."""
    return hash_json(about | {"painter": asdict(config), "format": FORMAT})


def train_painter(patients: list[PatientSlices], config: PainterConfig, path: Path, about: dict[str, Any], device: torch.device) -> Painter:
    """Train a painter and save it as ``path`` (.safetensors); a killed training goes on where it stopped.

    Args:
        patients: to learn from.
        config: settings.
        path: of the checkpoint; beside it lies that of a running training.
        about: see :func:`painter_identity`.
        device: where to train.

    Raises:
        UserError: nobody to learn from.
    """
    if not patients:
        raise UserError(
            "no patient shows RV, MYO and LV with contours, so nothing tells how hearts look; use --render decoder, or "
            "--appearance scanners"
        )
    sampler = SliceSampler(patients, config.side)
    images, masks, _ = sampler.draw(np.random.default_rng([config.seed, 1]), MEASURED)
    everywhere = torch.ones_like(images)
    codes, around = Basis.of(images, everywhere, CODES), Basis.of(images * (1 - heart(masks)), everywhere, COARSE)

    def loss(network: torch.nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, mask, style = sampler.draw(step.rng, config.train.batch_size)
        told = (torch.rand(len(image), 1, 1, 1) > UNTOLD).float()
        return _loss(network, codes, around, (image, mask, style), told, device), {}

    torch.manual_seed(config.seed)
    network = PainterNetwork(config.width, config.blocks, config.embedding)
    styles = [one.style.to_json() for one in patients]
    identity = painter_identity(config, about)
    trained = train(network, loss, config.train, path.parent, path.stem, config.seed, {"identity": identity, "styles": styles}, device)
    assert isinstance(trained, PainterNetwork)
    tensors = {f"net.{name}": tensor for name, tensor in trained.state_dict().items()}
    for name, basis in {"codes": codes, "around": around}.items():
        tensors |= {f"{name}.directions": basis.directions, f"{name}.spread": basis.spread}
    header = {"identity": identity, "config": asdict(config), "styles": styles, "about": about}
    save_checkpoint(path, tensors, header)
    (path.parent / f"{path.stem}.training.safetensors").unlink(missing_ok=True)
    (path.parent / f"{path.stem}.training.json").unlink(missing_ok=True)
    return load_painter(path, device)


def load_painter(path: Path, device: torch.device) -> Painter:
    """A painter that :func:`train_painter` saved.

    Raises:
        UserError: there is none, or it is damaged.
    """
    tensors, header = load_checkpoint(path)
    try:
        values = dict(header["config"])
        config = replace(PainterConfig(**values), train=TrainConfig(**values["train"]))
        network = PainterNetwork(config.width, config.blocks, config.embedding)
        network.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")})
        bases = [Basis(tensors[f"{name}.directions"], tensors[f"{name}.spread"]) for name in ("codes", "around")]
        styles = {style.patient: style for style in map(Style.from_json, header["styles"])}
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is not a painter of this version ({' '.join(str(error).split())[:200]}); delete it") from error
    return Painter(config, network.to(device).eval(), bases[0], bases[1], styles, device, str(header["identity"]))
