"""`synthaug explore` in a real browser, as a user meets it: Playwright drives Debian's chromium.

With SYNTHAUG_SCREENSHOTS=docs/images it makes the how-to's pictures again.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_synth_aug.core.paths import program

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PORT, PATIENCE = 8971, 90_000  # ms


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Server:
    """The command, at one port."""

    def __init__(self, port: int, request: pytest.FixtureRequest) -> None:
        command = [program("synthaug"), "explore", "--port", str(port)]
        # A shell that starts the tests in the background lets them ignore Ctrl-C, and so would the server.
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.said = ""
        request.addfinalizer(self.process.kill)
        while "http://" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.said}"
            self.said += line
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.said)[0]


class Watched:
    """A page, and all that it asks for or complains of."""

    def __init__(self, browser, url: str, **options) -> None:
        self.page = browser.new_context(viewport={"width": 1280, "height": 1240}, **options).new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)

    def measured(self, name: str) -> float:
        return float(self.page.locator(f"[data-measured={name}]").inner_text().split()[0])

    def shows(self, **values) -> None:
        """Wait for the heart that was asked for."""
        for name, value in values.items():
            self.page.locator(f"[data-asked={name}]", has_text=re.compile(rf"^{value} ")).wait_for(timeout=PATIENCE)

    def says(self, text: str) -> None:
        self.page.locator("#status", has_text=text).wait_for(timeout=PATIENCE)

    def coloured(self) -> float:
        """Share of the heart's picture that is not grey."""
        pixels = np.asarray(Image.open(io.BytesIO(self.page.locator("#heart").screenshot())).convert("RGB")).astype(int)
        return float((np.ptp(pixels, axis=-1) > 24).mean())

    def picture(self, name: str) -> None:
        if folder := os.environ.get("SYNTHAUG_SCREENSHOTS"):
            shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            small = shot.resize((960, 960 * shot.height // shot.width), Image.Resampling.LANCZOS)
            small.quantize(256, Image.Quantize.FASTOCTREE).save(Path(folder) / f"{name}.png", optimize=True)


def test_a_walk_through_the_page(browser, request, tmp_path):
    server = Server(PORT, request)
    mine = Watched(browser, server.url, accept_downloads=True)
    page = mine.page
    mine.says("measured")
    mine.picture("explore_1")
    assert page.locator("#origin").inner_text().endswith("there is no patient data in it.")

    page.locator("#frames").fill("8")
    mine.shows(lv_ef=60)
    before = mine.measured("lv_ef")
    page.locator("#lv_ef").fill("25")
    page.locator("#working").wait_for(timeout=PATIENCE)
    mine.shows(lv_ef=25)
    after = mine.measured("lv_ef")
    assert abs(before - 60) < 10 and abs(after - 25) < 10  # the measured EF followed
    mine.picture("explore_2")

    assert mine.coloured() > 0.02
    page.locator("#masks").uncheck()
    page.wait_for_timeout(150)
    assert mine.coloured() == 0
    page.locator("#play").click()
    page.wait_for_timeout(150)
    stopped = page.locator("#heart").screenshot()
    page.wait_for_timeout(300)
    assert page.locator("#heart").screenshot() == stopped
    mine.picture("explore_3")
    page.locator("#masks").check()
    page.locator("#play").click()

    with page.expect_download() as download:
        page.locator("#nifti").click()
    download.value.save_as(tmp_path / "heart.zip")
    assert sorted(name.rpartition("_")[2] for name in zipfile.ZipFile(tmp_path / "heart.zip").namelist() if "nii" in name) == [
        "image.nii.gz",
        "mask.nii.gz",
    ]

    theirs = Watched(browser, server.url)
    theirs.says("measured")
    page.locator("#frames").fill("16")  # long enough for the other user to come in between
    page.locator("#lv_ef").fill("40")
    theirs.page.locator("#lv_ef").fill("70")
    end = time.monotonic() + PATIENCE / 1000
    while not (waiting := [one for one in (mine, theirs) if one.page.locator("#doing", has_text="1 heart before yours").is_visible()]):
        assert time.monotonic() < end
    waiting[0].picture("explore_4")
    mine.shows(lv_ef=40)
    theirs.shows(lv_ef=70)
    assert mine.measured("lv_ef") < theirs.measured("lv_ef") - 15

    page.locator("#lv_ef_number").fill("95")
    page.locator("#lv_ef_number").press("Enter")
    mine.says("EF 95 % is outside what hearts have; choose 2 to 90 %.")
    mine.picture("explore_5")
    assert mine.complaints == theirs.complaints == []

    page.locator("#frames").fill("4")
    page.locator("#lv_ef_number").fill("50")
    page.locator("#lv_ef_number").press("Enter")
    page.locator("#doing", has_text="…").wait_for(timeout=PATIENCE)
    server.process.kill()
    mine.says("The server does not answer.")
    mine.picture("explore_6")
    server.process.wait()
    server = Server(PORT, request)
    assert server.url in page.url
    mine.shows(lv_ef=50)
    # The browser's own words for a server that is away; the page itself complains of nothing.
    assert all(re.match(r"Failed to load resource: net::ERR_(CONNECTION|EMPTY|INCOMPLETE|SOCKET)", one) for one in mine.complaints)
    assert {re.match(r"(blob:)?\w+://[^/]+", url)[0] for url in mine.asked + theirs.asked if not url.startswith("data:")} == {server.url}

    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=20) == 0
    assert server.process.stdout.read().strip() == "ended"


def test_an_exported_page_plays_offline_wide_and_narrow(browser, tmp_path):
    from nnunet_synth_aug.explore.page import document

    kept = (Path(__file__).parents[1] / "docs" / "images" / "explore_hearts.html").read_text()
    setup = json.loads(re.search(r"const SETUP = (.*?);</script>", kept)[1])
    (tmp_path / "page.html").write_text(document(setup, setup["hearts"]))  # its hearts, in the page of now
    page = Watched(browser, (tmp_path / "page.html").as_uri(), offline=True)
    page.shows(lv_ef=65, lv_edv=150)
    page.page.locator("#diagnosis").select_option("DCM")
    page.page.locator("button[data-ef='25'][data-edv='200']").click()
    page.shows(lv_ef=25, lv_edv=200)
    assert abs(page.measured("lv_ef") - 25) < 10
    first = page.page.locator("#heart").screenshot()
    end = time.monotonic() + 5
    while page.page.locator("#heart").screenshot() == first:  # it beats
        assert time.monotonic() < end
    page.page.set_viewport_size({"width": 360, "height": 700})
    page.page.wait_for_timeout(150)
    wide = page.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360  # nothing to scroll sideways
    assert page.complaints == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [page.page.url]
