"""The same facts as Croissant (JSON-LD of MLCommons), with the fields of its extension for responsible AI.

Written by hand, because a dictionary is all that it is; the tests let ``mlcroissant`` read it, records and all.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.files import sha256
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.reports.cards.facts import Facts
from nnunet_synth_aug.reports.cards.words import intended, leave_sentences, limits, title

_CR = "http://mlcommons.org/croissant/"
_JSON = {"@type": "@json"}
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": _CR,
    "rai": f"{_CR}RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", **_JSON},
    "examples": {"@id": "cr:examples", **_JSON},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_WHOLE = {"seed", "ed_frame", "es_frame", "n_frames"}
_WORDS = {"sequence", "diagnosis", "vendor", "sex"}


def croissant(facts: Facts, licence: str) -> dict[str, Any]:
    """The content of ``croissant.json``.

    Args:
        facts: of the bank or generator.
        licence: as the card states it.
    """
    files, records = _files(facts)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [f"{_CR}1.0", f"{_CR}RAI/1.0"],
        "name": re.sub(r"\W+", "_", f"{facts.kind} {facts.dataset} fold {facts.fold}"),
        "description": f"{title(facts)}. See README.md beside this file.",
        "license": licence,
        "url": "README.md",
        "version": facts.version or "0.0.0",
        "citeAs": "nnunet-synth-aug; and the training patients' data set, as its owners ask for",
        "rai:dataCollection": _collection(facts),
        "rai:dataCollectionType": ["Synthetic"] if not facts.people else ["Synthetic", "Derived from cardiac MRI of patients"],
        "rai:dataManipulationProtocol": "Made by nnunet-synth-aug; settings are in "
        + ("generator.json." if facts.kind == "generator" else "manifest_*.json and index.json."),
        "rai:dataAnnotationProtocol": ["Masks are made together with the images, by the same model or warp; nobody drew them."],
        "rai:machineAnnotationTools": [f"nnunet-synth-aug {facts.version}"],
        "rai:dataBiases": limits(facts)[:1],
        "rai:dataLimitations": limits(facts),
        "rai:dataUseCases": intended(facts),
        "rai:dataSocialImpact": "Made for research on segmentation where few patients can be shared. Wrong masks could mislead a network.",
        "rai:personalSensitiveInformation": [_plain(line) for line in leave_sentences(facts)],
        "rai:dataReleaseMaintenancePlan": f"May it leave the site: {facts.leave.value}. 'synthaug card' brings this file up to date.",
        "distribution": files,
        "recordSet": records,
    }


def _collection(facts: Facts) -> str:
    of = [f"{len(facts.people)} training patients of {facts.dataset}, fold {facts.fold}"] if facts.people else []
    of += [f"{facts.phantoms} digital hearts"] if facts.phantoms else []
    verb = "A generator that was taught with" if facts.kind == "generator" else "Synthetic hearts made from"
    return f"{verb} {' and '.join(of)}."


def _files(facts: Facts) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What there is to download, and the tables in it."""
    if facts.kind == "generator":
        about = _file(GENERATOR_META, "application/json", sha256(facts.folder / GENERATOR_META))
        return [about, *(_file(name, "application/octet-stream", digest) for name, digest in facts.weights.items())], []
    files = [_set(f"{name}_cases", f"{name}/*", "application/octet-stream", "cases for nnU-Net's loader") for name in facts.cases]
    records = []
    for part in facts.parts:
        files += [
            _set(f"{part.source}_images", f"{part.folder}/*_image.nii.gz", "application/gzip", "4D images, NIfTI (X, Y, Z, T)"),
            _set(f"{part.source}_masks", f"{part.folder}/*_mask.nii.gz", "application/gzip", "their masks: 1 RV, 2 MYO, 3 LV"),
        ]
        table = f"{part.folder}/priors.csv"
        if (facts.folder / table).is_file():
            files.append(_file(table, "text/csv", sha256(facts.folder / table)))
            records.append(_records(facts.folder / table, table, f"{part.source}_hearts"))
    return files, records


def _file(name: str, kind: str, digest: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind, "sha256": digest}


def _set(name: str, includes: str, kind: str, about: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "description": about, "encodingFormat": kind, "includes": includes}


def _records(path: Path, table: str, name: str) -> dict[str, Any]:
    """One record per heart, with the columns of its ``priors.csv``."""
    with path.open(encoding="utf-8", newline="") as stream:
        columns = next(csv.reader(stream), [])
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": "One row per heart: what was asked for, and what its masks measure.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": column,
                "dataType": _kind(column),
                "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
            }
            for column in columns
        ],
    }


def _kind(column: str) -> str:
    if column in _WHOLE:
        return "sc:Integer"
    return "sc:Text" if column.removesuffix("_requested").removesuffix("_measured") in _WORDS else "sc:Float"


def _plain(markdown: str) -> str:
    return markdown.replace("**", "").replace("`", "").replace("\n- ", " ").removeprefix("- ")
