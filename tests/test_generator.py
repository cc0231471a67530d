"""The whole generator, with nets of a few thousand weights, on real phantom hearts: mechanics, not quality."""

import dataclasses
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from micro import MICRO
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import generator_folder
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.fit import fit_generator
from nnunet_synth_aug.model.generator import STAGES, load_generator
from nnunet_synth_aug.model.motion_schemes import WholeCycle
from nnunet_synth_aug.synthesis.cascade import sample_anatomies, sample_cycles, sample_sequence
from nnunet_synth_aug.synthesis.figures import describe
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.pictures import write_gifs
from nnunet_synth_aug.synthesis.quality.control import UNCHECKED
from nnunet_synth_aug.synthesis.requests import RequestPlan, draw_priors
from nnunet_synth_aug.synthesis.sample import sample_to_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world(micro_generator):
    """nnU-Net's folders with a phantom cohort and a trained micro generator of fold 0."""
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, micro_generator)
        folder = generator_folder(Cohort.load("7").name, 0)
        yield micro_generator, folder, load_generator(folder, CPU)


def test_it_saw_the_training_patients_of_its_fold_and_says_so(world):
    _, folder, generator = world
    split = fold_patients(Cohort.load("7"), 0)
    assert tuple(generator.provenance["patients"]) == split.train
    assert not set(split.val) & set(generator.provenance["patients"])
    assert set(read_json(folder / "generator.json")["finished"]) == set(STAGES)
    assert not list(folder.glob("*.training.*"))


def test_more_slices_than_the_grid_holds_are_refused(world):
    asked = RequestPlan(0, PriorRequest(Priors(n_slices=13)))
    with pytest.raises(UserError, match="n_slices 13 is more than the 12 slices"):
        asked.requests(world[2], 1)
    assert RequestPlan(0, PriorRequest(Priors(n_slices=12))).requests(world[2], 1)[0].priors.n_slices == 12


def test_same_request_same_sequence_and_other_seed_another(world):
    generator = world[2]
    request = Request("a", 11, Priors(lv_edv=150, lv_ef=50))
    first, again, other = (sample_sequence(generator, r) for r in (request, request, dataclasses.replace(request, seed=12)))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_geometry_is_what_was_asked_for(world):
    sequence = sample_sequence(world[2], Request("a", 3, Priors(n_slices=7, slice_thickness=8.5), n_frames=13))
    assert sequence.image.shape == sequence.mask.shape == (13, 32, 32, 7)
    assert sequence.spacing[2] == 8.5
    assert sequence.image.min() >= 0
    assert sequence.ed == 0


def test_frame_zero_is_the_static_anatomy_for_any_number_of_frames(world):
    a, b = (sample_sequence(world[2], Request("a", 3, Priors(), n_frames=n, grain=False)) for n in (5, 24))
    assert a.frame_seconds * 5 == pytest.approx(b.frame_seconds * 24)  # the beat takes as long
    assert 0.3 < a.frame_seconds * 5 < 2
    np.testing.assert_allclose(a.image[0], b.image[0], atol=0.02)


def test_grain_roughens_the_image_and_leaves_the_masks_alone(world):
    generator = dataclasses.replace(world[2], templates=world[2].templates[:1])
    asked = Request("a", 3, Priors(), n_frames=6)
    rough, smooth = (sample_sequence(generator, dataclasses.replace(asked, grain=grain)) for grain in (True, False))
    np.testing.assert_array_equal(rough.mask, smooth.mask)
    low, high = generator.templates[0].grey
    difference = (rough.image - smooth.image) / (high - low) * 2
    assert 0.2 * min(generator.grain.spread) < difference.std() < 1.1 * max(generator.grain.spread)


@pytest.mark.parametrize("subset", [{}, {"lv_ef": 30.0}, {"diagnosis": "HCM"}, {"lv_edv": 200.0, "vendor": "GE", "sex": "F", "age": 50.0}])
def test_any_subset_of_priors_samples(world, subset):
    assert np.isfinite(sample_sequence(world[2], Request("a", 1, Priors(**subset), n_frames=3)).image).all()


