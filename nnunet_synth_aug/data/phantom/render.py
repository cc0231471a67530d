"""From anatomy to grey values: tissue signal, partial volume, coils, point spread and Rician noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from nnunet_synth_aug.data.phantom.details import Details
from nnunet_synth_aug.data.phantom.heart import ABSENT, BINS, RV_WALL, THETA, Contours, Heart, angle_to, contours
from nnunet_synth_aug.data.phantom.signal import Scan, Tissue, bssfp
from nnunet_synth_aug.data.phantom.stack import Plane, Stack, majority, ventricles, without_crumbs
from nnunet_synth_aug.data.phantom.thorax import Thorax, paint_thorax, smooth_field
from nnunet_synth_aug.data.phantom.torso import Torso, paint_torso


@dataclass(frozen=True)
class Appearance:
    """Settings of the image alone; none of them moves a mask."""

    scan: Scan
    blood_value: float  # grey value of unmodulated blood at the heart
    snr: float  # of blood
    bias: float
    resolution: float  # acquired share of k-space along the phase-encoding axis
    shim: float  # standard deviation of the field error in Hz
    centre: float  # Hz: the resonance frequency is set a little towards fat, away from its dark band
    fat: float  # mm of epicardial fat
    tissues: Mapping[str, Tissue]


def render(
    rng: np.random.Generator,
    heart: Heart,
    details: Details,
    surroundings: tuple[Thorax, Torso | None],
    stack: Stack,
    look: Appearance,
    activations: np.ndarray,
    shown: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Image int16 and exact mask uint8, both (T, X, Y, Z), of the frames ``shown`` of a cine with these activations in all its frames."""
    size, n_frames = stack.shape[:2], len(shown)
    off_resonance = smooth_field(rng, stack.shape, 1.6 * size[0]) * look.shim + look.centre
    textures = {
        name: 1 + 0.05 * smooth_field(rng, stack.shape, grain) for name, grain in (("fine", 5.0), ("middle", 10.0), ("coarse", 26.0))
    }
    flows = [smooth_field(rng, (*size, n), 7.0) for n in (3, 3)]
    # Nothing in the body is an ellipse: bend the surroundings by a few millimetres.
    bends = [smooth_field(rng, stack.shape, 36 / stack.spacing[0]) for _ in range(2)]
    image = np.empty((n_frames, *stack.shape), dtype=np.float32)
    mask = np.empty((n_frames, *stack.shape), dtype=np.uint8)
    reference = float(np.abs(bssfp(look.scan, look.tissues["blood"])))
    phases = np.linspace(0, 2 * np.pi, activations.size, endpoint=False)[shown]
    activations = activations[shown]
    for index in range(stack.shape[2]):
        tissues = _signals(look, off_resonance[..., index], {k: t[..., index] for k, t in textures.items()})
        plane = stack.plane(index)
        frames, mask[..., index] = _slice(
            heart, details, surroundings, stack, plane, index, look, activations, tissues, flows, phases, [b[..., index] for b in bends]
        )
        frames *= _coils(stack, index, look.bias) / reference
        image[..., index] = _acquire(rng, frames, look)
    return np.clip(np.round(image * look.blood_value), 0, 32767).astype(np.int16), mask


