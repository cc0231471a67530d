"""The short-axis stack of a patient, among all other images of an examination.

Images of one place and one technique are a slice; a slice whose images follow each other as frames of one heartbeat is a cine; parallel
cines behind each other are a stack. Which series an image is in, and how its file is called, plays no part.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import MOST_MOVED
from nnunet_synth_aug.core.priors import VARIABLES
from nnunet_synth_aug.data.importers.dicom_files import Frame, number

#: A cine has so many frames at least, so many milliseconds apart, and lasts no longer than one slow heartbeat.
_FRAMES, _STEP, _LONGEST = 8, (5.0, 200.0), 2200.0
#: Steps in time, and distances of slices, that are larger than the usual one by this factor tell that something is missing.
_MISSING = 1.5
#: Slices are equally far apart if no distance differs by more than this share.
_EVEN = 0.05
#: Images are parallel if no axis is turned by more than this, in degrees; slices closer than this, in mm, are one slice.
_PARALLEL, _SAME_SLICE = 0.5, 0.5
#: The normal of a short axis points to the apex: left, front and down, within this angle in degrees.
_TO_APEX, _MOST_TILTED = np.array([1.0, -1.0, -1.0]) / np.sqrt(3), 45.0
_FEWEST = int(VARIABLES["n_slices"].low)
#: Slices with another number of frames that may be left out at the ends.
_MOST_LEFT_OUT = 2

#: Words in the description of a series: the short axis, other views, and techniques that show something else than a plain heartbeat.
_SHORT_AXIS = {"sa", "sax", "ssax", "short", "shortaxis", "kurz", "kurzachse", "court", "petit"}
_VIEWS = {
    "2ch", "3ch", "4ch", "2c", "3c", "4c", "ch", "chamber", "lax", "la", "hla", "vla", "long", "rvot", "lvot", "aorta", "aortic", "valve",
    "axial", "transversal", "tra", "coronal", "sagittal",
}  # fmt: skip
_TECHNIQUES = {
    "loc", "localizer", "localiser", "scout", "survey", "haste", "perf", "perfusion", "dynamic", "tag", "tagging", "tagged", "spamm",
    "lge", "late", "delayed", "psir", "viability", "t1", "t2", "molli", "shmolli", "map", "mapping", "stir",
    "flow", "pc", "velocity", "venc", "realtime", "rt", "real",
}  # fmt: skip
#: Parts of ImageType that say that pixels hold no magnitude.
_NO_MAGNITUDE = {"p", "phase", "phase map", "velocity map", "velocity", "r", "i"}


@dataclass(frozen=True)
class Cine:
    """One slice over one heartbeat."""

    frames: tuple[Frame, ...]  # in time
    step: float  # ms between frames; 0 if the headers do not say
    series: int  # its number
    defect: str  # why it cannot be used; "" if it can
    members: tuple[Frame, ...]  # all images of it, also of earlier acquisitions in one series

    @property
    def first(self) -> Frame:
        """Its first frame; all have one place."""
        return self.frames[0]


@dataclass(frozen=True)
class Stack:
    """Parallel cines of one size, along their normal; some may lie in one place."""

    cines: tuple[Cine, ...]

    @cached_property
    def normal(self) -> np.ndarray:
        """Unit vector through the slices, towards the apex: ACDC's stacks begin at the base."""
        normal = self.cines[0].first.normal
        return normal if float(normal @ _TO_APEX) >= 0 else -normal

    @cached_property
    def places(self) -> list[list[Cine]]:
        """The cines of each slice, the later acquisition last."""
        found: list[list[Cine]] = []
        for cine in sorted(self.cines, key=self.depth):
            if found and self.depth(cine) - self.depth(found[-1][-1]) < _SAME_SLICE:
                found[-1].append(cine)
            else:
                found.append([cine])
        return [sorted(cines, key=lambda cine: cine.first.order) for cines in found]

    def depth(self, cine: Cine) -> float:
        """Mm along the normal."""
        return float(cine.first.position @ self.normal)

    @property
    def words(self) -> set[str]:
        """Words of the descriptions of its series."""
        return set().union(*(_words(cine.first) for cine in self.cines))

    @property
    def tilt(self) -> float:
        """Degrees between its normal and the usual direction of a short axis."""
        return float(np.degrees(np.arccos(min(1.0, abs(float(self.normal @ _TO_APEX))))))

    @property
    def fault(self) -> str:
        """Why it is no short-axis stack; "" if it may be one."""
        if len(self.places) < _FEWEST:
            return f"{len(self.places)} slice{'s' if len(self.places) > 1 else ''}"
        named = self.words & _SHORT_AXIS
        if other := sorted(self.words & (_TECHNIQUES if named else _TECHNIQUES | _VIEWS)):
            return f"described as {' '.join(other)}"
        if self.tilt > _MOST_TILTED and not named:
            return f"its normal is {self.tilt:.0f} degrees off a short axis"
        return ""


