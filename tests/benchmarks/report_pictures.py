"""Pictures of a report in a real browser, and its numbers, for docs/results/evaluation.md.

    python tests/benchmarks/report_pictures.py --baseline FOLDER --augmented FOLDER --dataset RAW --data "ACDC, ..." [--names real mix50]

Compares the two results folders of nnU-Net with ``synthaug compare --no-images``, because pictures of patients may not be
published; needs Chromium and Pillow. Writes docs/images/report_*.png and docs/evaluation/report.json.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from datetime import date
from pathlib import Path

from page_table import DOCS
from PIL import Image, ImageChops

from evaluation.analysis.paired import Margins
from evaluation.compare import Comparison, compare
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json

WIDE, NARROW = 1250, 400
#: Picture -> (sections shown, width, most height in pixels). The page is cut to these sections (of the groups, to diagnosis); nothing
#: else of it is changed.
SHOTS = {
    "report_top": (("header", "Headline", "Paired differences"), WIDE, 1500),
    "report_patients": (("Patients", "Most changed and worst cases"), WIDE, 1300),
    "report_groups": (("Phases, slice levels and groups of patients",), WIDE, 1900),
    "report_volumes": (("Clinical volumes", "Synthetic data"), WIDE, 1700),
    "report_narrow": (("header", "Headline", "Paired differences"), NARROW, 1500),
}
MOST_BYTES = 300_000


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise UserError("no Chromium was found; install it, e.g. apt-get install chromium")
    return found


def chromium(page: Path, *options: str) -> None:
    """Open ``page`` headless in a profile of its own."""
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with tempfile.TemporaryDirectory() as profile:
        command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet, f"--user-data-dir={profile}"]
        subprocess.run([*command, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=300)


def cut(page: str, kept: tuple[str, ...]) -> str:
    """The page with only some of its sections."""

    def chosen(section: re.Match[str]) -> str:
        return section[0] if section[1] in kept else ""

    page = re.sub(r"<h3>By (?:phase|slice level|vendor)</h3>.*?(?=<h3>By |<p class=\"note\">Descriptive)", "", page, flags=re.DOTALL)
    page = re.sub(r"<section>\n<h2>(.*?)</h2>.*?</section>", chosen, page, flags=re.DOTALL)
    return page if "header" in kept else re.sub(r"<header>.*?</header>", "", page, flags=re.DOTALL)


def screenshot(page: str, width: int, height: int, out: Path) -> None:
    """A picture of ``page`` in a window of this size, cut to what is not empty."""
    with tempfile.TemporaryDirectory() as folder:
        file, raw = Path(folder, "page.html"), Path(folder, "page.png")
        file.write_text(page, encoding="utf-8")
        chromium(file, f"--window-size={width},{height}", f"--screenshot={raw}")
        save(trimmed(Image.open(raw).convert("RGB")), out)


def trimmed(image: Image.Image) -> Image.Image:
    """Without the empty part below."""
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    return image if box is None else image.crop((0, 0, image.width, min(image.height, box[3] + 16)))


def save(image: Image.Image, out: Path) -> None:
    image.quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)
    if out.stat().st_size > MOST_BYTES:
        raise UserError(f"{out} has {out.stat().st_size} bytes, more than {MOST_BYTES}; show less of the page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, nargs="+")
    parser.add_argument("--augmented", type=Path, required=True, nargs="+")
    parser.add_argument("--dataset", type=Path, help="the dataset's folder in nnUNet_raw")
    parser.add_argument("--names", nargs=2, default=("real", "augmented"))
    parser.add_argument("--data", required=True, help="what the networks were and what they were tested on, in one sentence for the page")
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    images = options.docs / "images"
    with tempfile.TemporaryDirectory() as folder:
        found = compare(
            options.baseline,
            options.augmented,
            Path(folder, "out"),
            names=tuple(options.names),
            dataset=options.dataset,
            margins=Margins(noninferiority={"Dice": 0.01, "HD": 2.0}),
            images=False,
        )
        page = found.report.read_text(encoding="utf-8")
        for name, (sections, width, height) in SHOTS.items():
            screenshot(cut(page, sections), width, height, images / f"{name}.png")
        write_json(options.docs / "evaluation" / "report.json", figures(found, options))
    print(f"pictures: {images}")


def figures(found: Comparison, options: argparse.Namespace) -> dict[str, object]:
    """What the page says of the report, without a word of where the data lie."""
    numbers = read_json(found.out / "comparison.json")
    return {
        "date": date.today().isoformat(),
        "version": __version__,
        "data": options.data,
        "names": list(options.names),
        "patients": numbers["patients"],
        "predictions": numbers["cases"],
        "headline": numbers["headline"],
        "agreement": [row for row in numbers["clinical_agreement"] if row["quantity"] in ("LV EF", "RV EF")],
        "failures": len(found.failures),
        "conclusion": found.conclusion,
    }


if __name__ == "__main__":
    main()