def _signals(look: Appearance, off_resonance: np.ndarray, textures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Complex signal (X, Y) of every tissue in one slice, with its texture."""
    grain = {
        "liver": "middle",
        "spleen": "middle",
        "stomach": "middle",
        "fat": "middle",
        "lung": "fine",
        "muscle": "fine",
        "marrow": "fine",
    }
    strength = {"lung": 5.0, "fat": 1.4, "stomach": 3.0, "liver": 1.6, "muscle": 2.5, "marrow": 3.0, "blood": 0.3}
    out = {}
    for name, tissue in look.tissues.items():
        texture = 1 + strength.get(name, 1.0) * (textures[grain.get(name, "fine")] - 1)
        out[name] = bssfp(look.scan, tissue, off_resonance) * np.maximum(texture, 0.1).astype(np.float32)
    out["air"] = np.zeros_like(out["lung"])
    return out


def _slice(
    heart: Heart,
    details: Details,
    surroundings: tuple[Thorax, Torso | None],
    stack: Stack,
    plane: Plane,
    index: int,
    look: Appearance,
    activations: np.ndarray,
    tissues: dict[str, np.ndarray],
    flows: list[np.ndarray],
    phases: np.ndarray,
    bends: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free complex frames and masks (T, X, Y) of one slice."""
    u, v = (axis + 3.0 * bend for axis, bend in zip(stack.body(index), bends, strict=True))
    thorax, torso = surroundings
    painted = [paint_thorax(thorax, u, v, float(z), plane.pixel, plane.step, tissues) for z in plane.z]
    if torso is not None:
        painted = [paint_torso(torso, thorax, one, u, v, float(z), plane.pixel, tissues) for one, z in zip(painted, plane.z, strict=True)]
    around = np.stack(painted).reshape(plane.z.size, -1)
    # Only pixels that the heart can reach are worth the work of every frame.
    still = contours(heart, plane.z, 0.0)
    limit = float(_outer(still, heart, 0.0, look.fat)[1].max()) + 8
    pixels = np.flatnonzero(plane.radius.min(axis=0) < limit)
    plane, near = plane.restricted(pixels), around[:, pixels]
    signal = {name: s.reshape(-1)[pixels] for name, s in tissues.items()}
    flow = [f.reshape(-1, f.shape[-1])[pixels] for f in flows]
    frames = np.repeat(around.mean(axis=0)[None], activations.size, axis=0)
    mask = np.zeros((activations.size, around.shape[1]), dtype=np.uint8)
    for t, activation in enumerate(activations):
        c = contours(heart, plane.z, float(activation))
        shares = ventricles(plane, c)
        mask[t, pixels] = majority(shares)
        muscle, lv_blood, rv_blood, fat, outside = _tissue_shares(
            plane, c, shares.lv, shares.myo, shares.rv, details, heart, float(activation), look.fat
        )
        # Blood entering the slice is unsaturated and eddies dephase it: brighter and patchier in systole and early filling.
        beat = float(activation) * (1 - float(activation)) * 4
        lv_flow, rv_flow = (
            1
            + (0.05 + 0.05 * beat) * (f[:, 0] + f[:, 1] * np.cos(phases[t]) + f[:, 2] * np.sin(phases[t])) / 1.5
            + 0.04 * beat
            - 0.03 * (k == 1)
            for k, f in enumerate(flow)
        )
        frames[t, pixels] = (
            muscle * signal["myocardium"]
            + (lv_blood * lv_flow + rv_blood * rv_flow) * signal["blood"]
            + fat * signal["fat"]
            + (outside * near).mean(axis=0)
        )
    shape = (activations.size, *stack.shape[:2])
    return frames.reshape(shape), np.stack([without_crumbs(m) for m in mask.reshape(shape)])


def _outer(c: Contours, heart: Heart, activation: float, fat: float) -> tuple[np.ndarray, np.ndarray]:
    """Outer border of the muscle and of the epicardial fat, (S, BINS) in mm."""
    wall = np.where(c.rv - c.epi > 0.5, RV_WALL, 0.0)
    muscle = np.where(c.rv > 0, c.rv + wall, ABSENT)
    # Smoothing over the angle bridges the grooves where the RV meets the LV: that is where the fat lies.
    smooth = gaussian_filter1d(muscle, 0.05 * BINS, axis=1, mode="wrap")
    side = angle_to(THETA, heart.septum)
    # Thick over the RV, thin on the lung's side and around the tip.
    thickness = fat * (0.1 + 0.9 * np.exp(-np.square(side / 1.3))) * (1 + 0.5 * activation) * np.clip(c.epi / 20, 0, 1)
    return muscle, np.where(c.rv > 0, np.maximum(muscle + 0.3, smooth + thickness), ABSENT)


def _tissue_shares(
    plane: Plane,
    c: Contours,
    lv: np.ndarray,
    myo: np.ndarray,
    rv: np.ndarray,
    details: Details,
    heart: Heart,
    activation: float,
    fat_mm: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slice averages (P,) of muscle, left and right blood, fat; and the rest per sub-slice (S, P)."""
    outer, pericardium = _outer(c, heart, activation, fat_mm)
    heart_share = plane.inside(outer)
    inside = np.maximum(plane.inside(pericardium), heart_share)
    lv_muscle = lv * details.lv_muscle(plane, c, plane.look_up(c.endo))
    rv_muscle = rv * details.rv_muscle(plane, c, plane.look_up(c.rv))
    wall = np.maximum(heart_share - plane.inside(c.rv), 0)
    left_atrium, right_atrium, root_wall, root = _atria(plane, c, heart)
    between = np.maximum(plane.inside(c.rv) * (1 - plane.below(c.base)) - left_atrium - right_atrium - root_wall - root, 0)
    muscle = lv_muscle + rv_muscle + myo + wall + 0.6 * root_wall + between
    left, right = lv - lv_muscle + left_atrium + root, rv - rv_muscle + right_atrium + 0.4 * root_wall
    fat = inside - heart_share
    return muscle.mean(axis=0), left.mean(axis=0), right.mean(axis=0), fat.mean(axis=0), 1 - inside


def _atria(plane: Plane, c: Contours, heart: Heart) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares (S, P) above the base plane of left atrium, right atrium, aortic wall and aortic root; the rest is groove fat.

    All four are unlabelled, as in the contours of real data, and follow the valve plane.
    """
    above = 1 - plane.below(c.base)
    if not above.any():
        nothing = np.zeros_like(plane.radius)
        return nothing, nothing, nothing, nothing
    side = angle_to(THETA, heart.septum)
    height = np.maximum(c.base - plane.z, 0)[:, None]
    epi = np.where(c.epi > 0, c.epi, 0)
    # The root stands between the atria, towards the septum and slightly superior.
    direction, distance, size = heart.septum - 0.35, 0.55 * epi.mean(), 0.4 * heart.radius + 1.5
    u = plane.radius * plane.look_up(np.tile(np.cos(THETA - direction), (plane.z.size, 1))) - distance
    v = plane.radius * plane.look_up(np.tile(np.sin(THETA - direction), (plane.z.size, 1)))
    offset = np.hypot(u, v)
    disc, ring = (np.clip((r - offset) / plane.pixel + 0.5, 0, 1) for r in (size, size + 1.8))
    left = plane.inside(np.maximum((epi - 3.5) * (0.97 - 0.12 * np.exp(-np.square(side / 0.9))) - 0.25 * height, 0)) * (1 - ring)
    right = np.maximum(plane.inside(c.rv - 1.5 - 0.15 * height) - plane.inside(epi + 1.0), 0) * (1 - ring)
    return left * above, right * above, (ring - disc) * above, disc * above


def _coils(stack: Stack, index: int, bias: float) -> np.ndarray:
    """Receive profile (X, Y): an anterior and a posterior array, 1 at the long axis, damped by the vendor's correction."""
    u, v = stack.body(index)

    def profile(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1 / (1 + (np.square(a - 105) + 0.4 * b**2) / 75**2) + 0.6 / (1 + (np.square(a + 170) + 0.4 * b**2) / 95**2)

    return ((profile(u, v) / profile(np.zeros(1), np.zeros(1))) ** bias).astype(np.float32)


def _acquire(rng: np.random.Generator, frames: np.ndarray, look: Appearance) -> np.ndarray:
    """Magnitude (T, X, Y) after k-space truncation, apodisation and complex noise, whose magnitude is Rician."""
    noise = rng.standard_normal((2, *frames.shape), dtype=np.float32) / look.snr
    k = fft.fft2(frames + noise[0] + np.complex64(1j) * noise[1], axes=(1, 2))
    windows = []
    for n, share in zip(frames.shape[1:], (1.0, look.resolution), strict=True):
        f = np.abs(np.fft.fftfreq(n)) * 2 / share
        # A Tukey window: flat to 60 % of the acquired band, so edges ring mildly.
        windows.append(np.where(f < 0.6, 1.0, np.where(f <= 1, 0.5 + 0.5 * np.cos(np.pi * (f - 0.6) / 0.4 * 0.85), 0.0)))
    return np.abs(fft.ifft2(k * (windows[0][:, None] * windows[1][None]).astype(np.float32), axes=(1, 2), overwrite_x=True))
