"""`synthaug explore`: what the page is answered, what it is refused, and that neither page nor export asks anybody else."""

import base64
import gzip
import io
import json
import re
import shutil
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from shared_folders import set_folders

from nnunet_synth_aug.cli import app
from nnunet_synth_aug.cli.explore import _generator as explored
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, LV, MYO, RV
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.explore import export
from nnunet_synth_aug.explore.export import EDVS, EFS
from nnunet_synth_aug.explore.hearts import Wish, make_heart, name_of, notes_of, priors_for
from nnunet_synth_aug.explore.jobs import Queue
from nnunet_synth_aug.explore.page import document, setup_of
from nnunet_synth_aug.explore.picture import LABEL_STEP, in_words, shown
from nnunet_synth_aug.explore.server import PORT, listen
from nnunet_synth_aug.model.pretrained import shipped_generator
from nnunet_synth_aug.synthesis.quality.defects import ANATOMY, MOTION

WISH = {"lv_ef": 35, "lv_edv": 200, "frames": 8}


@pytest.fixture(scope="module")
def shipped():
    return shipped_generator(torch.device("cpu"))


@pytest.fixture(scope="module")
def heart(shipped):
    told = []
    made = make_heart(shipped, Wish.of(WISH), lambda doing, share: told.append((doing, share)))
    return made, told


@pytest.fixture(scope="module")
def server(shipped):
    with serving(shipped) as one:
        yield one


@contextmanager
def serving(generator):
    queue = Queue(generator)
    explorer = listen(document(setup_of(generator, 0)), queue, "127.0.0.1", PORT)
    for work in (lambda: explorer.serve_forever(0.05), queue.work):
        threading.Thread(target=work, daemon=True).start()
    yield f"http://127.0.0.1:{explorer.server_address[1]}"
    queue.close()
    explorer.shutdown()
    explorer.server_close()


def ask(url: str, value=None, **headers) -> tuple[int, bytes]:
    """Status and body of an answer."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ended(server: str, key: str) -> dict:
    """What a job came to."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        told = json.loads(ask(f"{server}/api/hearts/{key}")[1])
        if told["state"] in ("done", "failed", "dropped"):
            return told
        assert 0 <= told["share"] <= 1
        time.sleep(0.1)
    raise AssertionError("the heart did not come")


def pixels(uri: str) -> np.ndarray:
    """Of a picture in a page."""
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/webp")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))


def test_the_measured_ef_follows_the_wish_and_progress_is_told(heart):
    made, told = heart
    sequence = made.sequence
    assert sequence.mask.shape[0] == 8
    again = measure(sequence.mask[0], sequence.mask[sequence.es], sequence.spacing)
    assert again == sequence.measured
    assert abs(again.lv_ef - 35) < 5
    shares = [share for _, share in told]
    assert shares == sorted(shares) and len(shares) > 20
    assert {doing for doing, _ in told} == {"drawing the anatomy", "finding its motion", "drawing the frames", "checking"}


def test_a_wish_gives_the_same_heart_and_a_beat_as_long_with_other_frames(shipped, heart):
    again = make_heart(shipped, Wish.of(WISH))
    assert np.array_equal(again.sequence.mask, heart[0].sequence.mask)
    assert np.array_equal(again.sequence.image, heart[0].sequence.image)
    seconds = heart[0].sequence.frame_seconds * 8
    assert 0.4 < seconds < 1.6  # though the phantom that lends the timing has 20 frames and more