def short_axis(frames: list[Frame], patient: str) -> tuple[tuple[Cine, ...], list[str]]:
    """The short-axis stack of one patient.

    Args:
        frames: all images of the patient.
        patient: for the sentences.

    Returns:
        its slices from base to apex, all with the same number of frames, and notes; no slice where the images hold no short-axis stack.

    Raises:
        UserError: a slice or a frame is missing or has no counterpart.
    """
    cines = _cines(frames)
    stacks = _stacks(cines)
    possible = [stack for stack in stacks if not stack.fault]
    if not possible:
        faults: dict[str, list[Cine]] = defaultdict(list)
        for stack in stacks:
            faults[stack.fault] += stack.cines
        seen = "; ".join(f"series {_series(cines)}: {fault}" for fault, cines in sorted(faults.items()))
        return (), [f"no short-axis stack of cines ({seen or 'no cine at all'})"]
    chosen = max(possible, key=_preference)
    notes = []
    others = [cine for stack in possible if stack is not chosen for cine in stack.cines]
    if others:
        notes.append(f"has several short-axis stacks; that of most slices, or else the later, was taken (not series {_series(others)})")
    slices, said = _one_each(chosen)
    if defects := [cine.defect for cine in slices if cine.defect]:
        raise UserError(f"{patient}: {defects[0]}")
    slices, cut = _same_frames(slices, patient)
    _refuse_uneven(slices, patient)
    return slices, [*notes, *said, *cut, *_no_cines(frames, cines, slices)]


def _no_cines(frames: list[Frame], cines: list[Cine], slices: tuple[Cine, ...]) -> list[str]:
    """A note if images of the series that were taken are in no cine."""
    series = {cine.first.tags["series"]: cine.series for cine in slices}
    known = {frame.tags["uid"] for cine in cines for frame in cine.members}
    left = [series[frame.tags["series"]] for frame in frames if frame.tags["series"] in series and frame.tags["uid"] not in known]
    which = ", ".join(map(str, sorted(set(left))))
    return [f"images that are part of no cine were passed over ({len(left)} in series {which})"] if left else []


def _preference(stack: Stack) -> tuple[bool, int, object]:
    return bool(stack.words & _SHORT_AXIS), len(stack.places), max(cine.first.order for cine in stack.cines)


def _words(frame: Frame) -> set[str]:
    """Words of the description of a series."""
    return set(re.findall(r"[0-9]?[a-z]+[0-9]*", (frame.tags["description"] or frame.tags["protocol"]).lower()))


def _series(cines: Iterable[Cine]) -> str:
    return ", ".join(map(str, sorted({cine.series for cine in cines})))


def _cines(frames: list[Frame]) -> list[Cine]:
    slices: dict[object, list[Frame]] = defaultdict(list)
    for frame in frames:
        place = (*frame.position.round(2), *frame.axes.ravel().round(3))
        slices[frame.tags["series"], place, _technique(frame)].append(frame)
    return [cine for group in slices.values() for part in _acquisitions(group) if (cine := _cine(part)) is not None]


def _acquisitions(frames: list[Frame]) -> list[list[Frame]]:
    """The frames of a slice apart, if it was scanned several times in one series."""
    parts: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[frame.tags["acquisition"]].append(frame)
    return list(parts.values()) if min(map(len, parts.values())) >= _FRAMES else [frames]


def _technique(frame: Frame) -> tuple[object, ...]:
    """What images have in common that belong to one stack."""
    tags = frame.tags
    signal = _NO_MAGNITUDE & {part.strip().lower() for part in tags["type"].split("\\")[2:]}
    echo, inversion = number(tags["echo"]) or 0.0, number(tags["inversion"]) or 0.0
    pixel = (round(frame.pixel[0], 3), round(frame.pixel[1], 3))
    return tags["study"], frame.shape, pixel, tags["sequence"], round(echo, 1), round(inversion), frozenset(signal)


