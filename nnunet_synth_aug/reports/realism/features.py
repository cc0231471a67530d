"""Features on which real and generated hearts are compared.

FD-cine: descriptors of anatomy, appearance and motion that a reader can name, computed alike for both without any learnt weights.
FD-seg: what an independent nnU-Net, trained on real patients only, makes of the images in its deepest layer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage, stats

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.reports.cines import Cine
from nnunet_synth_aug.reports.realism.temporal import image_statistics

#: Descriptors by family; all are comparable between cines of different numbers of frames and slices.
FAMILIES: dict[str, tuple[str, ...]] = {
    "anatomy": (
        "lv_edv",  # log mL
        "rv_edv",  # log mL
        "lv_mass",  # log g
        "lv_ef",  # %
        "rv_ef",  # %
        "wall_ed",  # mm
        "wall_thickening",  # log of ES over ED
        "lv_axis_ratio",  # short over long axis in plane, 1 for a circle
        "rv_axis_ratio",
        "lv_ellipticity",  # 1 for an ellipse, less for ragged outlines
        "rv_ellipticity",
    ),
    "appearance": (
        "blood_myocardium",  # difference of mean grey values at ED, of a range of 1
        "lv_rv_blood",
        "myocardium_surround",
        "blood_sd",
        "myocardium_sd",
        "surround_sd",
        "gradient_energy",  # log of the mean squared in-plane gradient per mm
        "fine_detail",  # log of the share of in-plane power above half the grid's highest frequency
        "skewness",  # of the grey values
    ),
    "motion": (
        "speed",  # log of the energy of change per unit of phase over the variance in space, in the heart's region
        "chest_motion",  # log of temporal variance outside over inside the heart's region
        "harmonic_1",  # shares of the temporal variance
        "harmonic_2",
        "harmonic_3",
        "beyond_harmonics",
        "closure",  # log
        "jerk",  # log
        "es_share",  # of the cycle
    ),
}
HARMONICS = 3
#: Fewer frames do not determine the harmonics.
MIN_FRAMES = 2 * HARMONICS + 2
SURROUND_MM, REGION_MM = 15.0, 5.0


def descriptors(cine: Cine) -> dict[str, float]:
    """All descriptors of one cine by name; NaN where the data do not tell (no mask, no contour, no cine)."""
    values = dict.fromkeys((name for names in FAMILIES.values() for name in names), math.nan)
    if cine.ed in cine.labelled and cine.es in cine.labelled:
        values |= _anatomy(cine) | _appearance(cine)
        if cine.moving and len(cine.image) >= MIN_FRAMES:
            values |= _motion(cine)
    return values


def _log(value: float | None) -> float:
    return math.log(value) if value is not None and value > 0 else math.nan


def moment_shape(region: np.ndarray) -> tuple[float, float]:
    """Axis ratio and ellipticity of a region (X, Y) from its second moments.

    With the eigenvalues l1 <= l2 of the covariance of its points, the axis ratio is sqrt(l1 / l2), and area / (4 pi sqrt(l1 l2))
    is 1 for an ellipse and smaller for anything else (the moment invariant of Rosin, Machine Vision and Applications 2003, as a ratio).
    """
    points = np.argwhere(region)
    if len(points) < 12:
        return math.nan, math.nan
    # 1/12 is the spread of a pixel about its own centre.
    low, high = np.linalg.eigvalsh(np.cov(points.T, bias=True) + np.eye(2) / 12)
    return math.sqrt(low / high), len(points) / (4 * math.pi * math.sqrt(low * high))


def _mean_shape(structure: np.ndarray) -> tuple[float, float]:
    """Area-weighted mean of :func:`moment_shape` over the slices of (X, Y, Z)."""
    areas = structure.sum(axis=(0, 1)).astype(float)
    shapes = np.array([moment_shape(structure[..., z]) for z in range(structure.shape[2])])
    known = np.isfinite(shapes[:, 0])
    if not known.any():
        return math.nan, math.nan
    ratio, ellipticity = np.average(shapes[known], axis=0, weights=areas[known])
    return float(ratio), float(ellipticity)


def wall_thickness(mask: np.ndarray, pixel: float) -> float:
    """Mean myocardial thickness in mm of a mask (X, Y, Z): difference of radii of circles of equal area, over slices with LV and MYO."""
    lv, myo = ((mask == label).sum(axis=(0, 1)) for label in (LV, MYO))
    both = (lv > 0) & (myo > 0)
    if not both.any():
        return math.nan
    return float(np.mean(np.sqrt((lv + myo)[both] / math.pi) - np.sqrt(lv[both] / math.pi)) * pixel)


def _anatomy(cine: Cine) -> dict[str, float]:
    ed, es = cine.mask[cine.ed], cine.mask[cine.es]
    found = measure(ed, es, cine.spacing, cine.structures)
    values = {name: _log(getattr(found, name)) for name in ("lv_edv", "rv_edv", "lv_mass")}
    for name in ("lv_ef", "rv_ef"):
        value = getattr(found, name)
        values[name] = math.nan if value is None else float(value)
    if MYO in cine.structures:
        values["wall_ed"] = wall_thickness(ed, cine.spacing[0])
        values["wall_thickening"] = _log(wall_thickness(es, cine.spacing[0])) - _log(values["wall_ed"])
    for label, name in ((LV, "lv"), (RV, "rv")):
        if label in cine.structures:
            values[f"{name}_axis_ratio"], values[f"{name}_ellipticity"] = _mean_shape(ed == label)
    return values


def _within(region: np.ndarray, valid: np.ndarray, pixel: float, reach: float) -> np.ndarray:
    """Valid voxels (X, Y, Z) no further than ``reach`` mm in plane from a region."""
    if not region.any():
        return valid
    # Slices are far apart on purpose: distance counts in plane only.
    distance = ndimage.distance_transform_edt(~region, sampling=(pixel, pixel, 1e6))
    return (distance <= reach) & valid


def _appearance(cine: Cine) -> dict[str, float]:
    image, mask, pixel = cine.image[cine.ed], cine.mask[cine.ed], cine.spacing[0]
    surround = _within(mask > 0, cine.valid, pixel, SURROUND_MM) & (mask == 0)
    regions = {LV: mask == LV, RV: mask == RV, MYO: mask == MYO, 0: surround}
    mean, sd = {}, {}
    for label, region in regions.items():
        known = region.any() and (label == 0 or label in cine.structures)
        mean[label] = float(image[region].mean()) if known else math.nan
        sd[label] = float(image[region].std()) if known else math.nan
    along_x, along_y = np.gradient(image, pixel, pixel, axis=(0, 1))
    inner = ndimage.binary_erosion(cine.valid, np.ones((3, 3, 1)), border_value=1)
    return {
        "blood_myocardium": mean[LV] - mean[MYO],
        "lv_rv_blood": mean[LV] - mean[RV],
        "myocardium_surround": mean[MYO] - mean[0],
        "blood_sd": sd[LV],
        "myocardium_sd": sd[MYO],
        "surround_sd": sd[0],
        "gradient_energy": _log(float((along_x**2 + along_y**2)[inner].mean())),
        "fine_detail": _log(fine_detail(image, cine.valid)),
        "skewness": float(stats.skew(image[cine.valid])),
    }


def fine_detail(image: np.ndarray, valid: np.ndarray) -> float:
    """Share of the in-plane power of (X, Y, Z) above half the Nyquist frequency, mean excluded, Hann-windowed over the valid box."""
    xs, ys = np.flatnonzero(valid.any(axis=(1, 2))), np.flatnonzero(valid.any(axis=(0, 2)))
    box = image[xs[0] : xs[-1] + 1, ys[0] : ys[-1] + 1]
    window = np.outer(np.hanning(box.shape[0]), np.hanning(box.shape[1]))[..., None]
    centred = (box - box.mean(axis=(0, 1))) * window
    power = np.abs(np.fft.fft2(centred, axes=(0, 1))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(box.shape[0]), np.fft.fftfreq(box.shape[1]), indexing="ij"))
    return float(power[frequency > 0.25].sum() / max(float(power[frequency > 0].sum()), 1e-12))


def harmonic_shares(signal: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Shares (HARMONICS + 1,) of the temporal variance of (T, voxels) at phases (T,): one per harmonic, then the rest (least squares)."""
    k = np.arange(1, HARMONICS + 1)
    design = np.concatenate([np.ones((len(phi), 1)), np.cos(phi[:, None] * k), np.sin(phi[:, None] * k)], axis=1)
    coefficients = np.linalg.lstsq(design, signal, rcond=None)[0]
    cosines, sines = coefficients[1 : HARMONICS + 1], coefficients[HARMONICS + 1 :]
    power = [*((cosines**2 + sines**2) / 2).mean(axis=1), ((signal - design @ coefficients) ** 2).mean()]
    return np.array(power) / max(float(np.sum(power)), 1e-12)