def test_what_is_not_asked_for_fits_what_is(shipped):
    """Hearts near those training hearts that are like the wish: a dilated one for an EF of 20, not a normal one with a smaller EF."""
    weak = [priors_for(shipped, Wish.of({"lv_ef": 20, "lv_edv": 250, "seed": seed})) for seed in range(20)]
    strong = [priors_for(shipped, Wish.of({"lv_ef": 65, "lv_edv": 130, "seed": seed})) for seed in range(20)]
    assert all(one.lv_ef == 20 and one.lv_edv == 250 for one in weak)
    assert {one.diagnosis for one in weak} <= {"DCM", "MINF"}
    assert not {one.diagnosis for one in strong} & {"DCM", "MINF"}
    assert np.mean([one.rv_ef for one in strong]) > np.mean([one.rv_ef for one in weak])
    assert all(priors_for(shipped, Wish.of({"diagnosis": "HCM", "seed": seed})).diagnosis == "HCM" for seed in range(5))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lv_ef": 95}, "EF 95 % is outside what hearts have; choose 2 to 90 %"),
        ({"lv_edv": "many"}, "EDV is 'many', which is not a number"),
        ({"lv_edv": "nan"}, "EDV is 'nan', which is not a number"),
        ({"rv_edv": "1e9"}, "RV EDV 1e[+]09 mL is outside what hearts have; choose 20 to 600 mL"),
        ({"diagnosis": "flu"}, "diagnosis 'flu' is unknown; choose one of NOR"),
        ({"frames": 500}, "frames: 500 is not a whole number from 8 to 30"),
        ({"seed": -1}, "seed: -1 is not a whole number"),
        ({"age": 60}, "there is no 'age'; choose from lv_ef"),
        ([1], "a wish is a mapping"),
    ],
)
def test_a_wish_that_no_heart_can_meet_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(UserError, match=sentence):
        Wish.of(values)


def test_what_no_training_heart_has_is_noted(shipped):
    assert notes_of(shipped, Wish.of({"lv_ef": 50})) == []
    (note,) = notes_of(shipped, Wish.of({"lv_mass": 450}))
    assert re.fullmatch(r"the training phantoms' mass goes from [\d.]+ to [\d.]+, and 450 lies beyond", note)


