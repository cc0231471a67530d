"""Cohorts of which only ED and ES are known: how their hearts move comes from a generator that knows it, adapted to both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import MICRO
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import PHASES
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.model import fit
from nnunet_synth_aug.model.config import overridden, preset, pretrained_on
from nnunet_synth_aug.model.fit import fit_generator
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.latents import encode
from nnunet_synth_aug.model.latents.encode import PAIR_FRAMES, cycle_of_pair
from nnunet_synth_aug.model.motion_basis import fit_motion, motion
from nnunet_synth_aug.synthesis.cascade import sample_anatomies, sample_cycles
from nnunet_synth_aug.synthesis.figures import describe
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.quality.control import UNCHECKED
from nnunet_synth_aug.synthesis.requests import RequestPlan
from nnunet_synth_aug.synthesis.sample import sample_to_folder

CPU = torch.device("cpu")


@pytest.fixture
def stills(phantoms, tmp_path, monkeypatch) -> Path:
    """Four phantoms of which only ED and ES were kept."""
    set_folders(monkeypatch, tmp_path)
    kept = [dataclasses.replace(one, image=one.image[[one.ed, one.es]], is_cine=False, ed=0, es=1) for one in phantoms[:4]]
    return write_dataset(kept, 8, "Stills", folds=2)


def test_ed_and_es_become_a_cycle_that_closes():
    contracted = torch.randn(3, 4, 4, 2, generator=torch.Generator().manual_seed(0))
    residuals, phi, ed, es = cycle_of_pair(contracted)
    assert residuals.shape == (PAIR_FRAMES, 3, 4, 4, 2)
    assert not residuals[ed].any()
    torch.testing.assert_close(residuals[es], contracted)
    shares = residuals.flatten(1).norm(dim=1) / contracted.norm()
    assert (shares <= 1.0001).all() and shares.argmax() == es
    back = motion(fit_motion(residuals, phi, 4)[None], phi)[0]
    assert (back - residuals).norm() < 0.05 * residuals.norm()


def test_without_a_generator_that_knows_motion_it_is_refused_at_once(stills):
    with pytest.raises(UserError, match=r"no training patient of Dataset008_Stills has a 4D cine in fold 0.*add --pretrain phantom"):
        fit_generator("8", 0, MICRO, CPU)
    assert not (stills.parents[1] / "nnUNet_results" / "Dataset008_Stills").exists()


def test_volumes_without_contours_teach_beside_cines_and_tell_no_motion(phantoms, tmp_path, monkeypatch):
    set_folders(monkeypatch, tmp_path)
    pair, still = (replace_all(one, frames) for one, frames in ((phantoms[4], (phantoms[4].ed, phantoms[4].es)), (phantoms[5], (3,))))
    folder = write_dataset([*phantoms[:3], pair, still], 9, "Mixed", folds=3)
    shapes = [load_sequence(Cohort.load("9").subject(one.patient)).image.shape for one in (pair, still)]
    assert shapes == [pair.image.shape, (1, *still.image.shape[1:])]
    assert {path.name for path in (folder / "imagesTr").iterdir()} == {f"{p.patient}_{e}_0000.nii.gz" for p in phantoms[:3] for e in PHASES}
    sets = []
    real = fit.encode_training_set
    monkeypatch.setattr(fit, "encode_training_set", lambda *args: sets.append(real(*args)) or sets[-1])
    measured: list[tuple[str, int]] = []
    current: list[str] = []
    own, copy = encode.measure_decoded, encode._CopyEncoder.copy

    def noted(vae, ends, *args):
        measured.append((current[-1], len(ends)))
        return own(vae, ends, *args)

    def copied(self, case, *args):
        current.append(case.subject.patient)
        return copy(self, case, *args)

    monkeypatch.setattr(encode, "measure_decoded", noted)
    monkeypatch.setattr(encode._CopyEncoder, "copy", copied)
    monkeypatch.setattr(fit, "with_decoded_priors", lambda data, *args: data)
    generator = load_generator(fit_generator("9", 0, MICRO, CPU), CPU)
    assert {pair.patient, still.patient} < set(generator.provenance["patients"])
    (latents,) = sets
    copies = len(latents.ed) // 4
    moving = {int(one) // copies for one in latents.moving}  # patients in their order in the cohort
    assert moving == {0, 1}  # the fold's two cines
    assert set(measured) == {(pair.patient, 2), (still.patient, 1)}  # one volume tells no EF
    only = load_generator(fit_generator("9", 0, MICRO, CPU, tmp_path / "only", contoured_only=True), CPU)
    assert set(only.provenance["patients"]) == set(generator.provenance["patients"]) - {pair.patient, still.patient}


def replace_all(one: SourceSubject, frames: tuple[int, ...]) -> SourceSubject:
    """A subject of these frames alone, without contours."""
    return dataclasses.replace(one, image=one.image[list(frames)], is_cine=False, masks={}, priors=Priors(), ed=0, es=len(frames) - 1)


@pytest.mark.slow
def test_the_shipped_motion_moves_them(stills, tmp_path):
    # One small step per stage, as in test_pretrained: enough to be this cohort's generator.
    short = [f"{stage}.train.{name}" for stage in ("vae", "static", "motion") for name in ("steps=2", "learning_rate=1e-6")]
    config = overridden(pretrained_on(preset("tiny"), "phantom"), ["latents.copies=2", *short])
    generator = load_generator(fit_generator("8", 0, config, CPU), CPU)
    assert any(generator.grain.spread)  # of the generator that it started from
    asked = [Request(f"{ef}_{i}", i, Priors(lv_edv=150.0, lv_ef=float(ef)), 8, grain=False) for ef in (25, 65) for i in range(3)]
    made = sample_cycles(generator, sample_anatomies(generator, asked), [r.seed + 1 for r in asked])
    weak, strong = (np.mean([s.measured.lv_ef for s in part]) for part in (made[:3], made[3:]))
    assert strong - weak > 15
    sample_to_folder(generator, RequestPlan(0, n_frames=6).requests(generator, 1), tmp_path / "hearts", UNCHECKED)
    assert any("real cines: none" in line for line in describe(tmp_path / "hearts", generator))
