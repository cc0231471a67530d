"""The realism report: distances and descriptors against closed forms, then the whole report on phantom hearts."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.reports.cines import Cine, real_cine, synthetic_cine
from nnunet_synth_aug.reports.realism import fvd
from nnunet_synth_aug.reports.realism.distances import Population, compare, frechet_distance, shrunk_covariance, two_sample_p
from nnunet_synth_aug.reports.realism.features import (
    FAMILIES,
    descriptors,
    fine_detail,
    harmonic_shares,
    moment_shape,
    principal_components,
    segmenter_features,
    wall_thickness,
)
from nnunet_synth_aug.reports.realism.section import realism_report
from nnunet_synth_aug.reports.realism.temporal import jerk, label_flips
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence
from nnunet_synth_aug.synthesis.quality.defects import minima

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sequences(world, tmp_path_factory):
    """In the place of the generator's sequences, phantoms of another seed: a perfect generator of the cohort."""
    folder, ids = tmp_path_factory.mktemp("sequences"), []
    for index in range(4):
        phantom = phantom_subject(index, seed=6)
        source = phantom.source
        ids.append(f"synth_{index:05d}")
        write_sequence(
            folder,
            SyntheticSequence(
                id=ids[-1], image=source.image.astype(np.float32), mask=phantom.mask, spacing=source.spacing, ed=0, es=source.es,
                frame_seconds=source.frame_seconds, seed=index, requested=Priors(lv_edv=100.0 + index), measured=Priors(),
            ),
        )  # fmt: skip
    write_index(folder, ids, world.generator.provenance)
    return folder


def test_frechet_distance_against_closed_forms():
    rng = np.random.default_rng(0)
    a, b = np.diag([1.0, 4.0]), np.diag([9.0, 1.0])
    # Axis-aligned Gaussians: sum of (mean difference)^2 + (SD difference)^2.
    assert frechet_distance(np.zeros(2), a, np.array([3.0, 4.0]), b) == pytest.approx(25 + 4 + 1)
    m, n = (x @ x.T for x in rng.normal(size=(2, 5, 5)))
    expected = np.trace(m + n - 2 * sqrtm(m @ n).real)
    assert frechet_distance(np.zeros(5), m, np.zeros(5), n) == pytest.approx(expected)
    assert frechet_distance(np.ones(5), m, np.ones(5), m) == pytest.approx(0, abs=1e-6)


def test_shrunk_covariance_is_ledoit_and_wolf():
    covariance = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(1)
    for n, d in ((6, 20), (50, 5), (2, 3)):
        x = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d)
        np.testing.assert_allclose(shrunk_covariance(x), covariance.ledoit_wolf(x)[0], atol=1e-10)


def test_distances_of_samples_whose_moments_are_known():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    a, b = (np.arange(400) < 200).astype(int), (np.arange(400) >= 200).astype(int)
    moved = Population(np.concatenate([x, x + 0.5]), np.arange(400))
    assert moved.frechet(a, b) == pytest.approx(3 * 0.5**2)
    centred = x - x.mean(axis=0)
    scaled = Population(np.concatenate([centred, 3 * centred]), np.arange(400), shrink=False)
    assert scaled.frechet(a, b) == pytest.approx((3 - 1) ** 2 * np.trace(np.cov(x.T)))
    density, coverage = moved.density_coverage(a, a)
    assert coverage == 1
    assert density == pytest.approx(1 + 1 / 5, abs=0.05)  # every row is in its own neighbourhood besides those of about k others


def test_kernel_distance_is_unbiased():
    """Its mean over many small samples is that of the populations: 0 for equal ones, known from moments for shifted ones."""
    rng = np.random.default_rng(3)
    a, b = (np.arange(16) < 8).astype(int), (np.arange(16) >= 8).astype(int)

    def kernel_mean(m: float, n: float) -> float:
        """E[(x y + 1)^3] for independent x ~ N(m, 1), y ~ N(n, 1), by E[x^2] = m^2 + 1 and E[x^3] = m^3 + 3 m."""
        return (m**3 + 3 * m) * (n**3 + 3 * n) + 3 * (m**2 + 1) * (n**2 + 1) + 3 * m * n + 1

    for shift in (0.0, 0.7):
        expected = kernel_mean(0, 0) + kernel_mean(shift, shift) - 2 * kernel_mean(0, shift)
        found = [Population(rng.normal(size=(16, 1)) + shift * b[:, None], np.arange(16)).mmd(a, b) for _ in range(2000)]
        assert abs(np.mean(found) - expected) < 3.5 * np.std(found) / math.sqrt(len(found))
    assert expected > 1  # the test above could not pass by always finding 0