def _cine(frames: list[Frame]) -> Cine | None:
    """The frames of a slice in time; None if they are no cine."""
    triggers = [frame.trigger for frame in frames]
    timed = None not in triggers and len(set(triggers)) > 1
    if not timed and any(trigger is not None for trigger in triggers):
        return None  # several images of one moment, such as echoes
    moments: dict[float, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.order):
        moments[(frame.trigger if timed else number(frame.tags["instance"])) or 0.0].append(frame)
    times = sorted(moments)
    if len(times) < _FRAMES or _technique(frames[0])[-1]:
        return None
    steps = np.diff(times)
    usual, gap = float(np.median(steps)), int(steps.argmax())
    if timed and not (_STEP[0] <= usual < _STEP[1] and times[-1] - times[0] + usual <= _LONGEST):
        return None
    defect = ""
    if len({len(found) for found in moments.values()}) > 1:
        few = min(moments.values(), key=len)[0]
        defect = f"the slice of {few.path} was scanned several times, and frames are missing in some; complete it, or remove one of them"
    elif steps[gap] > _MISSING * usual:
        before, after = moments[times[gap]][-1], moments[times[gap + 1]][-1]
        defect = f"a frame is missing between {before.path} and {after.path}; copy it, or remove this slice"
    taken = tuple(moments[time][-1] for time in times)
    return Cine(taken, usual if timed else 0.0, int(number(taken[0].tags["number"]) or 0), defect, tuple(frames))


def _stacks(cines: list[Cine]) -> list[Stack]:
    """Cines that lie behind each other, of one size and technique, together."""
    groups: list[list[Cine]] = []
    for cine in sorted(cines, key=lambda cine: cine.first.order):
        home = next((group for group in groups if _behind(group[0].first, cine.first)), None)
        if home is None:
            groups.append([cine])
        else:
            home.append(cine)
    return [Stack(tuple(group)) for group in groups]


def _behind(one: Frame, other: Frame) -> bool:
    if _technique(one) != _technique(other) or (one.axes * other.axes).sum(1).min() < np.cos(np.radians(_PARALLEL)):
        return False
    if _words(one) & _TECHNIQUES != _words(other) & _TECHNIQUES:
        return False
    aside = one.axes @ (other.position - one.position)
    return bool(np.abs(aside).max() <= MOST_MOVED * min(one.pixel))


def _one_each(stack: Stack) -> tuple[tuple[Cine, ...], list[str]]:
    """One cine for each slice: the later one, of those with the usual number of frames if there are such."""
    usual = Counter(len(cines[-1].frames) for cines in stack.places).most_common(1)[0][0]
    taken = [next((one for one in reversed(cines) if len(one.frames) == usual and not one.defect), cines[-1]) for cines in stack.places]
    counted = [sum(len(cine.members) for cine in cines) for cines in stack.places]
    repeated = [place for place, (n, cine) in enumerate(zip(counted, taken, strict=True), 1) if n > len(cine.frames)]
    if not repeated:
        return tuple(taken), []
    kept = _series(taken[place - 1] for place in repeated)
    which = ", ".join(map(str, repeated))
    return tuple(taken), [f"slices that were scanned again: the later acquisition was taken (slice {which}, from series {kept})"]


def _same_frames(slices: tuple[Cine, ...], patient: str) -> tuple[tuple[Cine, ...], list[str]]:
    """The slices without those at the ends that have another number of frames than most."""
    counts = [len(cine.frames) for cine in slices]
    usual = Counter(counts).most_common(1)[0][0]
    same = [place for place, count in enumerate(counts) if count == usual]
    kept = slices[same[0] : same[-1] + 1]
    if len(kept) != len(same) or len(kept) < _FEWEST or len(slices) - len(kept) > _MOST_LEFT_OUT:
        odd = next(cine for cine in slices if len(cine.frames) != usual)
        raise UserError(
            f"{patient}: the slice of {odd.first.path} (series {odd.series}) has {len(odd.frames)} frames where most slices of its stack "
            f"have {usual}; copy the missing files, or move this slice away"
        )
    left = [cine for cine in slices if cine not in kept]
    said = f"slices at an end with another number of frames than the others were left out (series {_series(left)})"
    return kept, [said] if left else []


def _refuse_uneven(slices: tuple[Cine, ...], patient: str) -> None:
    """Raise UserError where a slice is missing, or slices are not equally far apart."""
    depths = np.array([float(cine.first.position @ slices[0].first.normal) for cine in slices])
    distances = np.abs(np.diff(depths))
    usual = float(np.median(distances))
    between = [f"the slices of {one.first.path} and {other.first.path}" for one, other in itertools.pairwise(slices)]
    for place, distance in enumerate(distances):
        if distance > _MISSING * distances.min():
            raise UserError(
                f"{patient}: between {between[place]} there are {distance:.3g} mm where others are {distances.min():.3g} mm apart, so "
                f"slice {place + 2} is missing; copy it, or move the slices on one side of it away"
            )
    for place, distance in enumerate(distances):
        if abs(distance - usual) > _EVEN * usual:
            raise UserError(
                f"{patient}: {between[place]} are {distance:.4g} mm apart where others are {usual:.4g} mm; an image needs equal distances: "
                "move the slice that was planned otherwise away"
            )
