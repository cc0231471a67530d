"""The controllability report on hearts whose volumes are known, with a segmenter that reads the image literally."""

import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.reports.controllability.image_mask import image_mask_agreement, segment_folder, segmented
from nnunet_synth_aug.reports.controllability.section import IMAGES, MASKS, controllability_report
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence

SPACING = (3.0, 3.0, 10.0)
PROVENANCE = {"dataset": "Dataset007_X", "fold": 0, "preset": "micro", "generator_hash": "0123", "patients": ["p1"]}


def heart(radius: float, slices: int = 4) -> np.ndarray:
    """Mask (X, Y, Z) with heart in ``slices`` of 6 slices."""
    x, y = np.meshgrid(np.arange(48), np.arange(48), indexing="ij")
    flat = np.zeros((48, 48), np.uint8)
    flat[np.hypot(x - 10, y - 24) < 0.7 * radius] = RV
    flat[np.hypot(x - 27, y - 24) < radius + 3] = MYO
    flat[np.hypot(x - 27, y - 24) < radius] = LV
    mask = np.zeros((48, 48, 6), np.uint8)
    mask[..., 1 : 1 + slices] = flat[..., None]
    return mask


def made(number: int, radius: float, requested: Priors, shown: float = 1.0, calibrated: bool = False) -> SyntheticSequence:
    """A sequence of an ED and two smaller frames; the image shows hearts ``shown`` times as wide as the mask's."""
    radii = (radius, 0.7 * radius, 0.85 * radius)
    mask = np.stack([heart(r) for r in radii])
    image = np.stack([heart(shown * r) for r in radii]).astype(np.float32) * 100
    return SyntheticSequence(
        id=f"synth_{number:05d}",
        image=image,
        mask=mask,
        spacing=SPACING,
        ed=0,
        es=1,
        frame_seconds=0.3,
        seed=number,
        requested=requested,
        measured=measure(mask[0], mask[1], SPACING),
        calibration=(1.0, 1.0) if calibrated else None,
    )


class Literal:
    """Takes grey values for labels; counts what it was asked."""

    provenance = {"trainer": "literal"}  # noqa: RUF012

    def __init__(self):
        self.calls = 0

    def segment(self, image, spacing, context=None):
        self.calls += 1
        assert spacing == SPACING
        return np.round(image / 100).astype(np.uint8)


def folder_of(path, sequences, checked=False):
    for sequence in sequences:
        write_sequence(path, sequence)
    write_index(path, [s.id for s in sequences], PROVENANCE | {"quality": {"checked": checked}})
    return path


@pytest.fixture
def hearts():
    """Twelve hearts for six patients' priors; what is asked for is 10 mL less than what comes out."""
    out = []
    for i, radius in enumerate(np.linspace(6, 13, 6)):
        ed = measure(heart(radius), heart(0.7 * radius), SPACING)
        requested = Priors(diagnosis=("NOR", "DCM")[i % 2], lv_edv=ed.lv_edv - 10, lv_ef=ed.lv_ef, lv_mass=ed.lv_mass, n_slices=6)
        out += [made(2 * i + k, radius, requested, shown=1.2) for k in range(2)]
    return out


