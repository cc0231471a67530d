"""Training of a fold's cascade: from random weights, from phantoms, and motion frame by frame."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from micro import MICRO
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import generator_folder
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model import fit
from nnunet_synth_aug.model.config import PretrainConfig, overridden, preset, pretrained_on
from nnunet_synth_aug.model.fit import PIXEL_STEP, fit_generator
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.synthesis.cascade import sample_sequence
from nnunet_synth_aug.synthesis.hearts import Request

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(micro_generator, tmp_path_factory):
    """A copy of nnU-Net's folders with the fitted generator of fold 0 set apart: what is fitted here starts from nothing."""
    root = shutil.copytree(micro_generator, tmp_path_factory.mktemp("fit"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        generator_folder(Cohort.load("7").name, 0).rename(root / "default")
        yield root


@pytest.mark.slow
def test_pretraining_is_done_once_for_all_folds_and_named_in_the_provenance(folders, capsys):
    config = dataclasses.replace(MICRO, pretrain=PretrainConfig(hearts=3))
    first = load_generator(fit_generator("7", 0, config, CPU), CPU)
    (pretrained,) = (folders / "nnUNet_results" / "synth_aug_pretraining").iterdir()
    start = load_generator(pretrained / "generator", CPU)
    written = (pretrained / "generator" / "motion.safetensors").stat().st_mtime_ns
    second = load_generator(fit_generator("7", 1, config, CPU), CPU)
    assert (pretrained / "generator" / "motion.safetensors").stat().st_mtime_ns == written
    assert first.provenance["pretraining"]["generator_hash"] == start.provenance["generator_hash"]
    # Phantoms are nobody's patients: the leak guard looks at this list.
    assert not set(first.provenance["patients"]) & set(start.provenance["patients"])
    assert set(first.provenance["patients"]).isdisjoint(second.provenance["patients"])
    assert first.grid.size == start.grid.size
    assert abs(first.grid.pixel - start.grid.pixel) <= PIXEL_STEP / 2
    assert first.scaler == start.scaler
    for mine, theirs in ((first.vae, start.vae), (first.static, start.static), (first.motion, start.motion)):
        distance = sum(float((a - b).detach().square().sum()) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True)) ** 0.5
        size = sum(float(b.detach().square().sum()) for b in theirs.parameters()) ** 0.5
        assert 0 < distance < 0.5 * size  # continued, not begun anew
    steps = (first.config.vae.train.steps, len((pretrained / "generator" / "vae.losses.jsonl").read_text().splitlines()))
    assert steps == (6, 2)  # the first and the last step are logged


def test_pretraining_on_held_out_phantoms_is_refused_before_one_is_made(folders, monkeypatch):
    monkeypatch.setattr(fit, "write_phantoms", None)
    # The cohort's own seed: pretraining sees the very hearts that the fold holds out.
    config = dataclasses.replace(MICRO, pretrain=PretrainConfig(hearts=4, seed=5))
    with pytest.raises(UserError, match=r"is trained on phantom5_000\d.*holds out"):
        fit_generator("7", 0, config, CPU, folders / "leaking")
    assert not (folders / "leaking").exists()


def test_patients_that_the_split_lists_as_unlabelled_are_learnt_from_without_masks(folders, monkeypatch):
    path = folders / "nnUNet_preprocessed" / "Dataset007_Phantom" / "splits_final.json"
    before = read_json(path)
    seen = []
    real = fit.load_training_set
    monkeypatch.setattr(fit, "load_training_set", lambda *args: seen.append(real(*args)) or seen[-1])
    try:
        one, *rest = before[0]["train"]
        silent = one.rpartition("_")[0]
        write_json(path, [{"train": [c for c in rest if not c.startswith(silent)], "val": before[0]["val"], "unlabelled": [silent]}])
        meta = read_json(fit_generator("7", 0, MICRO, CPU, folders / "unlabelled") / "generator.json")
    finally:
        write_json(path, before)
    masks = {c.subject.patient: bool(c.gridded.mask.any()) for c in seen[-1].cases}
    assert masks == {patient: patient != silent for patient in meta["patients"]}
    assert silent in meta["patients"] and len(meta["patients"]) == len(meta["templates"]) == 2
    assert meta["identity"]["cohort"] != Cohort.load("7").hash()  # with masks it would be another generator


def test_what_a_setting_does_not_change_is_taken_from_another_generator(folders):
    default = folders / "default"
    latents = dataclasses.replace(MICRO.latents, motion="framewise")
    framewise = dataclasses.replace(MICRO, preset="framewise", latents=latents)
    edm = dataclasses.replace(MICRO, preset="edm", static=dataclasses.replace(MICRO.static, objective="edm"))
    cooler = dataclasses.replace(MICRO, preset="cooler", motion=dataclasses.replace(MICRO.motion, temperature=0.2, guidance=2.0))
    shares = {
        "framewise": (framewise, {"vae", "static"}),
        "edm": (edm, {"vae", "motion"}),
        "cooler": (cooler, {"vae", "static", "motion"}),
    }
    first = read_json(default / "generator.json")["finished"]
    for name, (config, shared) in shares.items():
        folder = fit_generator("7", 0, config, CPU, folders / name, reuse=default)
        finished = read_json(folder / "generator.json")["finished"]
        assert {stage for stage in finished if finished[stage]["sha256"] == first[stage]["sha256"]} == shared
        assert {path.stem for path in folder.glob("*.losses.jsonl")} == {f"{s}.losses" for s in {"vae", "static", "motion"} - shared}
    again = fit_generator("7", 0, framewise, CPU, folders / "alone", reuse=folders / "nothing")
    assert (
        read_json(again / "generator.json")["finished"]["motion"]["sha256"]
        == read_json(folders / "framewise" / "generator.json")["finished"]["motion"]["sha256"]
    )  # sharing changed nothing


def test_cines_are_encoded_once_even_if_the_motion_was_killed(folders, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train_motion", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_generator("7", 0, MICRO, CPU, folders / "killed")
    monkeypatch.undo()
    monkeypatch.setattr(fit, "encode_training_set", killed)
    folder = fit_generator("7", 0, MICRO, CPU, folders / "killed")
    ends = [read_json(f / "generator.json")["finished"]["motion"]["sha256"] for f in (folder, folders / "default")]
    assert ends[0] == ends[1]
    assert not list(folder.glob("*.training.*"))


def test_frame_by_frame_motion_samples_too_and_keeps_ed(folders):
    generator = load_generator(folders / "framewise", CPU)
    assert motion_scheme(generator.config).channels == 4
    short, long = (sample_sequence(generator, Request("a", 3, Priors(lv_ef=50.0), n_frames=n, grain=False)) for n in (5, 9))
    assert short.image.shape[0] == 5
    np.testing.assert_allclose(short.image[0], long.image[0], atol=0.02)
    assert np.isfinite(long.image).all()


def test_an_aligned_template_remembers_when_es_was(folders):
    meta = read_json(folders / "framewise" / "generator.json")
    assert all(0.2 < t["es_fraction"] < 0.6 for t in meta["templates"])


def test_any_setting_can_be_replaced_on_the_command_line():
    config = overridden(preset("tiny"), ["latents.motion=framewise", "vae.kl_weight=1", "static.channels=[16, 24]", "seed=3"])
    assert (config.latents.motion, config.vae.kl_weight, config.static.channels, config.seed) == ("framewise", 1, (16, 24), 3)
    assert overridden(preset("tiny"), []) == preset("tiny")


@pytest.mark.parametrize("setting", ["vae", "vae.nothing=1", "vae=1", "motion.steps", "vae.channels=3", "static.train.steps=many"])
def test_a_setting_that_is_none_is_refused(setting):
    with pytest.raises(UserError, match="--set"):
        overridden(preset("tiny"), [setting])


def test_pretraining_is_on_phantoms_or_none():
    assert pretrained_on(preset("small"), "phantom").pretrain.hearts > 0
    assert pretrained_on(preset("small"), "none").pretrain.hearts == 0
    with pytest.raises(UserError, match="none or phantom"):
        pretrained_on(preset("small"), "imagenet")