def test_drawn_priors_stay_possible_anonymous_and_keep_what_is_given(world):
    for i in range(50):
        priors = draw_priors(world[2], np.random.default_rng(i), Priors(lv_ef=33.0)).validated()
        assert priors.lv_ef == 33.0
        assert priors.age is priors.height is priors.weight is None


def test_request_i_does_not_depend_on_how_many_are_asked_for(world):
    few, many = (RequestPlan(4).requests(world[2], n) for n in (3, 9))
    assert many[:3] == few
    assert len({r.seed for r in many}) == 9


def test_a_folder_of_sequences_is_readable_by_anyone(world, tmp_path):
    generator = world[2]
    asked = RequestPlan(0, PriorRequest(Priors(lv_ef=40.0)), 6, free=True).requests(generator, 2)
    ids = sample_to_folder(generator, asked, tmp_path, UNCHECKED)
    write_gifs(tmp_path, ids)
    image, mask = (nib.load(tmp_path / f"synth_00000_{kind}.nii.gz") for kind in ("image", "mask"))
    assert image.shape == mask.shape
    assert image.shape[3] == 6
    assert image.header.get_zooms()[:2] == pytest.approx((generator.grid.pixel,) * 2, abs=1e-4)
    assert image.header.get_zooms()[3] > 0
    assert image.header.get_xyzt_units() == ("mm", "sec")
    table = pd.read_csv(tmp_path / "priors.csv")
    assert table["lv_ef_percent_requested"].tolist() == [40.0, 40.0]
    assert read_index(tmp_path)[1]["patients"] == generator.provenance["patients"]
    assert (tmp_path / "synth_00001.gif").stat().st_size > 1000
    assert any("closure" in line for line in describe(tmp_path, generator))
    back = read_sequence(tmp_path, "synth_00001")
    anatomies = sample_anatomies(generator, [dataclasses.replace(asked[1], seed=back.seed)])
    again = sample_cycles(generator, anatomies, [back.motion_seed])[0]  # the JSON is enough to make it again
    assert np.mean(back.mask != again.mask) < 1e-4


def test_a_heart_does_not_depend_on_its_companions(world):
    """Different frames, slices, loops and priors in one batch; equal to one at a time but for the last bits."""
    generator = world[2]
    asked = [
        Request("a", 1, Priors(lv_ef=35.0), 5, calibrate=True),
        Request("b", 2, Priors(n_slices=5), 9),
        Request("c", 3, Priors(lv_edv=180.0, n_slices=8), None, calibrate=True),
        Request("d", 4, Priors(), 3),
    ]
    anatomies, seeds = sample_anatomies(generator, asked), [11, 12, 13, 14]
    for anatomy, request, seed, sequence in zip(anatomies, asked, seeds, sample_cycles(generator, anatomies, seeds), strict=True):
        alone = sample_anatomies(generator, [request])
        torch.testing.assert_close(anatomy.latent, alone[0].latent, atol=1e-4, rtol=0)
        single = sample_cycles(generator, alone, [seed])[0]
        assert sequence.image.shape == single.image.shape
        np.testing.assert_allclose(sequence.image, single.image, atol=0.05)
        assert np.mean(sequence.mask != single.mask) < 1e-3
        assert (sequence.id, sequence.seed, sequence.motion_seed) == (request.id, request.seed, seed)


