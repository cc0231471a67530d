"""Reconstruction: what the VAE and the periodic motion basis keep of patients that they never saw.

Upper bounds of what the cascade can show: a generated heart is at best as sharp as a reconstructed one, and beats at best
as the basis lets it.
"""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Subject
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import atomic_path, write_json
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.tables import quoted
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.cycle import cycle_frames
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import Gridded, to_grid
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.motion_basis import fit_motion, motion, phases
from nnunet_synth_aug.model.vae.network import AnatomyVAE, latent_validity
from nnunet_synth_aug.reports.controllability.agreement import average
from nnunet_synth_aug.reports.reference_patients import reference_patients

#: Grey values lie in [-1, 1].
RANGE = 2.0
#: Standard deviation in pixels of the SSIM's window.
SSIM_SIGMA = 1.5
#: Parts of the frequencies in worst_power.
RINGS = 8
#: What the VAE alone decides.
VAE_FIGURES: dict[str, str] = {
    "psnr": "PSNR of the VAE [dB]",
    "ssim": "SSIM of the VAE",
    "detail": "in-plane second differences between pixels two apart, share of the real image's",
    "checkerboard": "alternation from pixel to pixel, share of the real image's",
    "spectrum": "power of the spatial frequencies that are kept worst, up to half of Nyquist's, share of the real image's",
    **{f"dice_{name}": f"Dice of {name}, ED and ES" for name in STRUCTURES},
}
#: What the motion model adds.
MOTION_FIGURES: dict[str, str] = {
    "psnr_basis": "PSNR with periodic motion [dB]",
    "psnr_components": "PSNR with the motion LDM's components [dB]",
    "motion_basis": "share of the latent motion in the basis",
    "motion_components": "share of it in the components",
}
FIGURES = VAE_FIGURES | MOTION_FIGURES