def _motion(cine: Cine) -> dict[str, float]:
    heart = (cine.mask[cine.ed] > 0) | (cine.mask[cine.es] > 0)
    region = _within(heart, cine.valid, cine.spacing[0], REGION_MM)
    outside = cine.valid & ~region
    inside = cine.image[:, region].astype(np.float64)
    phi = 2 * math.pi * (np.arange(len(inside)) - cine.ed) / cine.cycle
    *harmonics, rest = harmonic_shares(inside, phi)
    change = (np.diff(inside, axis=0) * cine.cycle / (2 * math.pi)) ** 2
    temporal = image_statistics(cine)
    return {
        "speed": _log(float(change.mean() / max(float(inside.var(axis=1).mean()), 1e-12))),
        "chest_motion": _log(float(cine.image[:, outside].var(axis=0).mean() / max(float(inside.var(axis=0).mean()), 1e-12)))
        if outside.any()
        else math.nan,
        **{f"harmonic_{k + 1}": float(share) for k, share in enumerate(harmonics)},
        "beyond_harmonics": float(rest),
        "closure": _log(temporal["closure"]),
        "jerk": _log(temporal["jerk"]),
        "es_share": ((cine.es - cine.ed) / cine.cycle) % 1.0,
    }


def segmenter_features(segmenter: Any, cine: Cine) -> np.ndarray:
    """Mean activation (2 C,) of the deepest encoder stage of an independent nnU-Net at ED and ES, over all positions it looks at.

    Args:
        segmenter: has ``nnunet`` (an nnUNetPredictor, whose network has ``encoder.stages``) and ``segment(image, spacing)``.
        cine: one heart.
    """
    features = []
    stage = segmenter.nnunet.network.encoder.stages[-1]
    for frame in (cine.ed, cine.es):
        seen: list[np.ndarray] = []

        def keep(_module: Any, _inputs: Any, output: Any, seen: list[np.ndarray] = seen) -> None:
            seen.append(output.detach().float().flatten(2).mean(2).cpu().numpy())  # (B, C, ...) -> (B, C)

        handle = stage.register_forward_hook(keep)
        try:
            segmenter.segment(cine.image[frame] * 1000, cine.spacing)
        finally:
            handle.remove()
        features.append(np.concatenate(seen).mean(axis=0))
    return np.concatenate(features)


def principal_components(real: np.ndarray, synthetic: np.ndarray, n: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of rows on the leading principal directions of the two together, each set weighing the same."""
    centre = (real.mean(0) + synthetic.mean(0)) / 2
    a, b = real - centre, synthetic - centre
    directions = np.linalg.svd(np.concatenate([a / math.sqrt(len(a)), b / math.sqrt(len(b))]), full_matrices=False)[2][:n]
    return a @ directions.T, b @ directions.T