class Balloon:
    """Stands in for the VAE: an LV disc whose radius is 10 pixels and what the latent's middle adds."""

    factor, latent_channels = 4, 4

    def decode(self, latent):
        x, y = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        r = torch.hypot(x - 16, y - 16)[None, :, :, None]
        radius = 10 + latent[:, 0, 4, 4, latent.shape[-1] // 2].clamp(-6, 3)[:, None, None, None]
        shape = (len(latent), 32, 32, latent.shape[-1])
        lv = (radius - r).expand(shape)
        return lv[:, None] / 32, torch.stack([-lv, torch.full(shape, -99.0), torch.full(shape, -99.0), lv], dim=1)


def test_the_closed_loop_comes_nearer_to_the_request_and_remembers_the_open_one(world, monkeypatch):
    def contraction(scheme, network, scale, ed, valid, conditions, noise, phases):
        """By 1.6 pixels and more, from heart to heart."""
        waves = [-(0.8 + 0.2 * i) * (1 - phi.cos()).float() for i, phi in enumerate(phases)]
        return [wave[:, None, None, None, None].expand(-1, *ed.shape[1:]) for wave in waves]

    monkeypatch.setattr(WholeCycle, "sample", contraction)
    half = torch.full_like(world[2].scale.std, 0.5)  # pixels of radius from heart to heart
    generator = dataclasses.replace(world[2], vae=Balloon(), scale=dataclasses.replace(world[2].scale, mean=0 * half, std=half))
    asked = [Request(f"{i}", i, Priors(lv_ef=50.0, lv_edv=140.0), 11) for i in range(5)]
    seeds = list(range(5))
    opened = sample_cycles(generator, sample_anatomies(generator, asked), seeds)
    closed = sample_cycles(generator, sample_anatomies(generator, [dataclasses.replace(r, calibrate=True) for r in asked]), seeds)
    for before, after in zip(opened, closed, strict=True):
        assert before.open_loop is None
        assert after.open_loop.lv_edv == pytest.approx(before.measured.lv_edv, rel=1e-3)
        assert after.open_loop.lv_ef == pytest.approx(before.measured.lv_ef, abs=0.5)
        assert abs(after.measured.lv_edv - 140) < abs(before.measured.lv_edv - 140)
        assert after.measured.lv_ef == pytest.approx(50, abs=5)  # a pixel more or less of the small disc is several points
    assert max(abs(s.measured.lv_ef - 50) for s in opened) > 10


def test_es_is_expected_where_the_template_has_it(world):
    """Before any contraction is there to measure."""
    generator = dataclasses.replace(world[2], templates=tuple(dataclasses.replace(t, es_fraction=0.3) for t in world[2].templates))

    class Still(Balloon):
        def decode(self, latent):
            return super().decode(latent * 0)

    sequence = sample_sequence(dataclasses.replace(generator, vae=Still()), Request("a", 0, Priors(), 20))
    assert sequence.es == 6


def test_sampling_resumes_and_equals_an_undisturbed_run(world, tmp_path):
    generator = world[2]
    asked = RequestPlan(0, n_frames=4).requests(generator, 4)
    sample_to_folder(generator, asked, tmp_path / "a", UNCHECKED, batch=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in ("synth_00002.json", "synth_00003_image.nii.gz", "synth_00003.json", "index.json", "priors.csv"):
        (tmp_path / "b" / name).unlink()
    write_json(tmp_path / "b" / "rejections.json", {"synth_00000": [], "synth_00001": []})
    sample_to_folder(generator, asked, tmp_path / "b", UNCHECKED, batch=2)
    for path in (tmp_path / "a").iterdir():
        other = tmp_path / "b" / path.name
        if path.suffix == ".json":
            assert read_json(path) == read_json(other)
    for sequence_id in ("synth_00002", "synth_00003"):
        assert np.array_equal(read_sequence(tmp_path / "a", sequence_id).image, read_sequence(tmp_path / "b", sequence_id).image)
    with pytest.raises(UserError, match="another generator, request, quality control or way of showing them"):
        sample_to_folder(generator, RequestPlan(1, n_frames=4).requests(generator, 4), tmp_path / "b", UNCHECKED)


def test_what_cannot_be_met_is_said_with_its_reasons(world, tmp_path):
    """An untrained generator makes no hearts."""
    with pytest.raises(UserError, match=r"none of \d+ samples .* passed the quality control"):
        sample_to_folder(world[2], [Request("synth_00000", 0, Priors(lv_ef=60.0), 4)], tmp_path)
    assert not list(tmp_path.glob("*.nii.gz"))


def test_a_damaged_or_unfinished_generator_is_refused(world, tmp_path):
    _, folder, _ = world
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = copy / "static.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="not the one"):
        load_generator(copy, CPU)
    weights.unlink()
    with pytest.raises(UserError, match="missing"):
        load_generator(copy, CPU)
    with pytest.raises(UserError, match="synthaug fit"):
        load_generator(tmp_path / "nowhere", CPU)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patients": None}, r"patients is null, not a list of at least one patient"),  # the leak guard rests on it
        ({"patients": []}, r"patients is \[\], not a list of at least one patient"),
        ({"patients": "p1"}, r"patients is 'p1', not a list"),
        ({"dataset": None}, "dataset is null, not a text"),
        ({"finished": None}, "does not say which stages are finished"),
        ({"grid": {"size": [16, 16, 4], "pixel": 4.0}}, r"has a grid of \[16, 16, 4\] but settings for"),
        ({"grid": {"size": [0, 0, 0], "pixel": 4.0}}, r"grid\.size\[0\] is 0, not a whole number of at least 1"),
        ({"grid": {"size": [32, 32, 12], "pixel": None}}, r"grid\.pixel is null, not a number above 0"),
        ({"grain": {"spread": [1.0]}}, r"grain\.spread is \[1\.0\], not a list of 12 numbers"),
        ({"templates": [{}]}, r"templates\[0\] lacks the key 'priors'"),
    ],
)
def test_a_damaged_description_is_refused(world, tmp_path, change, sentence):
    _, folder, _ = world
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    write_json(copy / "generator.json", read_json(copy / "generator.json") | change)
    with pytest.raises(UserError, match=sentence) as caught:
        load_generator(copy, CPU)
    assert str(caught.value).endswith(f"delete {copy} and run 'synthaug fit' again")
    for key in set(change) - {"finished"}:
        meta = read_json(folder / "generator.json")
        del meta[key]
        write_json(copy / "generator.json", meta)
        with pytest.raises(UserError, match=f"lacks the key '{key}'"):
            load_generator(copy, CPU)