def test_the_picture_holds_every_frame_of_every_slice_as_the_masks_are(shipped, heart):
    sequence = heart[0].sequence
    told = shown(heart[0], [])
    tile, slices, frames = told["tile"], told["slices"], told["frames"]
    labels = pixels(told["mask"]) // LABEL_STEP
    assert pixels(told["image"]).shape == labels.shape == (slices * tile, frames * tile)
    for label in (RV, MYO, LV):  # nothing of the heart is cut away
        assert np.count_nonzero(labels == label) == np.count_nonzero(sequence.mask == label)
    ml = float(np.prod(sequence.spacing)) / 1000
    lv = [np.count_nonzero(labels[:, t * tile : (t + 1) * tile] == LV) * ml for t in range(frames)]
    assert told["volumes"]["lv"] == pytest.approx(lv, abs=0.06)
    assert told["volumes"]["lv"][told["ed"]] == pytest.approx(told["measured"]["lv_edv"], abs=0.1)
    widths = [np.count_nonzero(labels[z * tile : (z + 1) * tile] > 0) for z in range(slices)]
    assert sum(widths[: slices // 2]) > sum(widths[-(slices // 2) :])  # the base comes first
    few = shown(heart[0], [], small=True)
    assert few["slices"] == 5 and few["measured"] == told["measured"]
    assert len(few["image"]) + len(few["mask"]) < 8e6 / 45 / 2  # of 8 MB for 45 hearts
    assert set(np.unique(pixels(few["mask"]) // LABEL_STEP)) == {0, RV, MYO, LV}


def test_every_objection_has_words():
    for reason in [f"missed_{name}" for name in ANATOMY | MOTION]:
        (words,) = in_words([reason])
        assert re.fullmatch(r"(RV )?(EF|EDV|mass) far from what was asked", words)
    assert in_words(["lv_not_enclosed", "fragmented_MYO_in_cycle"]) == ["LV not surrounded by muscle", "MYO in several pieces in the cycle"]
    torn = [f"torn_slices{when}" for when in ("", "_at_es", "_in_cycle")]
    assert in_words(torn[1:]) == ["ragged contours in some slice at ES and in the cycle"]
    assert len(in_words([*torn, "missed_lv_ef"])) == 2


def test_the_server_makes_a_heart_and_hands_out_its_files(server):
    status, body = ask(f"{server}/api/hearts", WISH)
    assert status == 200
    key = json.loads(body)["id"]
    told = ended(server, key)
    assert told["state"] == "done" and told["heart"]["asked"] == {"lv_ef": 35.0, "lv_edv": 200.0}
    archive = zipfile.ZipFile(io.BytesIO(ask(f"{server}/api/hearts/{key}/nifti")[1]))
    name = name_of(Wish.of(WISH))
    assert sorted(archive.namelist()) == [f"{name}.json", f"{name}_image.nii.gz", f"{name}_mask.nii.gz"]
    values = json.loads(archive.read(f"{name}.json"))
    assert json.loads(ask(f"{server}/api/hearts/{key}/json")[1]) == values
    image, mask = (nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(f"{name}_{kind}.nii.gz"))) for kind in ("image", "mask"))
    assert image.shape == mask.shape and image.shape[3] == 8
    labels = np.asarray(mask.dataobj)
    spacing = tuple(float(s) for s in mask.header.get_zooms()[:3])
    found = measure(labels[..., values["ed"]], labels[..., values["es"]], spacing)
    assert found.lv_ef == pytest.approx(values["measured"]["lv_ef"])
    assert found.lv_edv == pytest.approx(values["measured"]["lv_edv"], rel=1e-4)
    assert image.header.get_zooms()[3] == pytest.approx(values["frame_seconds"])


def test_two_users_get_their_own_heart_and_who_leaves_is_not_waited_for(server):
    first = json.loads(ask(f"{server}/api/hearts", WISH | {"seed": 1})[1])["id"]
    second = json.loads(ask(f"{server}/api/hearts", WISH | {"lv_ef": 60, "seed": 2})[1])["id"]
    waits = json.loads(ask(f"{server}/api/hearts/{second}")[1])
    assert (waits["state"], waits["ahead"]) == ("waiting", 1)
    better = json.loads(ask(f"{server}/api/hearts", WISH | {"lv_ef": 25, "seed": 1, "instead": first})[1])["id"]
    theirs = ended(server, second)["heart"]
    assert theirs["asked"]["lv_ef"] == 60
    assert ended(server, first)["state"] == "dropped"
    mine = ended(server, better)["heart"]
    assert mine["asked"]["lv_ef"] == 25
    assert mine["measured"]["lv_ef"] < theirs["measured"]["lv_ef"] - 15


def test_the_server_refuses_what_is_no_wish(server):
    assert ask(f"{server}/api/hearts", {"lv_ef": 95}) == (
        200,
        b'{"refused": "EF 95 % is outside what hearts have; choose 2 to 90 %"}',
    )
    for body in (3, "x", [[]] * 3):
        assert "refused" in json.loads(ask(f"{server}/api/hearts", body)[1])
    request = urllib.request.Request(f"{server}/api/hearts", b"{", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=60)
    assert ask(f"{server}/api/hearts", "x" * 20_000)[0] == 413
    assert ask(f"{server}/api/hearts", WISH, **{"Content-Type": "text/plain"})[0] == 415  # what a form of another web site sends
    assert ask(f"{server}/", Host="evil.example")[0] == 403  # a name that somebody points to this machine
    assert ask(f"{server}/api/hearts/0/nifti")[0] == ask(f"{server}/../etc")[0] == ask(f"{server}/api/nothing", 1)[0] == 404
    assert json.loads(ask(f"{server}/api/hearts/0")[1]) == {"state": "dropped"}


@pytest.mark.parametrize("value", [10**400, True, [1], "1e999", float("nan")])
@pytest.mark.parametrize("name", ["seed", "frames", "lv_ef"])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(UserError, match="number"):
        Wish.of(WISH | {name: value})


def test_a_longer_path_is_not_found_and_a_name_has_no_case(server):
    assert ask(f"{server}/api/hearts/a/b/c")[0] == 404
    assert ask(f"{server}/", Host=server.removeprefix("http://").replace("127.0.0.1", "LocalHost"))[0] == 200


def test_a_taken_port_gives_the_next_one_and_an_unknown_host_a_sentence(shipped, server):
    taken = int(server.rpartition(":")[2])
    second = listen("page", None, "127.0.0.1", taken)
    assert second.server_address[1] > taken
    second.server_close()
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 is no address of this machine"):
        listen("page", None, "192.0.2.1", PORT)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 65_535))
        one.listen()
        with pytest.raises(UserError, match="are taken; give another one with --port"):
            listen("page", None, "127.0.0.1", 65_535)


