"""The control arms: reconstructions, pseudolabels and phantoms as banks, their provenance, and the leak guard that goes by it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from realism_fixture import TRAINING

from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.model.grid import grey_window
from nnunet_synth_aug.nnunet.bank.manifest import check_leak
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.sources.phantoms import FIRST_SEED, phantoms_to_folder
from nnunet_synth_aug.synthesis.sources.pseudolabels import pseudolabels_to_folder
from nnunet_synth_aug.synthesis.sources.reconstructions import reconstructions_to_folder

TARGET: Any = SimpleNamespace(dataset="Dataset001_Hearts")


def test_reconstructions_show_the_training_patients_and_say_so(world, tmp_path):
    generator, cohort = world.generator, world.cohort
    patients = generator.provenance["patients"]
    ids = reconstructions_to_folder(generator, cohort, patients, tmp_path, n=10)
    assert len(ids) == TRAINING  # one per patient, however many were asked for
    listed, provenance = read_index(tmp_path)
    assert listed == ids
    assert provenance["source"] == "reconstructions"
    assert provenance["patients"] == provenance["reconstructed"] == patients
    for sequence_id, patient in zip(ids, patients, strict=True):
        subject, made = cohort.subject(patient), read_sequence(tmp_path, sequence_id)
        real = load_sequence(subject)
        assert made.image.shape[0] == subject.n_frames
        assert (made.ed, made.es) == (subject.ed, subject.es)
        extents = [n * mm for n, mm in zip(made.image.shape[1:], made.spacing, strict=True)]
        own = [n * mm for n, mm in zip(real.image.shape[1:], real.spacing, strict=True)]
        assert all(extent <= full + mm for extent, full, mm in zip(extents, own, made.spacing, strict=True))  # nothing beyond the image
        low, high = grey_window(real, generator.config.grid)
        assert made.image.min() >= min(0, low) - 1
        assert made.image.max() <= high + 1


def test_pseudolabels_are_the_segmenters_where_there_are_no_contours(world, tmp_path):
    patients = world.generator.provenance["patients"]
    silent = patients[-1]
    cohort = world.cohort.without_masks([silent])

    def segment(image, spacing):  # nothing that a contour could be
        return (image > np.median(image)).astype(np.uint8)

    ids = pseudolabels_to_folder(segment, "one", cohort, patients, tmp_path / "all", n=50)
    listed, provenance = read_index(tmp_path / "all")
    assert listed == ids
    assert (provenance["source"], provenance["patients"]) == ("pseudolabels", sorted(patients))
    assert provenance["pseudolabelled"][0] == silent  # frames without contours first
    assert sorted(provenance["pseudolabelled"]) == sorted(p for p in patients if cohort.subject(p).cine is not None)
    for sequence_id, patient in zip(ids, provenance["pseudolabelled"], strict=True):
        made, real = read_sequence(tmp_path / "all", sequence_id), load_sequence(cohort.subject(patient))
        np.testing.assert_allclose(made.image, real.image, atol=1)
        assert (made.ed, made.es, made.spacing) == (real.ed, real.es, pytest.approx(real.spacing))
        for frame in range(len(real.image)):
            own = real.mask[frame] if frame in real.labelled else without_islands(segment(real.image[frame], real.spacing))
            np.testing.assert_array_equal(made.mask[frame], own)
    assert pseudolabels_to_folder(segment, "one", cohort, patients, tmp_path / "one", n=1) == ids[:1]
    with pytest.raises(UserError, match="made otherwise"):
        pseudolabels_to_folder(segment, "another", cohort, patients, tmp_path / "one", n=1)


def test_a_patient_in_whom_the_segmenter_finds_nothing_is_left_out(world, tmp_path):
    patients = world.generator.provenance["patients"]
    blind = world.cohort.without_masks(patients)
    lost = load_sequence(blind.subject(patients[0])).image[0]

    def segment(image, spacing):
        found = (image > np.median(image)).astype(np.uint8)
        return np.zeros_like(found) if found.shape == lost.shape else found

    shapes = {p: load_sequence(blind.subject(p)).image.shape[1:] for p in patients}
    seen = [p for p in patients if shapes[p] != lost.shape]
    ids = pseudolabels_to_folder(segment, "one", blind, patients, tmp_path / "some", n=50)
    assert len(ids) == len(seen) < len(patients)
    assert read_index(tmp_path / "some")[0] == ids
    with pytest.raises(UserError, match=f"no heart in any of {len(patients)} cines; train it longer"):
        pseudolabels_to_folder(lambda image, _: np.zeros(image.shape, np.uint8), "none", blind, patients, tmp_path / "none", n=50)


def test_a_killed_folder_goes_on_and_another_maker_is_refused(world, tmp_path):
    patients = world.generator.provenance["patients"][:2]
    ids = reconstructions_to_folder(world.generator, world.cohort, patients, tmp_path, n=2)
    before = read_sequence(tmp_path, ids[1])
    (tmp_path / f"{ids[1]}.json").unlink()
    reconstructions_to_folder(world.generator, world.cohort, patients, tmp_path, n=2)
    np.testing.assert_array_equal(read_sequence(tmp_path, ids[1]).image, before.image)
    with pytest.raises(UserError, match="made otherwise"):
        phantoms_to_folder(tmp_path, 1)
    stranger = next(s.patient for s in world.cohort.subjects if s.patient not in world.generator.provenance["patients"])
    with pytest.raises(UserError, match=f"not trained on {stranger}"):
        reconstructions_to_folder(world.generator, world.cohort, [stranger], tmp_path / "other", n=1)


def test_phantom_sequences_are_phantoms_of_the_vendors_asked_for(tmp_path):
    [name] = phantoms_to_folder(tmp_path, 1, seed=2, vendors={"GE"})
    made, phantom = read_sequence(tmp_path, name), phantom_subject(0, FIRST_SEED + 2, vendor="GE")
    np.testing.assert_array_equal(made.mask, phantom.mask)
    np.testing.assert_array_equal(made.image, phantom.source.image)
    assert made.requested.vendor == "GE"
    provenance = read_index(tmp_path)[1]
    assert provenance["patients"] == []
    assert provenance["phantoms"] == [phantom.source.patient]
    with pytest.raises(
        UserError, match="show the heart alone, but the fold's training images ask for a field of 330 mm now; add --replace"
    ):
        phantoms_to_folder(tmp_path, 1, seed=2, vendors={"GE"}, field=330)


def guard(provenance: dict[str, Any], val: list[str]) -> None:
    check_leak(provenance, TARGET, 0, ["patient001_ED"], val)


def test_the_leak_guard_knows_phantoms_by_name_and_not_by_an_empty_list(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(tmp_path))
    guard({"source": "phantom", "patients": [], "phantoms": ["phantom5000_0000"]}, ["patient002_ED"])
    with pytest.raises(UserError, match=r"phantoms that fold 0 validates on \(phantom5000_0000\)"):
        guard({"source": "phantom", "patients": [], "phantoms": ["phantom5000_0000"]}, ["phantom5000_0000_ES"])
    with pytest.raises(UserError, match="does not say which phantoms"):
        guard({"source": "phantom", "patients": []}, ["patient002_ED"])
    with pytest.raises(UserError, match="does not say which patients"):
        guard({"patients": []}, ["patient002_ED"])
    with pytest.raises(UserError, match="validation patients"):
        guard({"source": "reconstructions", "dataset": TARGET.dataset, "patients": ["patient001", "patient002"]}, ["patient002_ED"])