def test_checkpoints_of_other_networks_are_refused(world, tmp_path):
    _, folder, _ = world
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.copyfile(copy / "static.safetensors", copy / "vae.safetensors")
    meta = read_json(copy / "generator.json")
    meta["finished"]["vae"]["sha256"] = meta["finished"]["static"]["sha256"]
    write_json(copy / "generator.json", meta)
    with pytest.raises(UserError, match=r"the checkpoints in .* are not those of its settings \(.*; delete"):
        load_generator(copy, CPU)


def test_hearts_need_patients_to_be_near_to(world):
    """The generator of phantoms that is shipped knows none."""
    with pytest.raises(UserError, match="is only there to be continued; run 'synthaug fit'"):
        RequestPlan(0).requests(dataclasses.replace(world[2], templates=()), 1)


def test_a_generator_of_other_settings_is_not_continued(world):
    with pytest.raises(UserError, match="other patients or settings"):
        fit_generator("7", 0, dataclasses.replace(MICRO, seed=1), CPU)


def test_a_finished_stage_is_kept_and_the_result_is_the_same(world, tmp_path):
    """As after a kill between two stages."""
    _, folder, generator = world
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "motion.safetensors").unlink()
    meta = read_json(copy / "generator.json")
    del meta["finished"]["motion"]
    write_json(copy / "generator.json", meta)
    fit_generator("7", 0, MICRO, CPU, copy)
    again = load_generator(copy, CPU)
    assert again.provenance["generator_hash"] == generator.provenance["generator_hash"]
