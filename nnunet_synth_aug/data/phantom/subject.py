"""One phantom patient, and cohorts of them."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nnunet_synth_aug.core.choices import Protocols
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.phantom.design import draw_heart, draw_slices, draw_stack, envelope
from nnunet_synth_aug.data.phantom.details import draw_details
from nnunet_synth_aug.data.phantom.fit import fit_heart
from nnunet_synth_aug.data.phantom.heart import Heart, volumes
from nnunet_synth_aug.data.phantom.motion import Cycle, draw_cycle
from nnunet_synth_aug.data.phantom.physiology import (
    AFTER_AGENT,
    PROTOCOLS,
    draw_priors,
    drawn_scan,
    nearest_field,
    refuse_what_no_phantom_has,
    slot,
)
from nnunet_synth_aug.data.phantom.render import Appearance, render
from nnunet_synth_aug.data.phantom.signal import TISSUES, Scan, after_agent, brighter
from nnunet_synth_aug.data.phantom.stack import Stack, label_frame
from nnunet_synth_aug.data.phantom.thorax import draw_thorax
from nnunet_synth_aug.data.phantom.torso import FAR, draw_torso


@dataclass(frozen=True)
class PhantomTruth:
    """What is known exactly of one phantom; curves (T,) are integrals of the analytic anatomy, not voxel counts."""

    phases: np.ndarray  # of every frame in [0, 1)
    lv_volume: np.ndarray  # mL
    myocardial_volume: np.ndarray  # mL, constant up to 1 %
    rv_volume: np.ndarray  # mL
    requested: Priors  # drawn or asked; what the fit aimed at
    heart: Heart
    cycle: Cycle
    stack: Stack

    def mask_at(self, phase: float) -> np.ndarray:
        """Exact mask (X, Y, Z) at any phase of the cycle; phase 1 is phase 0 again."""
        activation = float(self.cycle.activation(np.array(phase)))
        return label_frame(self.stack, self.stack.planes(), self.heart, activation)


@dataclass(frozen=True)
class PhantomSubject:
    """A phantom patient with the mask of every frame."""

    source: SourceSubject
    mask: np.ndarray  # uint8 (T, X, Y, Z)
    truth: PhantomTruth


def phantom_name(index: int, seed: int) -> str:
    """Of a patient of a cohort."""
    return f"phantom{seed}_{index:04d}"


def phantom_subject(
    index: int,
    seed: int = 0,
    *,
    diagnosis: str | None = None,
    vendor: str | None = None,
    priors: Priors | None = None,
    field: float | None = None,
    protocols: Protocols = "usual",
    stills: bool = False,
) -> PhantomSubject:
    """Make one patient; the result depends on the arguments alone.

    Args:
        index: case number from 0; decides diagnosis and vendor where they are not given.
        seed: of the cohort.
        diagnosis: one of `labels.DIAGNOSES`.
        vendor: one of `labels.VENDORS`.
        priors: any subset of priors to use instead of drawn ones; the measured ones then match them within 2 %
            (volumes, EDV, ESV, mass) or exactly (slices, slice thickness).
        field: side of a square field of view, mm; default the heart and what is beside it, 150 mm or more.
        protocols: "varied" changes the image and no contour: TR, TE and flip angle beyond the vendor's usual ones, contrast agent in three
            of ten, blood and muscle brighter or darker than usual, more coil shading and more noise, as hospitals differ.
        stills: ED and ES alone, in a third of the time; their masks are those of the cine's, their noise is another.

    Returns:
        image int16, masks uint8; ED is frame 0. `source.priors` holds what the voxels of the ED and ES masks measure.

    Raises:
        UserError: an impossible prior, or a combination that no heart of this anatomy has.
    """
    asked = (priors or Priors()).validated("phantom priors")
    asked = _agreed(_agreed(asked, "diagnosis", diagnosis), "vendor", vendor)
    if index < 0:
        raise UserError(f"phantom case {index} does not exist; count from 0")
    default_diagnosis, default_vendor = slot(index)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence((seed, index)).spawn(8)]
    requested = draw_priors(streams[0], asked.diagnosis or default_diagnosis, asked.vendor or default_vendor, asked)
    slices = draw_slices(streams[1], requested)
    requested = dataclasses.replace(requested, n_slices=slices.before + slices.n + slices.after, slice_thickness=float(slices.distance))
    first = draw_heart(streams[2], requested, slices)
    stack = draw_stack(streams[3], requested, slices, first)
    heart = fit_heart(first, stack, requested)

    assert requested.vendor is not None and requested.diagnosis is not None
    assert requested.height is not None and requested.weight is not None
    protocol = PROTOCOLS[requested.vendor]
    cycle = draw_cycle(streams[4], protocol.frames, requested.diagnosis)
    activations = cycle.activation(cycle.phases)
    thorax = draw_thorax(streams[5], requested.weight / (requested.height / 100) ** 2, envelope(heart), heart.radius + heart.wall)
    torso = None
    if field is not None and (wide := stack.widened(field, streams[7])) is not stack:
        stack, torso = wide, draw_torso(streams[7], thorax, heart.radius + heart.wall)
        thorax = dataclasses.replace(thorax, straight=FAR)
    details = draw_details(streams[5], heart.septum, heart.radius)
    look = _draw_appearance(streams[6], requested)
    if protocols == "varied":
        look = _varied(np.random.default_rng([seed, index, 1]), look, requested.vendor)
    shown = [0, int(activations.argmax())] if stills else list(range(activations.size))
    image, mask = render(streams[6], heart, details, (thorax, torso), stack, look, activations, shown)

    counts = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    es = int(np.argmin(counts))
    curves = np.array([volumes(heart, float(a)) for a in activations[shown]])
    measured = measure(mask[0], mask[es], stack.spacing)
    source = SourceSubject(
        patient=phantom_name(index, seed),
        image=image,
        is_cine=not stills,
        spacing=stack.spacing,
        ed=0,
        es=es,
        masks={"ED": mask[0], "ES": mask[es]},
        priors=requested.updated(measured),
        frame_seconds=0.0 if stills else cycle.frame_seconds,
    )
    truth = PhantomTruth(cycle.phases[shown], curves[:, 0], curves[:, 1], curves[:, 2], requested, heart, cycle, stack)
    return PhantomSubject(source, mask, truth)


def phantom_cohort(
    n: int,
    seed: int = 0,
    processes: int = 1,
    asked: PriorRequest | None = None,
    protocols: Protocols = "usual",
    stills: bool = False,
) -> Iterator[SourceSubject]:
    """``n`` patients, balanced over the diagnoses and vendors that are not asked for; patient i is the same whatever ``n`` is.

    Args:
        n: how many.
        seed: of the cohort.
        processes: that share the work; a few patients per process are in memory.
        asked: priors that every patient has, and ranges from which each draws its own.
        protocols, stills: as in :func:`phantom_subject`.

    Raises:
        UserError: a combination that no heart of this anatomy has.
    """
    refuse_what_no_phantom_has(asked or PriorRequest())
    source = partial(_source, seed=seed, asked=asked or PriorRequest(), protocols=protocols, stills=stills)
    if processes == 1:
        for index in range(n):
            yield source(index)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for first in range(0, n, 2 * processes):
            yield from pool.map(source, range(first, min(first + 2 * processes, n)))


def _source(index: int, seed: int, asked: PriorRequest, protocols: Protocols, stills: bool) -> SourceSubject:
    return phantom_subject(index, seed, priors=asked.draw(seed, index), protocols=protocols, stills=stills).source


def _agreed(asked: Priors, name: str, value: str | None) -> Priors:
    """``asked`` with the category ``name`` set to ``value``, which must not contradict it."""
    given = getattr(asked, name)
    if value is None or value == given:
        return asked
    if given is not None:
        raise UserError(f"phantom priors ask for the {name} {given} and the option for {value}; give one of them")
    change: dict[str, Any] = {name: value}
    return dataclasses.replace(asked, **change).validated("phantom priors")


def _draw_appearance(rng: np.random.Generator, priors: Priors) -> Appearance:
    assert priors.vendor is not None and priors.field_strength is not None
    protocol = PROTOCOLS[priors.vendor]
    nearest = nearest_field(protocol, priors.field_strength)
    flip = float(rng.uniform(*protocol.flip[nearest]))
    return Appearance(
        scan=Scan(protocol.tr, protocol.te, flip, priors.field_strength),
        blood_value=float(rng.uniform(*protocol.blood_value)),
        snr=float(rng.uniform(30, 60) * (1.25 if nearest > 2 else 1.0)),
        bias=float(protocol.bias * rng.uniform(0.7, 1.3)),
        resolution=protocol.resolution,
        shim=float(rng.uniform(6, 14) * nearest / 1.5),
        centre=-float(rng.uniform(15, 40)),
        fat=float(rng.uniform(2.0, 6.0)),
        tissues=TISSUES,
    )


def _varied(rng: np.random.Generator, look: Appearance, vendor: str) -> Appearance:
    tissues = {name: after_agent(tissue, name) for name, tissue in TISSUES.items()} if rng.uniform() < AFTER_AGENT else TISSUES
    factors = {"blood": float(rng.uniform(0.75, 1.3)), "myocardium": float(rng.uniform(0.85, 1.2))}
    return dataclasses.replace(
        look,
        scan=drawn_scan(rng, vendor, look.scan.field_strength),
        snr=float(rng.uniform(12, 50)),
        bias=look.bias * float(rng.uniform(0.5, 2.5)),
        tissues=brighter(tissues, factors),
    )
