"""Realism report: how far generated hearts are from real ones, beside how far real ones are from each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.cycle import CLOSED
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.reports.cines import Cine, patients, real_cine, sequence_ids, synthetic_cine
from nnunet_synth_aug.reports.realism.distances import MIN_GROUPS, compare, two_sample_p
from nnunet_synth_aug.reports.realism.features import FAMILIES, descriptors, principal_components, segmenter_features
from nnunet_synth_aug.reports.realism.figures import descriptor_figure, distance_figure, temporal_figure
from nnunet_synth_aug.reports.realism.fvd import CLIPS_PER_HEART, PROTOCOL, VideoNetwork, clips, enough_clips
from nnunet_synth_aug.reports.realism.temporal import image_statistics, mask_statistics, volume_curve

#: ES earlier or later than this share of the cycle is not a heartbeat at rest.
ES_RANGE = (0.2, 0.55)
ALPHA = 0.05


@dataclass
class Hearts:
    """What is kept of one side, one entry per heart."""

    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    descriptors: list[dict[str, float]] = field(default_factory=list)
    image: list[dict[str, float]] = field(default_factory=list)  # temporal statistics of the image
    mask: list[dict[str, float]] = field(default_factory=list)  # of the masks; empty where not every frame has one
    curves: list[np.ndarray] = field(default_factory=list)  # (T,) LV volume over EDV, where every frame has a mask
    seg: list[np.ndarray] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)  # (clips of the heart, d)

    def add(self, cine: Cine, segmenter: Any, video: VideoNetwork | None) -> None:
        """Measure one heart; its voxels are not kept."""
        self.ids.append(cine.id)
        self.groups.append(cine.group)
        self.descriptors.append(descriptors(cine))
        self.image.append(image_statistics(cine))
        self.mask.append(mask_statistics(cine))
        if self.mask[-1]:
            self.curves.append(volume_curve(cine))
        if segmenter is not None:
            self.seg.append(segmenter_features(segmenter, cine))
        if video is not None:
            self.clips.append(video.features(clips(cine)) if cine.moving else np.empty((0, 0)))

    def table(self, names: tuple[str, ...]) -> tuple[np.ndarray, list[str], list[str]]:
        """Rows (n, d) of the hearts for which every named descriptor is known, their groups and ids."""
        rows = np.array([[d[n] for n in names] for d in self.descriptors])
        known = np.flatnonzero(np.isfinite(rows).all(axis=1))
        return rows[known], [self.groups[i] for i in known], [self.ids[i] for i in known]

    def statistic(self, name: str) -> list[float]:
        """One distance, of images and of masks."""
        return [values[name] for values in (*self.image, *self.mask) if name in values]


def realism_report(
    generator: Generator, cohort: Cohort, sequences: Path, out: Path, segmenter: Any = None, fvd_weights: Path | None = None
) -> dict[str, Any]:
    """Write realism.json and three figures into ``out``.

    Args:
        generator: the trained one that made the sequences.
        cohort: with its training patients and others.
        sequences: a folder written by ``synthesis.sampling.sample_to_folder``.
        out: made if missing.
        segmenter: an independent nnU-Net trained on real patients, for FD-seg: see :func:`features.segmenter_features`.
        fvd_weights: the user's TorchScript I3D, for the FVD.

    Returns:
        what realism.json holds.
    """
    video = None if fvd_weights is None else VideoNetwork(fvd_weights, generator.device)
    ids = sequence_ids(generator, sequences)
    training, held_out = patients(generator, cohort)
    real, synthetic = Hearts(), Hearts()
    subjects = [*training, *held_out]
    if video is not None:
        enough_clips(CLIPS_PER_HEART * sum(s.cine is not None for s in subjects), CLIPS_PER_HEART * len(ids))
    with progress("measuring hearts", len(subjects) + len(ids)) as bar:
        for done, subject in enumerate(subjects, 1):
            real.add(real_cine(generator, subject), segmenter, video)
            bar.advance(done, subject.patient)
        for done, sequence_id in enumerate(ids, 1):
            synthetic.add(synthetic_cine(generator, sequences, sequence_id), segmenter, video)
            bar.advance(len(subjects) + done, sequence_id)
    unseen = {s.patient for s in held_out}
    distances = _descriptor_distances(real, synthetic, unseen)
    if segmenter is not None:
        a, b = principal_components(np.stack(real.seg), np.stack(synthetic.seg))
        distances["FD-seg"] = _distance(a, real.groups, b, synthetic.groups)
    if video is not None:
        distances["FVD"] = _fvd(real, synthetic, video)
    report: dict[str, Any] = {
        "reference": {"training": len(training), "held_out": len(held_out)},
        "n_synthetic": len(ids),
        "unit": "patients, and requests: hearts made for the same priors are resampled together",
        "distances": distances,
        "descriptors": _descriptor_table(real, synthetic),
        "temporal": {"real": _temporal(real), "synthetic": _temporal(synthetic)},
        "notes": _notes(distances, real, segmenter, video),
    }
    write_json(out / "realism.json", report)
    distance_figure(distances, out / "realism_distances.png")
    descriptor_figure(report["descriptors"], out / "realism_descriptors.png")
    ours, theirs = ({n: side.statistic(n) for n in ("closure", "jerk")} for side in (real, synthetic))
    temporal_figure(ours, theirs, synthetic.curves, out / "realism_temporal.png")
    return report


def _distance(
    real: np.ndarray, real_groups: list[str], synthetic: np.ndarray, synthetic_groups: list[str], **options: Any
) -> dict[str, Any]:
    found = compare(real, real_groups, synthetic, synthetic_groups, **options)
    return {
        "n_real": len(real),
        "n_synthetic": len(synthetic),
        "features": real.shape[1],
        "p": two_sample_p(real, real_groups, synthetic, synthetic_groups, standardise=options.get("shrink", True)),
        "distances": [asdict(d) for d in found],
    }


def _descriptor_distances(real: Hearts, synthetic: Hearts, unseen: set[str]) -> dict[str, dict[str, Any]]:
    """FD-cine on all descriptors, per family, and on the patients that the generator never saw."""
    everything = tuple(name for names in FAMILIES.values() for name in names)
    out = {}
    for title, names in (("FD-cine", everything), *((f"FD-cine, {family}", names) for family, names in FAMILIES.items())):
        a, a_groups, a_ids = real.table(names)
        b, b_groups, _ = synthetic.table(names)
        if min(len(set(a_groups)), len(set(b_groups))) < MIN_GROUPS:
            continue  # e.g. no cines: the families that can be told are still there
        out[title] = _distance(a, a_groups, b, b_groups)
        rows = [i for i, name in enumerate(a_ids) if name in unseen]
        if title == "FD-cine" and len(rows) >= MIN_GROUPS:
            out["FD-cine, held-out patients"] = _distance(a[rows], [a_groups[i] for i in rows], b, b_groups)
    if not out:
        raise UserError(
            f"fewer than {MIN_GROUPS} real or generated hearts have masks of all structures at ED and ES; "
            "sample more hearts, or use a larger cohort"
        )
    return out


def _fvd(real: Hearts, synthetic: Hearts, video: VideoNetwork) -> dict[str, Any]:
    sides = []
    for side in (real, synthetic):
        rows = [row for rows in side.clips for row in rows]
        sides.append((rows, [group for group, rows in zip(side.groups, side.clips, strict=True) for _ in rows]))
    (a, a_groups), (b, b_groups) = sides
    found = _distance(np.array(a), a_groups, np.array(b), b_groups, shrink=False, resamples=100)
    return {"weights_sha256": video.digest, "protocol": PROTOCOL, **found}


def _descriptor_table(real: Hearts, synthetic: Hearts, resamples: int = 1000) -> dict[str, dict[str, float]]:
    """Quartiles of every descriptor, and the shift of its mean in real standard deviations with its bootstrap interval."""
    rng = np.random.default_rng(0)
    out = {}
    for family, names in FAMILIES.items():
        for name in names:
            sides = [_grouped_means(side, name) for side in (real, synthetic)]
            row: dict[str, Any] = {"family": family}
            for title, side in (("real", real), ("synthetic", synthetic)):
                row |= {f"{title}_{k}": v for k, v in _quartiles([d[name] for d in side.descriptors]).items()}
            shift = low = high = np.nan
            if min(len(s) for s in sides) >= 2 and (spread := float(np.std(sides[0], ddof=1))) > 1e-9:
                shift = float((sides[1].mean() - sides[0].mean()) / spread)
                draws = [s[rng.integers(0, len(s), (resamples, len(s)))].mean(axis=1) for s in sides]
                low, high = np.percentile((draws[1] - draws[0]) / spread, (2.5, 97.5))
            out[name] = row | {"shift": shift, "shift_low": float(low), "shift_high": float(high)}
    return out


def _grouped_means(side: Hearts, name: str) -> np.ndarray:
    """One value per patient or request."""
    values: dict[str, list[float]] = {}
    for group, row in zip(side.groups, side.descriptors, strict=True):
        if np.isfinite(row[name]):
            values.setdefault(group, []).append(row[name])
    return np.array([np.mean(v) for v in values.values()])


def _quartiles(values: list[float]) -> dict[str, Any]:
    known = [v for v in values if np.isfinite(v)]
    low, middle, high = np.percentile(known, (25, 50, 75)) if known else (np.nan,) * 3
    return {"n": len(known), "median": float(middle), "q25": float(low), "q75": float(high)}


def _temporal(side: Hearts) -> dict[str, Any]:
    """Quartiles of the temporal statistics; those of masks only where every frame has one."""
    out: dict[str, Any] = {name: _quartiles(side.statistic(name)) for name in ("closure", "jerk")}
    # A cine that stops before the cycle ends cannot close: the reference for a generator is what is left without those.
    out["closure_without_gaps"] = _quartiles([v for v in side.statistic("closure") if v < CLOSED])
    if minima := side.statistic("lv_minima"):
        fractions = np.array(side.statistic("es_fraction"))
        out |= {name: _quartiles(side.statistic(name)) for name in ("es_fraction", "mass_variation", "label_flips")}
        out["share_with_one_lv_minimum"] = float(np.mean(np.array(minima) == 1))
        out["share_with_plausible_es"] = float(np.mean((fractions >= ES_RANGE[0]) & (fractions <= ES_RANGE[1])))
    return out


def _notes(distances: dict[str, dict[str, Any]], real: Hearts, segmenter: Any, video: VideoNetwork | None) -> list[str]:
    """What a reader must know, and what the distances say, in plain words."""
    out = []
    for title, entry in distances.items():
        d = entry["distances"][0]
        told = entry["p"] < ALPHA
        out.append(
            f"{title} ({entry['n_real']} real, {entry['n_synthetic']} generated): at {d['n_matched']} against {d['n_matched']} the "
            f"Frechet distance is {d['matched']:.3g}, between real and real {d['floor']:.3g} (95 % range {d['floor_low']:.3g} to "
            f"{d['floor_high']:.3g}): "
            + ("generated hearts can be told from real ones by these features" if told else "no evidence that generated hearts differ")
            + f" (permutation test of the kernel distance, p = {entry['p']:.3g})."
        )
    if not any(real.mask):
        out.append("Real cines have masks at ED and ES only, so that statistics of masks over the cycle have no real counterpart here.")
    if "FD-cine" not in distances:
        out.append("FD-cine on all descriptors needs cines with masks of all structures at ED and ES; too few have them: see the families.")
    if segmenter is None:
        out.append("FD-seg was left out: it needs an independent nnU-Net trained on real patients.")
    if video is None:
        out.append("FVD was left out: it needs the TorchScript weights of I3D, which this package does not contain.")
    return out
