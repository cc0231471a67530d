"""Requests, reconstruction and the whole report on a micro generator of phantom hearts: mechanics, not quality."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from shared_folders import set_folders
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nnunet_synth_aug.cli import generator as commands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import generator_folder, preprocessed_folder
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.data.splits import SPLITS, fold_patients
from nnunet_synth_aug.model.config import PRESETS, GeneratorConfig, GridConfig, LatentConfig, LDMConfig, TrainConfig, VAEConfig
from nnunet_synth_aug.model.fit import fit_generator
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.painter.painter import PainterConfig
from nnunet_synth_aug.nnunet.painting import fold_hearts
from nnunet_synth_aug.reports.markdown import headline
from nnunet_synth_aug.reports.reconstruction import checkerboard, detail, dice, explained, psnr, reconstruction_report, ssim, worst_power
from nnunet_synth_aug.reports.reference_patients import reference_patients, reference_requests
from nnunet_synth_aug.reports.run import run_reports
from nnunet_synth_aug.synthesis.folder import read_sequence

CPU = torch.device("cpu")
SHORT = TrainConfig(steps=4, batch_size=2)
MICRO = GeneratorConfig(
    preset="micro",
    grid=GridConfig(size=(32, 32, 12)),
    vae=VAEConfig(channels=(4, 8), latent_channels=4, train=TrainConfig(steps=30, batch_size=2)),
    latents=LatentConfig(copies=1, max_frames=5, harmonics=2, components=6),
    static=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2, train=SHORT),
    motion=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2, train=SHORT),
)


@pytest.fixture(scope="module")
def world(phantoms, tmp_path_factory):
    """A phantom cohort of six in two folds, and a micro generator of fold 0."""
    root = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        write_dataset(phantoms[:6], 7, "Phantom", folds=2)
        generator = load_generator(fit_generator("7", 0, MICRO, CPU), CPU)
        yield generator, Cohort.load("7")


def test_reference_patients_are_those_that_were_never_seen(world):
    generator, cohort = world
    found = reference_patients(generator, cohort)
    assert found.held_out
    assert sorted(found.patients) == sorted(fold_patients(cohort, 0).val)
    assert not set(found.patients) & set(generator.provenance["patients"])
    diagnoses = [cohort.subject(p).priors.diagnosis for p in found.patients]
    assert len(set(diagnoses[: len(set(diagnoses))])) == len(set(diagnoses))  # every group comes before any comes twice


def test_requests_are_theirs_open_loop_anonymous_and_stable(world):
    generator, cohort = world
    patients = reference_patients(generator, cohort).patients
    many, few = reference_requests(generator, cohort, 7, 3), reference_requests(generator, cohort, 2, 3)
    assert many[:2] == few
    assert len({r.seed for r in many}) == len({r.id for r in many}) == 7
    assert not any(r.calibrate for r in many)
    for request, patient in zip(many, patients * 3, strict=False):
        own = cohort.subject(patient).priors
        assert (request.priors.lv_edv, request.priors.lv_ef, request.priors.diagnosis) == (own.lv_edv, own.lv_ef, own.diagnosis)
        assert request.priors.age is request.priors.height is request.priors.weight is request.priors.sex is None
        assert request.priors.n_slices <= generator.grid.size[2]
    assert all(r.calibrate for r in reference_requests(generator, cohort, 2, 3, calibrate=True))


def test_a_generator_that_saw_its_reference_patients_is_refused(world):
    generator, cohort = world
    path = preprocessed_folder(cohort.name) / SPLITS
    good = read_json(path)
    try:
        write_json(path, good[::-1])
        with pytest.raises(UserError, match="the split was changed"):
            reference_patients(generator, cohort)
    finally:
        write_json(path, good)


def test_without_held_out_patients_it_says_so(world):
    generator, cohort = world
    everyone = dataclasses.replace(generator, provenance=generator.provenance | {"fold": "all"})
    found = reference_patients(everyone, cohort)
    assert not found.held_out
    assert "TRAINING" in found.words
    assert sorted(found.patients) == sorted(generator.provenance["patients"])
    elsewhere = dataclasses.replace(generator, provenance=generator.provenance | {"dataset": "Dataset001_X"})
    with pytest.raises(UserError, match="was trained on Dataset001_X"):
        reference_patients(elsewhere, cohort)


def test_image_figures_equal_scikit_image_where_everything_is_valid():
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.uniform(-1, 1, (2, 24, 20, 3)).astype(np.float32))
    b = (a + torch.from_numpy(rng.normal(0, 0.2, a.shape).astype(np.float32))).clamp(-1, 1)
    everywhere = torch.ones(24, 20, 3, dtype=torch.bool)
    assert psnr(b, a, everywhere) == pytest.approx(peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=2), abs=1e-4)
    options = {"data_range": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    maps = [structural_similarity(a[t, ..., z].numpy(), b[t, ..., z].numpy(), **options)[1] for t in range(2) for z in range(3)]
    assert ssim(b, a, everywhere) == pytest.approx(float(np.mean(maps)), abs=1e-5)


def test_what_is_not_valid_does_not_count():
    rng = np.random.default_rng(1)
    valid = torch.zeros(24, 20, 3, dtype=torch.bool)
    valid[4:20, 3:17, 1:] = True
    a = torch.from_numpy(rng.uniform(-1, 1, (2, 24, 20, 3)).astype(np.float32)) * valid
    b = (a + 0.1) * valid
    wild = torch.where(valid, b, torch.full_like(b, 0.9))
    assert psnr(wild, a, valid) == psnr(b, a, valid) == pytest.approx(20 * math.log10(2 / 0.1), abs=1e-3)
    assert ssim(wild, a, valid) == ssim(b, a, valid)
    assert dice(wild[0] > 0.5, (a[0] > 0.5) & valid, valid) == dice(b[0] > 0.5, a[0] > 0.5, valid)
    assert math.isnan(dice(valid & False, valid & False, valid))
    assert explained(a, a) == 1
    assert explained(a, torch.zeros_like(a)) == 0
    assert explained(a, 0.5 * a) == pytest.approx(0.75)
    assert detail(wild, valid) == detail(b, valid) == pytest.approx(detail(a, valid), abs=1e-6)  # an offset is no detail
    assert checkerboard(wild, valid) == checkerboard(b, valid) == pytest.approx(checkerboard(a, valid), abs=1e-6)


def test_power_is_lost_by_blur_gained_by_noise_and_untouched_by_an_offset():
    rng = np.random.default_rng(2)
    a = torch.from_numpy(gaussian_filter(rng.normal(0, 1, (2, 48, 40, 3)), (0, 1, 1, 0)).astype(np.float32))
    valid = torch.zeros(48, 40, 3, dtype=torch.bool)
    valid[6:42, 5:35, 1:] = True
    blurred = torch.from_numpy(gaussian_filter(a.numpy(), (0, 1.5, 1.5, 0)))
    noisy = a + 0.5 * torch.from_numpy(rng.normal(0, 1, a.shape).astype(np.float32))
    assert worst_power(a, a, valid) == pytest.approx(1)
    assert worst_power(a + 0.3, a, valid) == pytest.approx(1, abs=1e-4)
    assert worst_power(2 * a, a, valid) == pytest.approx(4)
    assert worst_power(blurred, a, valid) < 0.3
    assert worst_power(noisy, a, valid) > 1.2
    assert worst_power(torch.where(valid, blurred, noisy), a, valid) == pytest.approx(worst_power(blurred, a, valid))


def test_detail_sees_neither_a_checkerboard_nor_a_slope_and_the_other_figure_nothing_but_the_first():
    everywhere = torch.ones(24, 20, 3, dtype=torch.bool)
    x, y = torch.meshgrid(torch.arange(24), torch.arange(20), indexing="ij")

    def frames(plane):
        return plane[None, ..., None].float().expand(2, 24, 20, 3)

    board, slope = frames(0.3 * (-1.0) ** (x + y)), frames(x / 10 - y / 20)
    stripes = frames(torch.cos(torch.pi * x / 2))  # four pixels long, along one axis
    assert detail(board, everywhere) == pytest.approx(0, abs=1e-6)
    assert detail(slope, everywhere) == pytest.approx(0, abs=1e-6)
    assert detail(stripes, everywhere) > 0.8
    assert checkerboard(board, everywhere) == pytest.approx(0.3, abs=1e-6)
    assert checkerboard(stripes, everywhere) == pytest.approx(0, abs=1e-6)


def test_reconstruction_tells_each_vendor_and_what_motion_loses(world, tmp_path):
    generator, cohort = world
    report = reconstruction_report(generator, cohort, tmp_path)
    vendors = {cohort.subject(p).priors.vendor for p in fold_patients(cohort, 0).val}
    assert set(report["groups"]) == {"all", *vendors}
    everyone = report["groups"]["all"]
    assert everyone["n"] == 3
    assert 5 < everyone["psnr"]["value"] < 60
    assert -0.2 < everyone["ssim"]["value"] < 0.5  # an untrained VAE resembles nothing
    # Fewer degrees of freedom explain less; no model of the motion can be worse than none by least squares with a small ridge.
    assert 0 < everyone["motion_components"]["value"] <= everyone["motion_basis"]["value"] + 1e-6
    assert everyone["motion_basis"]["value"] < 1
    assert "held-out" in report["patients"]
    lines = (tmp_path / "reconstruction.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    assert read_json(tmp_path / "reconstruction.json")["groups"].keys() == report["groups"].keys()


def test_reconstruction_improves_with_what_it_may_keep(world, tmp_path):
    """All directions and as many harmonics as the frames allow keep nearly all motion; the ridge takes the rest."""
    generator, cohort = world
    narrow = reconstruction_report(generator, cohort, tmp_path)["groups"]["all"]["motion_basis"]["value"]
    wide = dataclasses.replace(MICRO, latents=dataclasses.replace(MICRO.latents, harmonics=6))
    # The components of another K do not fit; the basis alone is looked at.
    size = 12 * generator.vae.latent_channels
    scale = dataclasses.replace(generator.scale, directions=torch.eye(size), spread=torch.ones(size))
    report = reconstruction_report(dataclasses.replace(generator, config=wide, scale=scale), cohort, tmp_path)["groups"]["all"]
    assert report["motion_basis"]["value"] > narrow
    assert report["motion_components"]["value"] == pytest.approx(report["motion_basis"]["value"], abs=1e-5)  # a whole basis loses nothing


def test_the_whole_report_is_written_and_resumes(world, tmp_path):
    generator, cohort = world
    out = tmp_path / "report"
    only = ("controllability", "reconstruction")
    report = run_reports(generator, cohort, out, 4, only=only, closed_loop=True)
    assert set(report["reports"]) == set(only)
    assert report["reference_patients"]["held_out"]
    assert "patients" not in report["generator"]
    text = (out / "report.md").read_text()
    for word in ("held-out patients", "CCC", "Closed loop", "Reconstruction", "controllability.png"):
        assert word in text
    assert "nan" not in text.lower().split()
    assert text.index("hearts.png") < text.index("## Controllability"), "it begins with a picture"
    assert (out / "hearts.png").stat().st_size > 10_000
    assert read_json(out / "report.json")["reports"]["controllability"]["n"] == 4
    assert headline(report)
    before = {p.name: p.stat().st_mtime_ns for p in (out / "sequences").glob("*.nii.gz")}
    shutil.rmtree(out / "sequences_closed_loop")
    again = run_reports(generator, cohort, out, 5, only=["controllability"])
    assert again["reports"]["controllability"]["n"] == 5
    assert {name: (out / "sequences" / name).stat().st_mtime_ns for name in before} == before


def test_painted_hearts_are_judged_as_they_are_painted(world, tmp_path):
    generator, cohort = world
    config = PainterConfig(side=48, width=24, blocks=2, train=SHORT)
    show = fold_hearts(cohort.name, 0, None, CPU, config)
    report = run_reports(generator, cohort, tmp_path, 2, only=["controllability"], show=show)
    assert report["painter"] == show.identity
    shown = read_sequence(tmp_path / "sequences", "synth_00000")
    assert shown.painted_as in show.shown_as
    assert "its hearts painted around their contours" in (tmp_path / "report.md").read_text()
    with pytest.raises(UserError, match=r"sequences"):
        run_reports(generator, cohort, tmp_path, 2, only=["controllability"])  # these would be others


def test_a_report_that_cannot_be_made_does_not_cost_the_others(world, tmp_path, monkeypatch):
    generator, cohort = world

    def refuse(*_):
        raise UserError("too few hearts for this")

    monkeypatch.setattr("nnunet_synth_aug.reports.realism.section.realism_report", refuse)
    monkeypatch.setattr("nnunet_synth_aug.reports.memorisation.section.memorisation_report", refuse)
    report = run_reports(generator, cohort, tmp_path, 2)
    assert report["reports"]["realism"] == {"refused": "too few hearts for this"}
    assert report["reports"]["reconstruction"]["groups"]
    assert "Not made: too few hearts for this." in (tmp_path / "report.md").read_text()
    with pytest.raises(UserError, match="too few hearts"):
        run_reports(generator, cohort, tmp_path, 2, only=["realism"])
    with pytest.raises(UserError, match=r"none\.pt does not exist"):
        run_reports(generator, cohort, tmp_path, 2, fvd_weights=tmp_path / "none.pt")
    with pytest.raises(UserError, match="--only beauty is no report; choose from controllability"):
        run_reports(generator, cohort, tmp_path, 2, only=["beauty"])


def test_fit_ends_with_a_report_and_report_can_be_rerun(world, tmp_path, monkeypatch, capsys):
    generator, cohort = world
    monkeypatch.setitem(PRESETS, "tiny", MICRO)
    monkeypatch.setattr(commands, "SHORT_REPORT", 3)
    folder = generator_folder(cohort.name, 0)
    monkeypatch.setenv("RANK", "1")
    commands.fit("7", preset="tiny")
    monkeypatch.delenv("RANK")
    commands.fit("7", preset="tiny", report=False)
    assert not (folder / "report").exists()
    commands.fit("7", preset="tiny")
    assert read_json(folder / "report" / "report.json")["reports"]["controllability"]["n"] == 3
    assert (folder / "report" / "controllability.png").is_file()
    capsys.readouterr()
    assert "**Not made yet.**" in (folder / "README.md").read_text()
    audit = {
        "neighbours": {"latent": {"ratio": {"median": 1.0, "low": 0.9, "high": 1.1}, "near_copies": 0}},
        "membership": {"auc": 0.5, "low": 0.4, "high": 0.6},
        "n": {"synthetic": 3, "training": 3, "held_out": 3},
        "flagged": False,
        "verdict": ["No sign of memorisation was found."],
    }
    monkeypatch.setattr("nnunet_synth_aug.reports.memorisation.section.memorisation_report", lambda *_: audit)  # its own tests: seconds
    commands.report("7", tmp_path / "again", n=3, only=["controllability", "memorisation"])
    lines = capsys.readouterr().out.splitlines()
    assert f"card: {folder / 'README.md'}" in lines
    assert "- No sign of memorisation was found." in (folder / "README.md").read_text()
    assert lines[-1] == f"report: {tmp_path / 'again' / 'report.md'}"
    assert any(line.startswith("LV EDV [mL]") or "LV mass" in line for line in lines)
    same = [read_json(root / "controllability.json")["open_loop"] for root in (folder / "report", tmp_path / "again")]
    assert same[0] == same[1]  # same seed, same hearts, same figures
    assert load_generator(folder, CPU).provenance == generator.provenance  # the report does not touch the generator
    with pytest.raises(UserError, match="not an nnU-Net results folder"):
        commands.report("7", tmp_path / "never", segmenter=tmp_path)
    assert not (tmp_path / "never").exists()