def test_rows_of_one_group_do_not_count_as_independent():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(20, 3))
    doubled = np.repeat(x, 2, axis=0)
    half = np.arange(20) < 10
    single = Population(x, np.arange(20)).mmd(half.astype(int), (~half).astype(int))
    twice = Population(doubled, np.repeat(np.arange(20), 2)).mmd(np.repeat(half, 2).astype(int), np.repeat(~half, 2).astype(int))
    assert twice == pytest.approx(single)


def test_mode_collapse_is_seen_by_coverage_and_not_by_density():
    rng = np.random.default_rng(5)
    real, collapsed = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) * 0.05
    groups = [str(i) for i in range(60)]
    found = {d.metric: d for d in compare(real, groups, collapsed, groups, resamples=60)}
    assert found["coverage"].matched < found["coverage"].floor_low
    assert found["density"].matched > 0.8
    assert found["frechet"].matched > found["frechet"].floor_high


def test_equal_populations_are_within_the_floor_and_shifted_ones_beyond():
    rng = np.random.default_rng(6)
    groups = [str(i) for i in range(40)]
    real = rng.normal(size=(40, 4)) * [1, 10, 100, 0.1]  # units must not matter
    same, other = (rng.normal(size=(40, 4)) + s for s in (0, 1.5))
    for synthetic, beyond in ((same, False), (other, True)):
        for d in compare(real, groups, synthetic * [1, 10, 100, 0.1], groups, resamples=100)[:2]:
            assert (d.matched > d.floor_high) == beyond
            assert d.low <= d.value <= d.high
            assert d.n_matched == 20
        assert (two_sample_p(real, groups, synthetic * [1, 10, 100, 0.1], groups, permutations=99) < 0.05) == beyond
    with pytest.raises(UserError, match="too few"):
        compare(real[:3], groups[:3], same, groups)


def test_jerk_of_a_harmonic_is_its_number_squared():
    phi = 2 * np.pi * np.arange(400) / 400
    for k in (1, 3):
        assert jerk(np.sin(k * phi)[:, None], 400) == pytest.approx(k**2, rel=0.02)


def test_volume_minima_ignore_wiggles_and_find_a_second_dip():
    phi = 2 * np.pi * np.arange(30) / 30
    one = 100 + 30 * np.cos(phi)
    assert minima(one) == minima(np.roll(one, 11)) == 1
    assert minima(one + 0.3 * np.cos(9 * phi)) == 1
    assert minima(100 + 30 * np.cos(2 * phi)) == 2


def test_label_flips_of_a_voxel_that_changes_and_returns_are_two():
    mask = np.zeros((10, 3), np.uint8)
    mask[3:6, 0] = LV
    assert label_flips(mask) == 2
    mask[::2, 1] = LV
    assert label_flips(mask) == (2 + 10) / 2
    assert label_flips(np.ones((4, 2))) == 0


def test_shape_of_ellipses_and_of_what_is_none():
    x, y = np.meshgrid(np.arange(200) - 100, np.arange(200) - 100, indexing="ij")
    ratio, ellipticity = moment_shape((x / 80) ** 2 + (y / 40) ** 2 < 1)
    assert ratio == pytest.approx(0.5, abs=0.01)
    assert ellipticity == pytest.approx(1, abs=0.01)
    assert moment_shape((abs(x) < 60) & (abs(y) < 60))[1] == pytest.approx(3 / math.pi, abs=0.01)  # a square: A = 4h^2, var = h^2 / 3
    ring = np.hypot(x, y) < 80
    assert moment_shape(ring & (np.hypot(x, y) > 60))[1] < 0.4


def test_wall_thickness_of_a_ring():
    x, y = np.meshgrid(np.arange(128) - 64, np.arange(128) - 64, indexing="ij")
    r = np.hypot(x, y)
    mask = np.where(r < 30, LV, np.where(r < 40, MYO, 0))[..., None]
    assert wall_thickness(mask, 1.5) == pytest.approx(15, abs=0.2)