def self_contained(html: str) -> None:
    """Nothing in a page is loaded from anywhere."""
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", html)  # the name of a format, which no browser fetches
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+/", re.sub(r";base64,[\w+/=]+", "", outside))
    assert not re.findall(r"(?:src|href)=(?![\"']?data:)", html)
    assert not re.findall(r"@import|url\(|<script src|<link rel=\"stylesheet", html)
    assert "default-src 'none'" in html  # which the browser enforces


def test_page_and_export_are_one_file_that_asks_nobody(shipped, heart):
    setup = setup_of(shipped, 0)
    self_contained(document(setup))
    page = document(setup, [shown(heart[0], [], small=True)])
    self_contained(page)
    data = json.loads(re.search(r"const SETUP = (.*?);</script>", page)[1])
    assert data["live"] is False and data["people"] == 0
    assert data["hearts"][0]["measured"]["lv_ef"] == pytest.approx(35, abs=5)
    assert len(page) < 150_000


def test_the_docs_page_of_hearts_is_small_whole_and_of_phantoms(shipped):
    path = Path(__file__).parents[1] / "docs" / "images" / "explore_hearts.html"
    page = path.read_text()
    assert path.stat().st_size < 3e6
    self_contained(page)
    data = json.loads(re.search(r"const SETUP = (.*?);</script>", page)[1])
    assert data["people"] == 0 and data["generator"] == setup_of(shipped, 0)["generator"]
    assert {(h["asked"]["diagnosis"], h["asked"]["lv_edv"], h["asked"]["lv_ef"]) for h in data["hearts"]} == {
        (d, float(edv), float(ef)) for d in DIAGNOSES for edv in EDVS for ef in EFS
    }


def test_a_text_in_the_data_cannot_end_the_script(shipped):
    setup = setup_of(shipped, 0) | {"generator": "</script><script>alert(1)</script>"}
    assert "</script><script>alert" not in document(setup)


def test_a_generator_of_patients_says_so(shipped):
    assert setup_of(shipped, 0)["taught"] == "800 phantoms"
    assert setup_of(shipped, 7)["taught"] == "7 patients"


def run(monkeypatch, capsys, *words) -> str:
    """The sentence with which the command line refuses."""
    monkeypatch.setattr(sys, "argv", ["synthaug", "explore", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_command_refuses_before_it_makes_anything(monkeypatch, capsys, tmp_path, phantom_dataset):
    set_folders(monkeypatch, phantom_dataset)
    assert run(monkeypatch, capsys, "--export", tmp_path / "page.txt").endswith("a page for browsers is called .html; name the file so")
    assert "there is no folder" in run(monkeypatch, capsys, "--export", tmp_path / "none" / "page.html")
    assert "there is no generator in" in run(monkeypatch, capsys, "-d", 7)
    assert "there is no dataset 99" in run(monkeypatch, capsys, "-d", 99)
    assert list(tmp_path.iterdir()) == []


def test_a_folds_own_generator_is_shown_and_its_patients_are_counted(monkeypatch, micro_generator, tmp_path):
    """Four digital hearts that no cohort calls phantoms count as patients: a warning too many is better than one too few."""
    root = shutil.copytree(micro_generator, tmp_path / "folders")
    set_folders(monkeypatch, root)
    cohort = next(root.glob("nnUNet_raw/*/cohort.json"))
    values = json.loads(cohort.read_text())
    for source, people in (({"source": "phantom"}, 0), ({"source": "acdc"}, 2)):
        cohort.write_text(json.dumps(values | {"source": source}))
        generator, found = explored("7", "0", None, "cpu")
        assert found == people
        setup = setup_of(generator, found)
        assert setup["generator"] == "the generator of Dataset007_Phantom, fold 0"
        assert setup["taught"] == ("2 patients" if people else "2 phantoms")


def test_a_generator_that_makes_no_heart_says_so_in_one_sentence(monkeypatch, micro_generator):
    """One that never draws a right ventricle."""
    set_folders(monkeypatch, micro_generator)
    generator, _ = explored("7", "0", None, "cpu")
    with torch.no_grad():
        generator.vae.mask_head.bias[RV] = -1e4
    with pytest.raises(UserError, match=r"^none of 6 tries for EDV 200, EF 35 had all parts of a heart; ask for another one$"):
        make_heart(generator, Wish.of(WISH))
    assert export._best(generator, WISH, 0) is None