def test_figures_are_those_of_the_hearts(tmp_path, hearts):
    report = controllability_report(folder_of(tmp_path / "s", hearts), tmp_path)
    found = report["open_loop"][MASKS]["all"]
    assert (report["n"], report["clusters"], report["selected_by_quality_control"]) == (12, 6, False)
    assert set(found) == {"lv_edv", "lv_ef", "lv_mass", "n_slices"}  # RV volumes were not asked for
    assert found["lv_edv"]["bias"]["value"] == pytest.approx(10, abs=1e-6)
    assert found["lv_edv"]["r"]["value"] == pytest.approx(1)
    assert found["lv_edv"]["p"] < 0.02
    assert (found["lv_edv"]["n"], found["lv_edv"]["clusters"]) == (12, 6)
    assert found["lv_mass"]["mae"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["n_slices"]["bias"]["value"] == -2  # heart in 4 of 6 slices
    assert np.isnan(found["n_slices"]["r"]["value"])  # all asked for the same
    assert set(report["open_loop"][MASKS]) == {"all", "NOR", "DCM"}
    assert report["open_loop"][MASKS]["DCM"]["lv_edv"]["n"] == 6
    assert "image_mask" not in report
    assert read_json(tmp_path / "controllability.json")["open_loop"][MASKS]["all"]["n_slices"]["r"]["value"] is None
    with (tmp_path / "controllability.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12 * 4
    assert all(float(r["measured"]) == pytest.approx(float(r["requested"]) + 10) for r in rows if r["variable"] == "lv_edv")
    picture = np.asarray(Image.open(tmp_path / "controllability.png").convert("RGB"))
    assert picture.shape[1] > picture.shape[0]
    assert picture.std() > 10


def test_segmenter_sees_what_the_masks_hide(tmp_path, hearts):
    """Images that show another heart than the masks: perfect control by the masks, an error by the images."""
    segmenter = Literal()
    report = controllability_report(folder_of(tmp_path / "s", hearts), tmp_path, segmenter)
    masks, images = (report["open_loop"][source]["all"]["lv_edv"]["bias"]["value"] for source in (MASKS, IMAGES))
    edv = [s.measured.lv_edv for s in hearts]
    assert masks == pytest.approx(10, abs=1e-6)
    assert images > masks + 0.3 * np.mean(edv)
    rows = {(r["structure"], r["phase"]): r for r in report["image_mask"]}
    assert len(rows) == 9
    assert 0.75 < rows["LV", "both"]["Dice"]["value"] < 0.9  # discs of radius 1 and 1.2: 2 / (1 + 1.44)
    assert rows["LV", "both"]["n"] == 24
    assert rows["LV", "ED"]["HD95"]["value"] == pytest.approx(0.2 * 3 * np.mean(np.linspace(6, 13, 6)), rel=0.35)
    assert rows["MYO", "ED"]["failures"] == 0
    assert report["segmenter"] == segmenter.provenance
    assert segmenter.calls == 24


def test_segmented_hearts_are_kept_unless_they_change(tmp_path, hearts):
    folder, first, second, third = folder_of(tmp_path / "s", hearts), Literal(), Literal(), Literal()
    found = segment_folder(folder, first, tmp_path / "cache.json")
    again = segment_folder(folder, second, tmp_path / "cache.json")
    assert (first.calls, second.calls) == (24, 0)
    assert again == found
    write_sequence(folder, dataclasses.replace(hearts[3], seed=99))
    segment_folder(folder, third, tmp_path / "cache.json")
    assert third.calls == 2
    third.provenance = {"trainer": "another"}
    segment_folder(folder, third, tmp_path / "cache.json")
    assert third.calls == 26


def test_empty_masks_are_failures_and_both_empty_is_not_scored():
    sequence = made(0, 8.0, Priors())
    blind = dataclasses.replace(sequence, image=np.zeros_like(sequence.image))
    no_rv = dataclasses.replace(sequence, mask=np.where(sequence.mask == RV, 0, sequence.mask).astype(np.uint8))
    no_rv = dataclasses.replace(no_rv, image=np.where(no_rv.mask == 0, 0, no_rv.image))
    found = {"a": segmented(blind, Literal()), "b": segmented(no_rv, Literal())}
    rows = {(r["structure"], r["phase"]): r for r in image_mask_agreement(found, np.array([0, 1]), np.random.default_rng(0))}
    assert rows["RV", "ED"]["n"] == 1
    assert rows["RV", "both"]["failures"] == 2
    assert rows["RV", "ED"]["Dice"].value == 0
    assert rows["LV", "ED"]["Dice"].value == pytest.approx(0.5)
    assert rows["LV", "ED"]["failures"] == 1
    assert found["a"]["heart_slices"] == 0
    assert found["b"]["heart_slices"] == 4


def test_a_heart_without_a_ventricle_is_counted_not_dropped(tmp_path, hearts):
    lost = dataclasses.replace(hearts[0], measured=Priors(lv_mass=80.0))
    report = controllability_report(folder_of(tmp_path / "s", [lost, *hearts[1:]]), tmp_path)
    found = report["open_loop"][MASKS]["all"]["lv_edv"]
    assert (found["n"], found["not_measurable"]) == (11, 1)


def test_loops_are_reported_apart_and_never_mixed_up(tmp_path, hearts):
    open_loop = folder_of(tmp_path / "open", hearts)
    closed = folder_of(tmp_path / "closed", [dataclasses.replace(h, calibration=(1.0, 1.1)) for h in hearts], checked=True)
    report = controllability_report(open_loop, tmp_path, closed_loop=closed)
    assert report["closed_loop"][MASKS]["all"]["lv_edv"]["bias"]["value"] == pytest.approx(10, abs=1e-6)
    with pytest.raises(UserError, match="not sampled with the open loop"):
        controllability_report(closed, tmp_path)
    with pytest.raises(UserError, match="not sampled with the closed loop"):
        controllability_report(open_loop, tmp_path, closed_loop=open_loop)