def test_harmonic_shares_recover_a_mixture():
    phi = 2 * np.pi * np.arange(25) / 25
    signal = (2 * np.cos(phi) + np.sin(2 * phi) + 5)[:, None]
    np.testing.assert_allclose(harmonic_shares(signal, phi), [0.8, 0.2, 0, 0], atol=1e-9)


def test_fine_detail_rises_with_noise_and_ignores_brightness():
    rng = np.random.default_rng(7)
    x = np.linspace(0, 1, 64)
    smooth = np.sin(6 * x)[:, None, None] * np.cos(4 * x)[None, :, None] * np.ones(3)
    valid = np.ones(smooth.shape, bool)
    low, high = fine_detail(smooth, valid), fine_detail(smooth + 0.2 * rng.normal(size=smooth.shape), valid)
    assert low < 0.01 < high
    assert fine_detail(3 * smooth + 10, valid) == pytest.approx(low, rel=1e-3)


def test_principal_components_keep_the_distances_they_can():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(10, 50)), rng.normal(size=(8, 50)) + 1
    p, q = principal_components(a, b, 32)
    assert p.shape[1] == q.shape[1] <= 32
    np.testing.assert_allclose(np.linalg.norm(p[:, None] - q[None], axis=2), np.linalg.norm(a[:, None] - b[None], axis=2))


def test_descriptors_are_known_for_whole_cines_and_do_not_depend_on_brightness(world):
    generator, cohort = world.generator, world.cohort
    subject = cohort.subjects[0]
    cine = real_cine(generator, subject)
    found = descriptors(cine)
    assert set(found) == {name for names in FAMILIES.values() for name in names}
    assert all(math.isfinite(v) for v in found.values())
    assert found["lv_ef"] == pytest.approx(subject.priors.lv_ef, abs=6)
    assert math.exp(found["lv_edv"]) == pytest.approx(subject.priors.lv_edv, rel=0.1)
    without = descriptors(dataclasses.replace(cine, structures=frozenset({LV, MYO}), moving=False))
    assert math.isnan(without["rv_edv"])
    assert math.isnan(without["closure"])
    assert without["lv_edv"] == found["lv_edv"]


def test_real_and_generated_copies_of_one_heart_look_the_same(world, tmp_path):
    """Neither storage nor grey scale may tell them apart."""
    generator, cohort = world.generator, world.cohort
    subject = cohort.subjects[1]
    sequence = load_sequence(subject)
    write_sequence(
        tmp_path,
        SyntheticSequence(
            id="a", image=sequence.image * 4 + 100, mask=sequence.mask, spacing=sequence.spacing, ed=sequence.ed, es=sequence.es,
            frame_seconds=0.04, seed=0, requested=Priors(), measured=Priors(),
        ),
    )  # fmt: skip
    real, copy = real_cine(generator, subject), synthetic_cine(generator, tmp_path, "a")
    np.testing.assert_allclose(real.image, copy.image, atol=0.01)
    mine, other = descriptors(real), descriptors(copy)
    for name in FAMILIES["anatomy"] + FAMILIES["appearance"]:
        assert other[name] == pytest.approx(mine[name], abs=0.02)


class Nets:
    """Stand-ins with the real ones' interfaces; `segment` runs the network as nnU-Net's predictor would."""

    def __init__(self):
        stage = torch.nn.Conv2d(1, 6, 3, stride=4)
        encoder = torch.nn.Module()
        encoder.stages = torch.nn.ModuleList([stage])
        network = torch.nn.Module()
        network.encoder = encoder
        self.nnunet = SimpleNamespace(network=network)

    def segment(self, image, spacing):
        assert len(spacing) == 3
        with torch.no_grad():
            self.nnunet.network.encoder.stages[-1](torch.from_numpy(image / image.std()).movedim(-1, 0)[:, None])
        return np.zeros(image.shape, np.uint8)


class FakeI3D(torch.nn.Module):
    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> torch.Tensor:
        assert rescale and resize and return_features
        assert x.shape[1] == 3
        x = x / 255.0
        return torch.stack([x.mean((1, 2, 3, 4)), x.std((1, 2, 3, 4)), (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3, 4))], dim=1)


