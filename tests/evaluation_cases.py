"""What ``synthaug evaluate`` and ``benchmark`` make of inputs as people have them; the page of inputs is made of it, too.

``test_evaluation_remarks.py`` and ``test_benchmark_reading.py`` try every case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from evaluation_study import heart

SPACING = (1.5, 1.5, 8.0)
PREDICTED = [f"p{i}_{phase}" for i in (1, 2, 3) for phase in ("ED", "ES")]


@dataclass(frozen=True)
class Evaluated:
    """Predictions that are scored."""

    what: str
    change: Callable[[Path], object]  # of the folders ``gt`` and ``pred`` that :func:`make_folders` makes
    says: str  # part of the sentence
    outcome: str = "understood"  # or "refused"
    topic: str = "Predictions (`evaluate`, `compare`)"


@dataclass(frozen=True)
class Studied:
    """A study file that cannot run."""

    what: str
    says: str
    change: dict[str, Any] = field(default_factory=dict)  # of a study of 20 phantoms
    outcome: str = "refused"
    topic: str = "Study files (`benchmark`, also with `--dry-run`)"


def save(path: Path, mask: np.ndarray, spacing: tuple[float, ...] = SPACING, place: bool = True) -> None:
    """A mask in a file, with or without a place in its header."""
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(mask, np.diag([*spacing, 1]))
    image.header.set_zooms(spacing)
    if not place:
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
    nib.save(image, path)


def make_folders(root: Path) -> None:
    """Ground truth ``gt`` and predictions ``pred`` of three patients."""
    for i, case in enumerate(PREDICTED):
        save(root / "gt" / f"{case}.nii", heart(6 + i % 3))
        save(root / "pred" / f"{case}.nii", np.roll(heart(6 + i % 3), 1, axis=0))


def again(*sides: str, cases: list[str] = PREDICTED, **how: Any) -> Callable[[Path], object]:
    """Files written anew with another header."""

    def change(root: Path) -> None:
        for path in (root / side / f"{case}.nii" for side in sides for case in cases):
            save(path, np.asanyarray(nib.load(path).dataobj).copy(), **how)

    return change


def relabelled(*values: int, cases: list[str] = PREDICTED) -> Callable[[Path], object]:
    """Predictions with 1, 2 and 3 replaced."""

    def change(root: Path) -> None:
        for path in (root / "pred" / f"{case}.nii" for case in cases):
            save(path, np.array([0, *values], np.uint8)[np.asanyarray(nib.load(path).dataobj)])

    return change


def results_beside(root: Path) -> None:
    (root / "out").mkdir()
    (root / "out" / "summary.json").write_text('{"metric_per_case": []}')


EVALUATED = [
    Evaluated(
        "1 x 1 x 1 mm in all headers",
        again("gt", "pred", spacing=(1.0, 1.0, 1.0)),
        "Headers of the ground truth say 1 x 1 x 1 mm, which no stack of a heart has: the sizes were lost or are wrong",
    ),
    Evaluated(
        "headers without a place (no `sform`, no `qform`)",
        again("pred", cases=PREDICTED[:2], place=False),
        "voxels were compared in the order of the files, and a mirrored mask would not be noticed: p1_ED, p1_ES",
    ),
    Evaluated(
        "RV and MYO exchanged in all predictions",
        relabelled(2, 1, 3),
        "In 6 of 6 predictions the predicted RV lies on the true MYO and the predicted MYO lies on the true RV (p1, p2, p3)",
    ),
    Evaluated(
        "LV and RV exchanged in one patient",
        relabelled(3, 2, 1, cases=PREDICTED[2:4]),
        "In 2 of 6 predictions the predicted RV lies on the true LV and the predicted LV lies on the true RV (p2)",
    ),
    Evaluated(
        "`-o` into a folder with another program's files of the same name",
        results_beside,
        "holds summary.json, which 'synthaug evaluate' did not write and would replace; choose another folder",
        "refused",
    ),
]


def named(*sets: dict[str, Any]) -> list[dict[str, Any]]:
    """Test sets with names."""
    return [{"name": f"set{number}"} | one for number, one in enumerate(sets)]


ACDC, MNMS = {"source": "acdc", "folder": "acdc"}, {"source": "mnms", "folder": "mnms"}
_SLURM = {"executor": "slurm"}
_LEAK = "leads to the patients of data, so the networks would be tested on whom they learnt from; leave this test set out"
STUDIES = [
    Studied(
        "more hearts than a command takes",
        "data.hearts is 1000000000; it must be a whole number from 2 to 10000",
        {"data": {"source": "phantom", "hearts": 10**9}},
    ),
    Studied(
        "more folds than hearts",
        "data.hearts is 2, too few for data.splits, 5; give more hearts",
        {"data": {"source": "phantom", "hearts": 2}},
    ),
    Studied(
        "999999999 folds", "data.splits is 999999999; it must be a whole number from 2 to 1000", {"data": ACDC | {"splits": 999999999}}
    ),
    Studied(
        "a seed that no random numbers take", "seeds[0] is 4294967296; it must be a whole number from 0 to 4294967295", {"seeds": [2**32]}
    ),
    Studied(
        "hearts that no phantom is",
        "data.prior: a phantom's lv_ef lies between 3 and 89 %",
        {"data": {"source": "phantom", "hearts": 6, "prior": ["lv_ef=2"]}},
    ),
    Studied("a setting that the generator does not have", "generator.set: --set a=b: a is not a setting", {"generator": {"set": ["a=b"]}}),
    Studied("a setting without a value", "generator.set: 'vae' is not of the form NAME=VALUE", {"generator": {"set": ["vae"]}}),
    Studied(
        "a scanner that does not exist", "bank.vendors: there is no 'Foo'; give all, own, or some of Siemens", {"bank": {"vendors": "Foo"}}
    ),
    Studied(
        "a scanner that no patient was in",
        "data.vendors: acdc has no patient of GE, only of Siemens; correct it",
        {"data": ACDC | {"vendors": ["GE"]}},
    ),
    Studied("the data's own folder as a test set", f"tests[0].folder {_LEAK}", {"data": ACDC, "tests": named(ACDC)}),
    Studied("a folder in it", f"tests[0].folder {_LEAK}", {"data": ACDC, "tests": named(ACDC | {"folder": "acdc/patient001"})}),
    Studied("the data's own phantoms", f"tests[0].seed {_LEAK}", {"tests": named({"source": "phantom", "hearts": 5})}),
    Studied(
        "test sets `a` and `A`, one folder on some disks",
        "tests[1].name: the name A is taken; give every test set its own",
        {"tests": [{"name": "a"} | MNMS, {"name": "A"} | MNMS]},
    ),
    Studied(
        "a time limit that is no number",
        "slurm.timeout_min is 'nope'; it must be a whole number of at least 1",
        _SLURM | {"slurm": {"timeout_min": "nope"}},
    ),
    Studied(
        "parameters that submitit does not have", "slurm: submitit does not take this", _SLURM | {"slurm": {"timeout_min": 5, "part": 1}}
    ),
]