def reconstruction_report(generator: Generator, cohort: Cohort, out: Path) -> dict[str, Any]:
    """Reconstruct the held-out patients of the generator's fold on its grid; writes ``reconstruction.json`` and ``.csv``.

    Figures are means over a patient's frames, then over patients, with bootstrap intervals over patients.

    Returns:
        what the JSON holds: the figures overall and per vendor.
    """
    references = reference_patients(generator, cohort)
    rows: list[dict[str, Any]] = []
    with progress("reconstructing", len(references.patients)) as bar:
        for done, patient in enumerate(references.patients, 1):
            subject = cohort.subject(patient)
            rows.append({"patient": patient, "vendor": subject.priors.vendor or "unknown", **_reconstructed(generator, subject)})
            bar.advance(done, patient)
    report = {
        "patients": references.words,
        "grid": asdict(generator.grid),
        "figures": FIGURES,
        "groups": by_vendor(rows, list(FIGURES)),
    }
    with atomic_path(out / "reconstruction.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["patient", "vendor", *FIGURES])
        writer.writeheader()
        writer.writerows({k: "" if isinstance(v, float) and math.isnan(v) else quoted(v) for k, v in row.items()} for row in rows)
    write_json(out / "reconstruction.json", report)
    return report


def by_vendor(rows: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Means of these figures over all patients and over those of each vendor, with bootstrap intervals and the number of patients."""
    rng = np.random.default_rng(0)
    groups = {"all": rows} | {vendor: [r for r in rows if r["vendor"] == vendor] for vendor in sorted({r["vendor"] for r in rows})}
    return {
        group: {"n": len(members), **{name: asdict(average(np.array([r[name] for r in members]), rng)) for name in names}}
        for group, members in groups.items()
    }


@torch.no_grad()
def vae_figures(vae: AnatomyVAE, subject: Subject, gridded: Gridded, device: torch.device) -> tuple[dict[str, float], torch.Tensor]:
    """What the VAE keeps of one patient, NaN where there is no mask or no contour; and the latents (T, C, x, y, Z)."""
    real, valid = gridded.image.float(), gridded.valid
    latent = encode(vae, gridded.image, valid, device)
    image, mask = _decode(vae, latent, device)
    values = {"psnr": psnr(image, real, valid), "ssim": ssim(image, real, valid), **{f"dice_{name}": math.nan for name in STRUCTURES}}
    for name, amount in (("detail", detail), ("checkerboard", checkerboard)):
        values[name] = amount(image, valid) / max(amount(real, valid), 1e-9)
    values["spectrum"] = worst_power(image, real, valid)
    for name, label in STRUCTURES.items():
        if label in subject.annotated and gridded.labelled:
            scores = [dice(mask[t] == label, (gridded.mask[t] == label) & valid, valid) for t in gridded.labelled]
            values[f"dice_{name}"] = float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan
    return values, latent


@torch.no_grad()
def _reconstructed(generator: Generator, subject: Subject) -> dict[str, float]:
    """All figures of one patient; NaN where there is no mask, no contour or no cine."""
    sequence = load_sequence(subject)
    gridded = to_grid(sequence, generator.grid, generator.config.grid)
    real, valid = gridded.image.float(), gridded.valid
    own, latent = vae_figures(generator.vae, subject, gridded, generator.device)
    values = dict.fromkeys(FIGURES, math.nan) | own
    if subject.cine is not None and len(real) > 2 and generator.config.latents.motion == "fourier":
        phi = phases(len(real), cycle_frames(sequence.image), subject.ed, subject.es)
        inside = latent_validity(valid[None, None].float(), generator.vae.factor)[0] > 0  # (1, x, y, Z)
        residuals = latent - latent[gridded.ed]
        coefficients = fit_motion(residuals, phi.float(), generator.config.latents.harmonics)[None]
        scale = generator.scale.to(torch.device("cpu"))
        kept = {"basis": coefficients, "components": scale.restore_motion(scale.standardise_motion(coefficients))}
        for name, one in kept.items():
            fitted = motion(one, phi)[0]
            values[f"motion_{name}"] = explained(residuals * inside, fitted * inside)
            values[f"psnr_{name}"] = psnr(_decode(generator.vae, latent[gridded.ed] + fitted, generator.device)[0], real, valid)
    return values


def _decode(vae: AnatomyVAE, latent: torch.Tensor, device: torch.device, batch: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float32 and masks uint8, both (T, X, Y, Z), of latents (T, C, x, y, Z)."""
    images, masks = [], []
    for part in latent.split(batch):
        image, logits = vae.decode(part.to(device))
        images.append(image[:, 0].float().clamp(-1, 1).cpu())
        masks.append(logits.argmax(1).to(torch.uint8).cpu())
    return torch.cat(images), torch.cat(masks)


def psnr(image: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of (T, X, Y, Z) in [-1, 1] within ``valid`` (X, Y, Z)."""
    error = float(((image - reference) ** 2)[:, valid].double().mean())
    return 10 * math.log10(RANGE**2 / error) if error > 0 else math.inf


def ssim(image: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004; Gaussian window) of slices, averaged over frames within ``valid``."""
    from skimage.metrics import structural_similarity

    inside = valid.numpy()
    slices = np.flatnonzero(inside.any(axis=(0, 1)))
    total = 0.0
    for one, other in zip((image * valid).numpy(), reference.numpy(), strict=True):
        similarity = structural_similarity(
            one[..., slices],
            other[..., slices],
            data_range=RANGE,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            channel_axis=2,
            full=True,
        )[1]
        total += float(similarity[inside[..., slices]].mean())
    return total / len(image)


def detail(image: torch.Tensor, valid: torch.Tensor) -> float:
    """Mean absolute in-plane second difference between pixels two apart of (T, X, Y, Z) within ``valid`` (X, Y, Z).

    First differences are nearly all borders: an image may keep 85 % of them and have lost most that is finer than a wall.
    """
    total, count = 0.0, 0
    for axis in (0, 1):
        n = valid.shape[axis] - 4
        first, middle, last = (valid.narrow(axis, offset, n) for offset in (0, 2, 4))
        before, here, after = (image.narrow(axis + 1, offset, n) for offset in (0, 2, 4))
        bends = (before - 2 * here + after)[:, first & middle & last]
        total, count = total + float(bends.abs().sum()), count + bends.numel()
    return total / max(count, 1)


def checkerboard(image: torch.Tensor, valid: torch.Tensor) -> float:
    """Mean amplitude of what alternates from pixel to pixel along both axes, of (T, X, Y, Z) within ``valid`` (X, Y, Z).

    Noise has some; a network that has more than its images draws a pattern of its own.
    """
    board = image[:, 1:, 1:] - image[:, 1:, :-1] - image[:, :-1, 1:] + image[:, :-1, :-1]
    inside = valid[1:, 1:] & valid[1:, :-1] & valid[:-1, 1:] & valid[:-1, :-1]
    return float(board[:, inside].abs().mean()) / 4


def worst_power(image: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor) -> float:
    """Radial power spectrum of (T, X, Y, Z) within ``valid`` (X, Y, Z), as shares of the reference's; the share farthest from 1.

    Frequencies up to half of Nyquist's are parted into RINGS of equal width. Below 1 an image is blurred there, above 1 it has structure of
    its own. Slices are tapered by a Hann window, lest their borders count.
    """
    x, y = valid.shape[:2]
    window = (torch.hann_window(x, periodic=False)[:, None] * torch.hann_window(y, periodic=False))[..., None] * valid
    frequency = torch.hypot(torch.fft.fftfreq(x)[:, None], torch.fft.fftfreq(y)[None]) / 0.25  # 1 is half of Nyquist's
    ring = (frequency * RINGS).ceil().long() - 1  # -1 is the mean
    weight = window.sum(dim=(0, 1)).clamp_min(1e-9)

    def power(values: torch.Tensor) -> torch.Tensor:
        centred = values - (values * window).sum(dim=(1, 2), keepdim=True) / weight
        found = torch.fft.fft2((centred * window).double(), dim=(1, 2)).abs().square().sum(dim=(0, 3))
        return torch.stack([found[ring == number].sum() for number in range(RINGS)])

    shares = power(image) / power(reference).clamp_min(1e-12)
    return float(shares[shares.clamp_min(1e-12).log().abs().argmax()])


def dice(mask: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor) -> float:
    """Dice of two boolean masks (X, Y, Z) within ``valid``; NaN if both are empty."""
    mask = mask & valid
    total = int(mask.sum()) + int(reference.sum())
    return 2 * int((mask & reference).sum()) / total if total else math.nan


def explained(signal: torch.Tensor, model: torch.Tensor) -> float:
    """Share of the energy of ``signal`` that ``model`` explains; 1 is all, 0 is nothing."""
    energy = float((signal.double() ** 2).sum())
    return 1 - float(((signal - model).double() ** 2).sum()) / energy if energy > 0 else math.nan