def test_segmenter_features_are_those_of_ed_and_es_and_the_hook_goes(world):
    generator, cohort = world.generator, world.cohort
    nets, cine = Nets(), real_cine(generator, cohort.subjects[0])
    found = segmenter_features(nets, cine)
    assert found.shape == (12,)
    assert not np.allclose(found[:6], found[6:])
    assert not nets.nnunet.network.encoder.stages[-1]._forward_hooks


def test_the_whole_report(world, sequences, tmp_path, monkeypatch):
    generator, cohort = world.generator, world.cohort
    monkeypatch.setattr(fvd, "MIN_CLIPS", 12)
    weights = tmp_path / "i3d.pt"
    torch.jit.script(FakeI3D()).save(str(weights))
    report = realism_report(generator, cohort, sequences, tmp_path / "out", Nets(), weights)
    written = read_json(tmp_path / "out" / "realism.json")
    assert written["notes"] == report["notes"]
    assert set(report["distances"]) >= {
        "FD-cine",
        "FD-cine, held-out patients",
        "FD-cine, anatomy",
        "FD-cine, appearance",
        "FD-cine, motion",
        "FD-seg",
        "FVD",
    }
    for entry in report["distances"].values():
        for d in entry["distances"]:
            assert all(math.isfinite(v) for v in d.values() if isinstance(v, float))
    assert report["distances"]["FD-cine"]["distances"][0]["n_matched"] == len(cohort.subjects) // 2
    video = report["distances"]["FVD"]
    assert len(video["weights_sha256"]) == 64
    assert video["protocol"]["clip_frames"] == 16
    assert (video["n_real"], video["n_synthetic"]) == (3 * len(cohort.subjects), 12)
    assert report["distances"]["FD-cine"]["p"] > 0.05  # a perfect generator
    temporal = report["temporal"]
    assert temporal["synthetic"]["share_with_one_lv_minimum"] == 1  # phantoms are plausible by construction
    assert temporal["synthetic"]["label_flips"]["median"] >= 2
    assert temporal["real"]["closure"]["n"] == len(cohort.subjects)
    assert "label_flips" not in temporal["real"]
    for name in ("distances", "descriptors", "temporal"):
        assert (tmp_path / "out" / f"realism_{name}.png").stat().st_size > 5000


def test_too_few_clips_and_wrong_files_are_refused(world, sequences, tmp_path):
    generator, cohort = world.generator, world.cohort
    with pytest.raises(UserError, match="fewer than 64"):
        fvd.enough_clips(64, 63)
    fvd.enough_clips(64, 64)
    no_network = tmp_path / "weights.pt"
    no_network.write_bytes(b"nothing")
    with pytest.raises(UserError, match="TorchScript"):
        realism_report(generator, cohort, sequences, tmp_path / "out", None, no_network)
    with pytest.raises(UserError, match="does not exist"):
        realism_report(generator, cohort, sequences, tmp_path / "out", None, tmp_path / "missing.pt")
    wrong = tmp_path / "other.pt"
    torch.jit.script(torch.nn.Conv3d(3, 2, 1)).save(str(wrong))
    with pytest.raises(UserError, match="21 real and 12 generated clips"):
        realism_report(generator, cohort, sequences, tmp_path / "out", None, wrong)
    with pytest.raises(UserError, match="cannot be called as I3D"):
        fvd.VideoNetwork(wrong, CPU).features(np.zeros((1, 16, 8, 8), np.float32))
    assert not (tmp_path / "out").exists()


def test_clips_start_at_ed_and_go_round_once():
    image = np.arange(20, dtype=np.float32)[:, None, None, None] / 20 * np.ones((20, 4, 5, 9), np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[7, :, :, 2:7] = RV
    cine = Cine("a", "a", image, mask, np.ones(image.shape[1:], bool), (1.0, 1.0, 8.0), 7, 15, (7, 15), frozenset({RV}), True, 20.0)
    found = fvd.clips(cine)
    assert found.shape == (3, 16, 5, 4)
    frames = (found[0, :, 0, 0] / 255 * 20).round().astype(int)
    assert frames[0] == 7
    assert np.array_equal(np.sort((frames - 7) % 20), (frames - 7) % 20)  # in order, once round
    assert fvd.clips(dataclasses.replace(cine, moving=False)).shape[0] == 0
