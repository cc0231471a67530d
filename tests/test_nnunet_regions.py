"""Labels as users of nnU-Net name them: regions, an ignore label, other orders; and those that synthetic hearts cannot serve."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, write_sequences
from nnunet_training import make
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json, write_nifti
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.target import label_lookup, load_target

pytestmark = pytest.mark.usefixtures("trained_here")
#: RV has no name here; in the masks it is 3, as everywhere in the fixture.
REGIONS = {"background": 0, "heart": [1, 2, 3], "MYO": [2], "LV": [1]}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"RV": 1, "MLV": 2, "LVC": 3}, [0, 1, 2, 3]),  # nnU-Net's own conversion of ACDC
        ({"lv": 1, "Myo": 2, "RV": 3, "ignore": 4}, [0, 3, 2, 1]),
        ({"heart": [1, 2, 3], "MYO": [2], "LV": [3]}, [0, 1, 2, 3]),
        ({"heart": [1, 2, 3], "LV": [1, 2], "MYO": 2}, [0, 3, 2, 1]),
        ({"RV": [1, 2, 3], "MYO": [2, 3], "LV": 3}, [0, 1, 2, 3]),
        ({"RV": [1, 2, 3], "MYO": [1, 2], "LV": [2], "ignore": 4}, [0, 3, 1, 2]),
    ],
)
def test_values_of_the_structures(project: Project, labels: dict[str, Any], expected: list[int]) -> None:
    target = load_target(DATASET, "2d", PLANS)
    target.dataset_json["labels"] = {"background": 0, **labels}
    assert label_lookup(target).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"LV": 1, "MYO": 2}, "which value is RV"),
        ({"LV": 1, "MYO": 2, "chamber": 3}, "which value is RV"),
        ({"heart": [1, 2, 3], "left": [2, 3], "LV": 3}, "which value is RV or MYO"),
        ({"heart": [1, 2, 3], "right": 3, "MYO": 2, "LV": 1}, "which value is RV"),
        ({"heart": [1, 2, 3, 4], "MYO": 2, "LV": 1}, "which value is RV"),
        ({"RV": 1, "MYO": 2, "LV": 2}, "which value is LV"),
        ({"RV": 1, "MYO": 2, "LV": 3, "scar": 4}, r"besides RV, MYO and LV \(value 4\).*as background"),
        ({"RV": 1, "MYO": 2, "LV": 3, "infarcted": [2, 4]}, r"\(value 4\)"),
    ],
)
def test_labels_that_cannot_be_served_are_one_sentence(project: Project, labels: dict[str, Any], message: str) -> None:
    target = load_target(DATASET, "2d", PLANS)
    target.dataset_json["labels"] = {"background": 0, **labels}
    with pytest.raises(UserError, match=message) as caught:
        label_lookup(target)
    assert "\n" not in str(caught.value)


@pytest.fixture
def relabelled(built_project: Project, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A copy of the project under other labels, its cases preprocessed again by nnU-Net."""
    copied = Project(tmp_path)
    shutil.copytree(built_project.preprocessed, copied.preprocessed)
    (tmp_path / "nnUNet_raw").symlink_to(built_project.root / "nnUNet_raw")
    (tmp_path / "nnUNet_results").mkdir()
    set_folders(monkeypatch, copied.root)

    def relabel(ignore: bool, **changes: Any) -> Project:
        path = copied.preprocessed / "dataset.json"
        write_json(path, read_json(path) | changes)
        target = load_target(DATASET, "2d", PLANS)
        manager = target.configuration_manager
        cases, folder = target.cases(), target.folder / target.data_identifier
        shutil.rmtree(folder)
        folder.mkdir()
        for case in cases:
            image, mask = project.raw / "imagesTr" / f"{case}_0000.nii.gz", project.raw / "labelsTr" / f"{case}.nii.gz"
            if ignore:  # only two slices were annotated
                values, spacing, _ = read_nifti(mask)
                values[..., 2:] = 4
                mask = tmp_path / f"{case}.nii.gz"
                write_nifti(mask, values.astype(np.uint8), spacing)
            manager.preprocessor_class(verbose=False).run_case_save(
                str(folder / case),
                [str(image)],
                str(mask),
                target.plans_manager,
                manager,
                target.dataset_json,
            )
        return copied

    return relabel


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("regions", [False, True])
def test_training_with_regions_and_an_ignore_label(relabelled: Any, regions: bool, ignore: bool) -> None:
    labels: dict[str, Any] = dict(REGIONS) if regions else {"background": 0, "LV": 1, "MYO": 2, "RV": 3}
    if ignore:
        labels["ignore"] = 4
    copied = relabelled(ignore, labels=labels, **({"regions_class_order": [3, 2, 1]} if regions else {}))
    with pytest.raises(SystemExit, match="made for another labels"):  # the fixture's bank
        make("nnUNetTrainerSynthAug_mix50").on_train_start()
    build_bank_cases(sequences_of(copied), DATASET, 0, "2d", PLANS, frames=3)

    made = make("nnUNetTrainerSynthAug_mix50_1epochs")
    made.num_iterations_per_epoch = 3
    losses = []
    step = made.train_step
    made.train_step = lambda batch: losses.append(step(batch)) or losses[-1]
    made.run_training()
    assert np.isfinite([loss["loss"] for loss in losses]).all()
    record = read_json(Path(made.output_folder) / "synth_aug.json")
    assert (record["samples"], record["synthetic_samples"]) == (12, 6)

    loader = made.dataloader_train.data_loader
    _, seg, _, properties = loader._data.load_case("synth_00000_t00")
    assert set(np.unique(seg[:])) - {-1} == {0, 1, 2, 3}  # labelled everywhere
    real = loader._data.load_case("patient001_ED")
    assert properties["class_locations"].keys() == real[3]["class_locations"].keys()
    expected = {(1, 2, 3), (2,), (1,)} if regions else {1, 2, 3}
    assert set(properties["class_locations"]) == expected | ({(-1, 0, 1, 2, 3)} if ignore else set())
    if ignore:
        assert 4 in seg_values(real[1])
        # Patches without forced foreground are centred on what is annotated: all of a synthetic case, two slices of a real one.
        slices = {case: drawn_slices(loader, case) for case in ("synth_00000_t00", "patient001_ED")}
        assert slices["synth_00000_t00"] == {0, 1, 2, 3}
        assert slices["patient001_ED"] == {0, 1}
    if regions:  # what the network is taught of a synthetic case: heart contains MYO and LV
        loader.get_indices = lambda: np.array(["synth_00000_t00"] * 4)
        target = next(made.dataloader_train)["target"][0]
        assert target.shape[1] == 3 + ignore
        heart, myocardium, cavity = (target[:, channel] > 0 for channel in range(3))
        assert heart.any()
        assert (heart | ~(myocardium | cavity)).all()
        assert not (myocardium & cavity).any()
        assert (heart & ~myocardium & ~cavity).any()  # the RV, which has no name of its own


