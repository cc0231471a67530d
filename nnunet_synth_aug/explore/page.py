"""One HTML document with everything in it: style, script and data, for the server as for the exported file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.core.priors import VARIABLES
from nnunet_synth_aug.explore.hearts import FRAMES, SEEDS
from nnunet_synth_aug.model.generator import Generator, templates_of

_FILES = Path(__file__).with_name("page_files")
#: What the browser itself enforces: nothing is loaded from anywhere, and the page talks to its own server alone.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
SHIPPED = "the generator that ships with the package"
#: A slider's name, its explanation, its step, and where it begins; None: it begins unset, and is drawn to fit the others.
_SLIDERS: dict[str, tuple[str, str, float, float | None]] = {
    "lv_ef": ("Ejection fraction (EF)", "share of its blood that the left ventricle pumps out with a beat", 1, 60),
    "lv_edv": ("End-diastolic volume (EDV)", "blood in the left ventricle when it is fullest", 5, 150),
    "lv_mass": ("Muscle mass", "of the left ventricle's wall", 5, None),
    "rv_edv": ("Right ventricle (RV EDV)", "blood in the right ventricle when it is fullest", 5, None),
}
_DIAGNOSES = {
    "NOR": "normal",
    "MINF": "after an infarction",
    "DCM": "dilated cardiomyopathy",
    "HCM": "hypertrophic cardiomyopathy",
    "RV": "abnormal right ventricle",
}


def setup_of(generator: Generator, people: int) -> dict[str, Any]:
    """What the page is told of its generator.

    Args:
        generator: the one.
        people: how many patients taught it; 0 for phantoms alone.
    """
    known = [t.priors for t in templates_of(generator)]
    sliders = []
    for name, (title, meaning, step, start) in _SLIDERS.items():
        values = [float(v) for one in known if (v := getattr(one, name)) is not None]
        if not values:
            continue
        low, high = _ends(name, min(values), max(values), step)
        about = {"name": name, "title": title, "meaning": meaning, "unit": VARIABLES[name].unit, "step": step, "low": low, "high": high}
        middle = sorted(values)[len(values) // 2]
        sliders.append(about | {"start": min(max(start or round(middle / step) * step, low), high), "set": start is not None})
    groups = [d for d in DIAGNOSES if any(one.diagnosis == d for one in known)]
    of = generator.provenance
    return {
        "sliders": sliders,
        "diagnoses": [{"value": d, "title": f"{d}: {_DIAGNOSES[d]}"} for d in groups],
        "frames": {"low": FRAMES[0], "high": FRAMES[1], "start": 20},
        "seed": {"low": SEEDS[0], "high": SEEDS[1]},
        "people": people,
        "generator": f"the generator of {of['dataset']}, fold {of['fold']}" if of["split_hash"] else SHIPPED,
        "taught": f"{people} patients" if people else f"{len(of['patients'])} phantoms",
        "hearts": [],
    }


def document(setup: dict[str, Any], hearts: list[dict[str, Any]] | None = None) -> str:
    """The page.

    Args:
        setup: of :func:`setup_of`.
        hearts: those of an exported file; None: the page asks its server for them.
    """
    html, style, script = ((_FILES / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js"))
    data = json.dumps(setup | {"hearts": hearts or [], "live": hearts is None}, separators=(",", ":")).replace("<", "\\u003c")
    for mark, part in (("/*STYLE*/", style), ("/*SETUP*/null", data), ("/*SCRIPT*/", script), ("POLICY", POLICY)):
        before, found, after = html.partition(mark)
        if not found:
            raise ValueError(f"page.html lacks {mark}")
        html = before + part + after
    return html


def _ends(name: str, low: float, high: float, step: float) -> tuple[float, float]:
    """A slider's ends: a little beyond what the training hearts have, on whole steps, and within what hearts have."""
    variable, room = VARIABLES[name], 0.1 * (high - low)
    return max(variable.low, (low - room) // step * step), min(variable.high, -(-(high + room) // step) * step)
