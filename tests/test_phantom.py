"""The digital phantom: its masks, volumes and motion are exact, and its images look like bSSFP."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from nnunet_synth_aug.core.choices import Protocols
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, LV, MYO, MYOCARDIAL_DENSITY, RV, VENDORS
from nnunet_synth_aug.core.prior_request import parse_priors
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.phantom import PhantomSubject, phantom_cohort, phantom_name, phantom_subject
from nnunet_synth_aug.data.phantom.heart import BINS, contours
from nnunet_synth_aug.data.phantom.physiology import slot
from nnunet_synth_aug.data.phantom.signal import TISSUES, Scan, after_agent, bssfp
from nnunet_synth_aug.data.phantom.thorax import Envelope, draw_thorax, paint_thorax
from nnunet_synth_aug.data.phantom.torso import FAR, draw_torso, paint_torso

CASES = range(5)  # one of each diagnosis, from all four vendors


@cache
def case(index: int) -> PhantomSubject:
    return phantom_subject(index, seed=3)


def digest(subject: PhantomSubject) -> str:
    source = subject.source
    return hashlib.sha256(source.image.tobytes() + subject.mask.tobytes() + repr(source.priors).encode()).hexdigest()


def touching(mask: np.ndarray, of: int, by: int) -> int:
    """Number of in-plane neighbours (4 per pixel) of label ``of`` that carry the label ``by``; mask (T, X, Y, Z)."""
    pairs = 0
    for axis in (1, 2):
        for step in (1, -1):
            pairs += int(((mask == of) & (np.roll(mask, step, axis) == by)).sum())
    return pairs


def piece_count(mask: np.ndarray) -> int:
    """Connected pieces (diagonals count) of all labels in one slice (X, Y)."""
    return sum(label(mask == value, structure=np.ones((3, 3)))[1] for value in (RV, MYO, LV))


@pytest.mark.parametrize("index", CASES)
def test_arrays_and_bookkeeping(index: int) -> None:
    subject = case(index)
    source = subject.source
    assert source.image.dtype == np.int16
    assert subject.mask.dtype == np.uint8
    assert source.image.shape == subject.mask.shape
    frames, x, y, z = source.image.shape
    assert 16 <= frames <= 32
    assert 80 <= x <= 132
    assert x == y
    assert 6 <= z <= 9
    assert source.is_cine
    assert set(source.masks) == {"ED", "ES"}
    np.testing.assert_array_equal(source.masks["ED"], subject.mask[source.ed])
    np.testing.assert_array_equal(source.masks["ES"], subject.mask[source.es])
    assert 1.3 <= source.spacing[0] <= 1.9
    assert 6 <= source.spacing[2] <= 11
    assert 0.015 < source.frame_seconds < 0.08
    assert np.ptp(source.image) > 250  # enough grey values for a z-score and a histogram
    # The heart is inside the field of view, with a margin.
    assert not subject.mask[:, :3].any()
    assert not subject.mask[:, -3:].any()
    assert not subject.mask[:, :, :3].any()
    assert not subject.mask[:, :, -3:].any()


@pytest.mark.parametrize("index", CASES)
def test_ed_is_the_largest_and_es_the_smallest_cavity(index: int) -> None:
    subject = case(index)
    voxels = np.count_nonzero(subject.mask == LV, axis=(1, 2, 3))
    assert subject.source.ed == 0
    assert voxels[0] > voxels[1:].max()
    assert subject.source.es == int(np.argmin(voxels)) == int(np.argmin(subject.truth.lv_volume))
    # Systole takes a third of the cycle or a little more, and filling does not go back.
    assert 0.28 <= subject.truth.phases[subject.source.es] <= 0.46
    assert (np.diff(subject.truth.lv_volume[: subject.source.es + 1]) < 0).all()
    assert (np.diff(subject.truth.lv_volume[subject.source.es :]) > 0).all()


@pytest.mark.parametrize("index", CASES)
def test_stated_priors_are_what_the_masks_measure_and_match_the_request(index: int) -> None:
    subject = case(index)
    stated, requested = subject.source.priors, subject.truth.requested
    measured = measure(subject.source.masks["ED"], subject.source.masks["ES"], subject.source.spacing)
    assert stated.updated(measured) == stated
    assert all(value is not None for value in vars(stated).values())
    for name in ("lv_edv", "lv_esv", "rv_edv", "rv_esv", "lv_mass"):
        assert getattr(stated, name) == pytest.approx(getattr(requested, name), rel=0.02), name
    assert stated.n_slices == requested.n_slices == subject.mask.shape[3]
    # The analytic anatomy agrees with the voxels although slices are thick.
    assert subject.truth.lv_volume[0] == pytest.approx(stated.lv_edv, rel=0.03)
    assert subject.truth.myocardial_volume[0] * MYOCARDIAL_DENSITY == pytest.approx(stated.lv_mass, rel=0.05)
    assert subject.truth.rv_volume[0] == pytest.approx(stated.rv_edv, rel=0.05)


@pytest.mark.parametrize("index", CASES)
def test_myocardial_volume_is_conserved(index: int) -> None:
    truth = case(index).truth
    assert np.ptp(truth.myocardial_volume) / truth.myocardial_volume[0] < 0.02
    assert np.ptp(truth.lv_volume) / truth.lv_volume[0] > 0.08  # while the cavity does change


@pytest.mark.parametrize("index", CASES)
def test_cavity_lies_in_the_ring_and_rv_at_the_wall(index: int) -> None:
    mask = case(index).mask
    assert touching(mask, LV, MYO) > 50 * max(touching(mask, LV, 0) + touching(mask, LV, RV), 1)
    for frame in (0, case(index).source.es):
        for z in range(mask.shape[3]):
            labels = set(np.unique(mask[frame, ..., z]))
            assert LV not in labels or MYO in labels
            assert piece_count(mask[frame, ..., z]) == len(labels - {0})
            assert RV not in labels or touching(mask[frame : frame + 1, ..., z : z + 1], RV, MYO) > 0


@pytest.mark.parametrize("index", CASES)
def test_motion_is_periodic(index: int) -> None:
    truth, mask = case(index).truth, case(index).mask
    np.testing.assert_array_equal(truth.mask_at(1.0), mask[0])
    np.testing.assert_array_equal(truth.mask_at(0.0), mask[0])
    middle = mask.shape[0] // 2
    np.testing.assert_array_equal(truth.mask_at(float(truth.phases[middle]) + 1), mask[middle])
    phases = np.linspace(-1, 2, 301)
    activation = truth.cycle.activation(phases)
    np.testing.assert_allclose(activation[:100], activation[100:200], atol=1e-12)
    assert activation.min() == 0
    assert activation.max() <= 1


@pytest.mark.parametrize("index", CASES)
def test_image_has_bssfp_contrast(index: int) -> None:
    source = case(index).source
    ed, mask = source.image[0].astype(float), source.masks["ED"]
    blood, muscle = np.median(ed[mask == LV]), np.median(ed[mask == MYO])
    assert 1.7 < blood / muscle < 4.5  # 1.8 to 3.4 in ACDC
    assert np.median(ed[mask == RV]) > 1.5 * muscle
    # Papillary muscles belong to the cavity's label but are as dark as muscle.
    assert (ed[mask == LV] < (blood + muscle) / 2).mean() > 0.01
    assert ed.min() >= 0
    assert ed.max() < np.iinfo(np.int16).max


def test_infarcted_wall_moves_less_than_the_remote_wall() -> None:
    subject = case(1)
    heart = subject.truth.heart
    assert subject.source.priors.diagnosis == "MINF"
    z = np.array([heart.base + heart.length * heart.infarct[3]])
    at_ed, at_es = contours(heart, z, 0.0), contours(heart, z, 1.0)
    inward = (at_ed.endo - at_es.endo)[0] / at_ed.endo[0]
    scar = round(heart.infarct[1] / (2 * np.pi) * BINS) % BINS
    assert inward[scar] < 0.5 * inward[(scar + BINS // 2) % BINS]


def test_base_descends_towards_the_apex() -> None:
    subject = case(0)
    slices = [np.flatnonzero(subject.source.masks[phase].any(axis=(0, 1))) for phase in ("ED", "ES")]
    assert slices[1][0] > slices[0][0]
    assert slices[1][-1] == slices[0][-1]


def test_same_seed_same_patient_in_another_process() -> None:
    program = (
        "import hashlib; from nnunet_synth_aug.data.phantom import phantom_subject as p; s = p(3, seed=3);"
        "print(hashlib.sha256(s.source.image.tobytes() + s.mask.tobytes() + repr(s.source.priors).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert other == digest(case(3))


def test_another_seed_another_patient(masks_only: None) -> None:
    other = phantom_subject(3, seed=4)
    assert not np.array_equal(other.mask, case(3).mask)
    assert other.source.priors != case(3).source.priors


def test_cohort_does_not_depend_on_its_size() -> None:
    first = next(phantom_cohort(9, seed=3))
    np.testing.assert_array_equal(first.image, case(0).source.image)
    assert first.patient == case(0).source.patient
    assert len({case(i).source.patient for i in CASES}) == len(CASES)
    assert len({case(i).source.spacing for i in CASES}) >= 4


def test_diagnosis_and_vendor_are_balanced_and_not_confounded() -> None:
    pairs = [slot(i) for i in range(20)]
    assert sorted(pairs) == sorted((d, v) for d in DIAGNOSES for v in VENDORS)
    assert [d for d, _ in pairs[:5]] == list(DIAGNOSES)


@pytest.mark.parametrize(
    "wanted",
    [
        Priors(diagnosis="NOR", lv_edv=110, lv_ef=70, rv_edv=140, rv_ef=45, lv_mass=140),
        Priors(diagnosis="DCM", lv_edv=320, lv_ef=12, vendor="Canon", n_slices=12, slice_thickness=8),
        Priors(lv_ef=85, lv_mass=60, n_slices=6, age=33, sex="F"),
    ],
)
def test_requested_priors_come_out(masks_only: None, wanted: Priors) -> None:
    got = phantom_subject(1, seed=8, priors=wanted).source.priors
    for name, value in wanted.specified().items():
        assert getattr(got, name) == (value if isinstance(value, str) else pytest.approx(value, rel=0.02)), name
    if wanted.lv_edv is not None:
        assert got.lv_esv == pytest.approx(wanted.lv_esv, rel=0.02)


def test_impossible_requests_are_one_sentence() -> None:
    with pytest.raises(UserError, match="lv_ef 120"):
        phantom_subject(0, priors=Priors(lv_ef=120))
    with pytest.raises(UserError, match="unknown"):
        phantom_subject(0, diagnosis="healthy")
    with pytest.raises(UserError, match="the option for HCM"):
        phantom_subject(0, diagnosis="HCM", priors=Priors(diagnosis="NOR"))
    with pytest.raises(UserError, match="no phantom heart has"):
        phantom_subject(0, priors=Priors(lv_edv=600, n_slices=3, slice_thickness=3))
    with pytest.raises(UserError, match="count from 0"):
        phantom_subject(-1)


def test_bssfp_signal() -> None:
    scan = Scan(tr=3.0, te=1.5, flip=60.0, field_strength=1.5)
    signal = {name: complex(bssfp(scan, tissue)) for name, tissue in TISSUES.items()}
    # For TR << T2 the steady state tends to M0 sin(a) / (1 + cos(a) + (1 - cos(a)) T1/T2), times the decay until the echo.
    blood = TISSUES["blood"]
    limit = blood.density * np.sin(np.pi / 3) / (1.5 + 0.5 * blood.t1[0] / blood.t2[0]) * np.exp(-1.5 / blood.t2[0])
    assert abs(signal["blood"]) == pytest.approx(limit, rel=0.02)
    assert abs(signal["blood"]) > 2 * abs(signal["myocardium"]) > 2 * abs(signal["lung"])
    # Fat is in the neighbouring pass band: opposed in phase, which darkens water-fat borders.
    assert np.cos(np.angle(signal["fat"]) - np.angle(signal["blood"])) < -0.9
    # A field error of half a pass band gives the dark band.
    assert abs(complex(bssfp(scan, blood, 1000 / (2 * scan.tr)))) < 0.1 * abs(signal["blood"])


def test_a_whole_field_of_view_shows_the_same_heart_and_a_body_around_it():
    few = Priors(n_slices=3)
    near, wide = (phantom_subject(1, seed=3, priors=few, field=mm) for mm in (100.0, 300.0))
    assert np.array_equal(near.mask, phantom_subject(1, seed=3, priors=few).mask)  # never less than the heart needs
    (before_x, beyond_x), (before_y, beyond_y) = wide.truth.stack.margins
    n = wide.mask.shape[1]
    assert 300 <= n * wide.source.spacing[0] < 306
    assert min(before_x + beyond_x, before_y + beyond_y) > 0.3 * n
    inner = wide.mask[:, before_x : n - beyond_x, before_y : n - beyond_y]
    assert np.array_equal(inner, near.mask)
    assert np.count_nonzero(wide.mask) == np.count_nonzero(inner)
    assert (wide.source.priors.lv_edv, wide.source.priors.lv_ef) == (near.source.priors.lv_edv, near.source.priors.lv_ef)
    image, heart = wide.source.image[0].astype(float), np.any(wide.mask[0], axis=-1)
    away = distance_transform_edt(~heart, sampling=wide.source.spacing[:2]) > 90
    bright = image[away] > 0.5 * np.median(image[wide.mask[0] == LV])
    dark = image[away] < 0.1 * np.median(image[wide.mask[0] == LV])
    assert 0.05 < bright.mean() < 0.6 and dark.mean() > 0.2  # fat, spine and bowel; lung and air


def test_varied_protocols_change_contrast_and_no_contour():
    few = Priors(n_slices=3, vendor="Siemens", diagnosis="NOR")
    usual, varied = ([phantom_subject(i, seed=3, priors=few, protocols=name) for i in (0, 1)] for name in get_args(Protocols))
    for one, other in zip(usual, varied, strict=True):
        assert np.array_equal(one.mask, other.mask) and one.source.priors == other.source.priors

    def contrast(heart: PhantomSubject) -> float:
        image, mask = heart.source.image[0], heart.mask[0]
        return float(image[mask == MYO].mean() / image[mask == LV].mean())

    changes = [abs(contrast(one) - contrast(other)) for one, other in zip(usual, varied, strict=True)]
    assert max(changes) > 0.03  # between two hearts of usual protocols it is 0.02
    assert digest(varied[0]) == digest(phantom_subject(0, seed=3, priors=few, protocols="varied"))


@pytest.mark.parametrize("index", range(3))
def test_stills_are_ed_and_es_of_the_cine(index):
    few = Priors(n_slices=3)
    cine, stills = (phantom_subject(index, seed=6, priors=few, stills=only) for only in (False, True))
    assert (stills.source.is_cine, len(stills.source.image), stills.source.ed, stills.source.es) == (False, 2, 0, 1)
    assert stills.source.priors == cine.source.priors
    frames = [cine.source.ed, cine.source.es]
    np.testing.assert_array_equal(stills.mask, cine.mask[frames])
    np.testing.assert_array_equal(stills.truth.lv_volume, cine.truth.lv_volume[frames])
    difference = np.abs(stills.source.image.astype(float) - cine.source.image[frames])  # another noise
    assert difference.mean() < 0.1 * cine.source.image.mean()


def test_contrast_agent_brightens_blood_and_muscle_and_not_fat():
    for scan in (Scan(2.8, 1.2, 60.0, 1.5), Scan(3.0, 1.5, 45.0, 3.0)):
        gains = {n: abs(complex(bssfp(scan, after_agent(t, n)))) / abs(complex(bssfp(scan, t))) for n, t in TISSUES.items()}
        assert min(gains["blood"], gains["myocardium"]) > 1.4
        assert gains["fat"] == gains["lung"] == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_body_is_closed_towards_the_head(seed):
    rng, tissues = np.random.default_rng(seed), {name: np.ones((201, 201), complex) for name in TISSUES} | {"air": np.zeros((201, 201))}
    reach = Envelope(np.array([0.0, 80.0]), np.array([50.0, 20.0]), np.array([60.0, 15.0]))
    thorax = replace(draw_thorax(rng, 24.0, reach, 45.0), straight=FAR)
    u, v = np.meshgrid(np.linspace(-250, 250, 201), np.linspace(-250, 250, 201), indexing="ij")
    image = paint_thorax(thorax, u, v, 40.0, 2.5, 2.0, tissues)
    body = np.abs(paint_torso(draw_torso(rng, thorax, 45.0), thorax, image, u, v, 40.0, 2.5, tissues)) > 0.5
    assert not body[v < -215].any() and not body[np.abs(u) > 235].any()
    assert body[100, 100:].all()  # and open towards the feet
    assert label(body)[1] == 1


@pytest.mark.slow
def test_processes_share_the_work_and_keep_the_order():
    few = parse_priors(["n_slices=4", "vendor=Canon"])
    alone, shared = (list(phantom_cohort(2, seed=3, processes=n, asked=few)) for n in (1, 2))
    assert [s.patient for s in shared] == [phantom_name(i, 3) for i in range(2)]
    assert all(np.array_equal(one.image, two.image) for one, two in zip(alone, shared, strict=True))


def test_a_cohort_has_the_priors_that_are_asked_for(masks_only):
    """The rest stays as it would be: patient 1 is of the group and scanner that its number has."""
    asked = parse_priors(["diagnosis=NOR", "vendor=Siemens", "lv_ef=50..60"])
    found = list(phantom_cohort(3, seed=3, asked=asked))
    assert {(s.priors.diagnosis, s.priors.vendor) for s in found} == {("NOR", "Siemens")}
    assert all(49 < s.priors.lv_ef < 61 for s in found)
    assert len({round(s.priors.lv_ef, 1) for s in found}) == 3
    vendor = parse_priors(["vendor=Siemens"])
    assert [s.priors.diagnosis for s in phantom_cohort(2, seed=3, asked=vendor)] == [slot(0)[0], slot(1)[0]]