def sequences_of(copied: Project) -> Path:
    return write_sequences(copied.sequences, count=2, patients=PATIENTS[:4])


def seg_values(seg: Any) -> set[int]:
    return set(np.unique(seg[:]).tolist())


def drawn_slices(loader: Any, case: str) -> set[int]:
    _, seg, _, properties = loader._data.load_case(case)
    return {loader.get_bbox(seg.shape[1:], False, properties["class_locations"])[0][0] for _ in range(60)}


def test_a_bank_follows_the_names_of_the_labels(relabelled: Any) -> None:
    """Equal values under other names: nnU-Net wants sampling locations for each of its regions, so cases are made again."""
    copied = relabelled(False)
    sequences = sequences_of(copied)
    build_bank_cases(sequences, DATASET, 0, "2d", PLANS, frames=2)
    path = copied.preprocessed / "dataset.json"
    write_json(path, read_json(path) | {"labels": REGIONS, "regions_class_order": [3, 2, 1]})
    build_bank_cases(sequences, DATASET, 0, "2d", PLANS, frames=2)
    manifest = bank_status(load_target(DATASET, "2d", PLANS), 0)
    properties = nnUNetDatasetBlosc2(str(manifest.folder)).load_case(manifest.ids[0])[3]
    assert set(properties["class_locations"]) == {(1, 2, 3), (2,), (1,)}
    assert len(properties["class_locations"][(1, 2, 3)]) > len(properties["class_locations"][(2,)]) > 0
