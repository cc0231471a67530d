"""The challenges' own conventions: ACDC's and M&Ms' scripts, written again from their description, against this package."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medpy.metric import binary

from evaluation.evaluate import evaluate_folder
from evaluation.inputs.interop import parse_labels
from nnunet_synth_aug.core.files import write_nifti

SPACING = (1.5625, 1.5625, 8.0)


def heart(size: float, shift: float, labels: tuple[int, int, int]) -> np.ndarray:
    """Crescent, ring and cavity with the values ``labels`` (RV, MYO, LV), (X, Y, Z)."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in (40, 36, 6)), indexing="ij")
    radius = np.hypot(x - 22 - shift, y - 17) + 0.8 * np.abs(z - 3)
    mask = np.zeros(x.shape, np.uint8)
    mask[np.hypot(x - 13 - shift, y - 18) + 0.8 * np.abs(z - 3) < size + 2] = labels[0]
    mask[radius < size + 3] = labels[1]
    mask[radius < size] = labels[2]
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three patients at ED and ES, ground truth in ACDC's labels and names."""
    for i in range(3):
        for phase, size in (("ED", 8.0), ("ES", 6.0)):
            truth, predicted = heart(size + 0.4 * i, 0, (1, 2, 3)), heart(size + 0.5, 0.7 * i, (1, 2, 3))
            write_nifti(tmp_path / "gt" / f"patient{i:03d}_{phase}.nii.gz", truth, SPACING)
            write_nifti(tmp_path / "pred" / f"patient{i:03d}_{phase}.nii.gz", predicted, SPACING)
    return tmp_path / "gt", tmp_path / "pred"


def test_values_of_the_acdc_challenge(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Per file and structure (3 LV, 1 RV, 2 MYO): medpy's dc, hd and assd with the header's zooms, volume and volume error in mL."""
    gt, pred = folders
    found = evaluate_folder(pred, tmp_path / "out", gt=gt).table.set_index(["patient", "phase", "structure", "metric"])["value"].to_dict()
    for path in sorted(gt.iterdir()):
        image = nib.load(path)
        zooms = image.header.get_zooms()
        truth, predicted = np.asarray(image.dataobj), np.asarray(nib.load(pred / path.name).dataobj)
        patient, phase = path.name.removesuffix(".nii.gz").split("_")
        for structure, value in (("LV", 3), ("RV", 1), ("MYO", 2)):
            a, b = predicted == value, truth == value
            volumes = a.sum() * np.prod(zooms) / 1000.0, b.sum() * np.prod(zooms) / 1000.0
            key = (patient, phase, structure)
            assert found[(*key, "Dice")] == binary.dc(b, a)
            assert found[(*key, "HD")] == pytest.approx(binary.hd(b, a, voxelspacing=zooms, connectivity=1), rel=1e-6)
            assert found[(*key, "ASSD")] == pytest.approx(binary.assd(a, b, voxelspacing=zooms, connectivity=1), rel=1e-6)
            assert found[(*key, "Volume")] == pytest.approx(volumes[0], rel=1e-6)
            error = found[(*key, "Volume")] - found[(*key, "Reference volume")]
            assert error == pytest.approx(volumes[0] - volumes[1], rel=1e-6, abs=1e-6)


def test_clinical_measures_of_the_acdc_challenge(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Correlation, bias and limits of agreement of EDV, ESV, EF and mass from the files themselves."""
    gt, pred = folders
    result = evaluate_folder(pred, tmp_path / "out", gt=gt)
    ml = float(np.prod(SPACING)) / 1000
    edv, esv, mass = (
        np.array(
            [
                [(np.asarray(nib.load(side / f"patient{i:03d}_{phase}.nii.gz").dataobj) == value).sum() * ml for side in (pred, gt)]
                for i in range(3)
            ]
        )
        for phase, value in (("ED", 3), ("ES", 3), ("ED", 2))
    )
    expected = {"LV EDV": edv, "LV ESV": esv, "LV EF": 100 * (edv - esv) / edv, "LV mass": 1.05 * mass}
    rows = result.agreement.set_index("quantity")
    for quantity, values in expected.items():
        error, row = values[:, 0] - values[:, 1], rows.loc[quantity]
        assert row["n"] == 3
        assert row["bias"] == pytest.approx(error.mean())
        assert row["limit_high"] - row["bias"] == pytest.approx(1.96 * error.std(ddof=1))
        assert row["r"] == pytest.approx(np.corrcoef(values.T)[0, 1])
        # t of 2 degrees of freedom; the limits' SE of Bland and Altman 1999, section 2.1
        assert row["bias_ci"] == pytest.approx(4.302653 * error.std(ddof=1) / np.sqrt(3))
        assert row["limit_ci"] == pytest.approx(4.302653 * error.std(ddof=1) * np.sqrt(1 / 3 + 1.96**2 / 4))


def test_labels_of_mnms_are_translated(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A network trained with ACDC's labels predicts M&Ms' patients: LV and RV have each other's value."""
    gt, pred = folders
    expected = evaluate_folder(pred, tmp_path / "same", gt=gt).table["value"].to_numpy()
    swap = np.array([0, 3, 2, 1], np.uint8)
    for path in gt.iterdir():
        write_nifti(tmp_path / "mnms" / path.name, swap[np.asarray(nib.load(path).dataobj)], SPACING)
    mnms = tmp_path / "mnms"
    wrong = evaluate_folder(pred, tmp_path / "wrong", gt=mnms)
    assert any("--pred-labels and --gt-labels" in note for note in wrong.notes)
    given = {"prediction_labels": parse_labels("acdc"), "reference_labels": parse_labels("LV=1,MYO=2,RV=3")}
    right = evaluate_folder(pred, tmp_path / "right", gt=mnms, **given)
    assert not any("different label maps" in note for note in right.notes)
    assert any("RV 1 to 3, MYO 2 to 2, LV 3 to 1" in note for note in right.notes)
    np.testing.assert_array_equal(right.table["value"], expected)
    # nnU-Net's dataset.json beside each side says the same without any option.
    labels = '{{"labels": {{"background": 0, "LV": {}, "MYO": 2, "RV": {}}}, "file_ending": ".nii.gz"}}'
    (pred / "dataset.json").write_text(labels.format(3, 1))
    (mnms / "dataset.json").write_text(labels.format(1, 3))
    np.testing.assert_array_equal(evaluate_folder(pred, tmp_path / "found", gt=mnms).table["value"], expected)
