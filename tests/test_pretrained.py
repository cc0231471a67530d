"""The generator that ships with the package: whole, of phantoms alone, and worth starting from."""

import shutil

import numpy as np
import pytest
import torch
from shared_folders import set_folders

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import FROM_MASKS, NUMERIC, VARIABLES, Priors
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model.config import PretrainConfig, overridden, preset, pretrained_on
from nnunet_synth_aug.model.fit import fit_generator
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.latents.encode import encode, encode_training_set, with_decoded_priors
from nnunet_synth_aug.model.latents.measured_priors import priors_after_gain
from nnunet_synth_aug.model.pretrained import PHANTOM, shipped_for
from nnunet_synth_aug.model.training_set import load_training_set
from nnunet_synth_aug.synthesis.cascade import sample_anatomies, sample_cycles
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.quality.defects import frame_defects

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped():
    return load_generator(PHANTOM, CPU)


def test_it_saw_phantoms_of_its_own_seeds_alone(shipped):
    """Of both rounds, so that the leak guard knows all of them."""
    seeds = {patient.partition("_")[0] for patient in shipped.provenance["patients"]}
    assert seeds == {f"phantom{PretrainConfig().seed}", "phantom2000"}
    assert len(shipped.provenance["patients"]) == 800
    assert shipped.templates == ()  # no heart's geometry or grey values travel


def test_it_fits_the_presets_of_its_networks():
    assert shipped_for(preset("tiny")) == shipped_for(preset("small")) == PHANTOM
    assert shipped_for(preset("base")) is None
    assert shipped_for(overridden(preset("small"), ["latents.motion=framewise"])) is None
    assert shipped_for(overridden(preset("small"), ["static.objective=edm"])) is None


@pytest.fixture(scope="module")
def cohort(phantom_dataset, tmp_path_factory):
    """Four phantoms that pretraining has not seen."""
    root = shutil.copytree(phantom_dataset, tmp_path_factory.mktemp("pretrained"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        yield Cohort.load("7")


def test_its_vae_gives_back_unseen_hearts(shipped, cohort):
    dice = []
    patients = tuple(s.patient for s in cohort.subjects)
    for case in load_training_set(cohort, patients, shipped.config, shipped.grid).cases:
        gridded, frame = case.gridded, case.gridded.ed
        with torch.no_grad():
            image, logits = shipped.vae.decode(encode(shipped.vae, gridded.image[[frame]], gridded.valid, CPU))
        found, truth, inside = logits.argmax(1)[0].numpy(), gridded.mask[frame].numpy(), gridded.valid.numpy() > 0
        error = np.abs(image[0, 0].numpy() - gridded.image[frame].float().numpy())[inside].mean()
        assert error < 0.2  # of a range of 2
        pairs = [((found == s) & inside, (truth == s) & inside) for s in (RV, MYO, LV)]
        dice.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
    assert np.mean(dice, axis=0).min() > 0.75


def test_a_heart_that_beats_less_has_a_smaller_ef(shipped, cohort):
    """What augmentation of the motion tells the motion LDM about its copies."""
    for case in load_training_set(cohort, tuple(s.patient for s in cohort.subjects), shipped.config, shipped.grid).cases:
        gridded = case.gridded
        ends = encode(shipped.vae, gridded.image[[gridded.ed, gridded.es]], gridded.valid, CPU)
        ed, es = ends
        beats = [torch.stack([ed, es, ed + gain * (es - ed)]) for gain in (0.0, 0.6, 1.0, 1.3)]
        found = [priors_after_gain(shipped.vae, beat, gridded.valid, gridded.spacing, case.priors, CPU) for beat in beats]
        ef = [priors.lv_ef for priors in found]
        assert ef == sorted(ef)
        assert ef[2] == pytest.approx(case.priors.lv_ef)  # its own motion, its own EF
        assert ef[0] == VARIABLES["lv_ef"].low  # a heart that does not move
        assert 0.35 < ef[1] / ef[2] < 0.9
        assert {name: getattr(found[1], name) for name in ("lv_edv", "lv_mass", "diagnosis")} == {
            name: getattr(case.priors, name) for name in ("lv_edv", "lv_mass", "diagnosis")
        }


def test_patients_without_masks_get_the_priors_of_the_masks_they_decode_to(shipped, cohort):
    patients = tuple(s.patient for s in cohort.subjects)
    blind = cohort.without_masks(patients[:2])
    data = with_decoded_priors(load_training_set(blind, patients, shipped.config, shipped.grid), shipped.vae, CPU)
    known = {c.subject.patient: c.priors for c in load_training_set(cohort, patients, shipped.config, shipped.grid).cases}
    found = {c.subject.patient: c.priors for c in data.cases}
    for patient in patients[:2]:
        assert found[patient] != known[patient]
        for name in ("lv_edv", "rv_edv", "lv_mass"):
            assert getattr(found[patient], name) == pytest.approx(getattr(known[patient], name), rel=0.2)
        for name in ("lv_ef", "rv_ef"):
            assert getattr(found[patient], name) == pytest.approx(getattr(known[patient], name), abs=10)
    assert all(found[patient] == known[patient] for patient in patients[2:])

    config = overridden(shipped.config, ["latents.copies=8", "latents.max_frames=4"])
    conditions = encode_training_set(data, shipped.vae, config, CPU, (shipped.scale, shipped.scaler)).conditions
    assert len(conditions.present) == 8  # in the order of the patients, two copies of each
    volumes = [NUMERIC.index(name) for name in FROM_MASKS]
    assert conditions.present[:, volumes].all()
    edv = conditions.numbers[:, NUMERIC.index("lv_edv")]
    assert edv[0] != edv[1]  # a copy is scaled, and what is measured of it is its own


def test_what_a_mask_cannot_have_stays_unknown():
    told = Priors(lv_edv=5.0, lv_ef=50.0, rv_edv=150.0)
    assert Priors(rv_edv=120.0, diagnosis="NOR").completed(told) == Priors(rv_edv=120.0, diagnosis="NOR", lv_ef=50.0)


@pytest.mark.slow
def test_a_requested_ef_reaches_the_masks_of_a_generator_that_starts_there(shipped, cohort):
    # One small step per stage: enough to be this cohort's generator, too little to change what it has learnt.
    short = [f"{stage}.train.{name}" for stage in ("vae", "static", "motion") for name in ("steps=2", "learning_rate=1e-6")]
    config = overridden(pretrained_on(preset("tiny"), "phantom"), ["latents.copies=2", "latents.max_frames=6", *short])
    generator = load_generator(fit_generator("7", 0, config, CPU), CPU)
    assert generator.provenance["pretraining"]["generator_hash"] == shipped.provenance["generator_hash"]
    asked = [Request(f"{ef}_{i}", i, Priors(lv_edv=150.0, lv_ef=float(ef)), 8, grain=False) for ef in (25, 65) for i in range(3)]
    made = sample_cycles(generator, sample_anatomies(generator, asked), [r.seed + 1 for r in asked])
    weak, strong = (np.mean([s.measured.lv_ef for s in part]) for part in (made[:3], made[3:]))
    assert strong - weak > 15  # of the 40 points asked for, in the open loop
    assert sum(not frame_defects(s.mask[0]) for s in made) >= 3
