"""Pictures of hearts for README and site, from a finished demo or a finished phantom study of generator.py.

    python tests/benchmarks/pictures.py demo synthaug_demo
    python tests/benchmarks/pictures.py generator RUN --preset small

Of a demo: hearts.gif (two hearts of the cohort, two generated, beating), hearts.png (ED and ES of each, five slices), and report.png
(the top of its report, in Chromium). Of a study: montage.png (eight generated hearts beside eight held-out ones) and ef_sweep_0.gif to
ef_sweep_4.gif (the same seeds and priors but for the EF, open loop, no quality control).
Only phantoms may be published: patients' images, and hearts made from them, are refused.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from generator import EF_SWEEP, F, nnunet_folders
from page_table import DOCS
from PIL import Image, ImageChops

from evaluation.benchmark.demo import demo_study
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.prior_request import parse_priors
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.pictures import (
    cycle_pictures,
    frame_picture,
    grey_window,
    picked_slices,
    side_by_side,
    titled,
    write_gif,
    write_montage,
)

REFUSED = "only pictures of phantoms may leave the machine"


def rows_of(heart: Any, size: int, rows: int) -> list[np.ndarray]:
    """ED and ES of a heart with image, mask, ed and es: five slices each, outlined."""
    window, slices = grey_window(heart.image), picked_slices(heart.mask[[heart.ed, heart.es]], 5)
    return [frame_picture(heart.image[t], heart.mask[t], window, slices, size, rows=rows) for t in (heart.ed, heart.es)]


def demo(folder: Path, out: Path) -> None:
    """Two hearts of the demo's cohort (seed 0) beside two of its bank, and the top of its report."""
    if read_json(folder / "demo.json")["settings"]["source"] is not None:
        raise UserError(REFUSED)
    study = demo_study()
    at = Workspace(folder.resolve(), study)
    trained_on = read_json(at.generator(0) / "generator.json")["patients"]
    subjects = read_json(at.raw / "cohort.json")["subjects"]
    bank = at.bank(study.all_arms[1], 0) / "sequences"
    hearts = []
    asked = parse_priors(study.data.prior or ())
    for number in [i for i, subject in enumerate(subjects) if subject["patient"] in trained_on][:2]:
        found = phantom_subject(number, priors=asked.draw(0, number))
        image, priors = np.asarray(found.source.image, np.float32), found.source.priors
        title = f"cohort: {priors.diagnosis}, EF {priors.lv_ef:.0f} %"
        hearts.append((title, SimpleNamespace(image=image, mask=found.mask, ed=found.source.ed, es=found.source.es)))
    for name in read_index(bank)[0][:2]:
        made = read_sequence(bank, name)
        hearts.append((f"generated: {made.requested.diagnosis}, EF {made.measured.lv_ef:.0f} %", made))
    cycles = [titled(cycle_pictures(heart.image, heart.mask, 2, 110), title) for title, heart in hearts]
    write_gif(out / "hearts.gif", side_by_side(*cycles)[::2], colours=48)  # small enough for a README
    write_montage(out / "hearts.png", [row for _, heart in hearts for row in rows_of(heart, 120, 1)])
    top_of_report(folder / "report" / study.tests[0].name / "report.html", out / "report.png")


def top_of_report(report: Path, out: Path) -> None:
    """A picture of the report's header and first table, in Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise UserError("no Chromium was found; install it, e.g. apt-get install chromium")
    page = re.sub(r"<section>\n<h2>(?!Headline<).*?</section>", "", report.read_text(encoding="utf-8"), flags=re.DOTALL)
    with tempfile.TemporaryDirectory() as scratch:
        file, raw = Path(scratch, "page.html"), Path(scratch, "page.png")
        file.write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={scratch}"]
        size = ["--window-size=1250,1500", f"--screenshot={raw}"]
        subprocess.run([browser, *options, *size, file.as_uri()], check=True, capture_output=True, timeout=300)
        image = Image.open(raw).convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    assert box is not None
    image.crop((0, 0, image.width, box[3] + 16)).quantize(128, dither=Image.Dither.NONE).save(out, optimize=True)


def generator(run: Path, out: Path, preset: str, arm: str) -> None:
    """Hearts of a study's bank beside held-out ones, and its EF sweeps."""
    nnunet_folders(run)
    folder = run / "arms" / f"{preset}_{arm}"
    cohort = Cohort.load("921")
    if not all(s.patient.startswith("phantom") for s in cohort.subjects):
        raise UserError(REFUSED)
    held_out = set(fold_patients(cohort, int(F)).val)
    real = [load_sequence(s) for s in cohort.subjects if s.patient in held_out][:8]
    made = [read_sequence(folder / "accepted", name) for name in read_index(folder / "accepted")[0][:8]]
    rows = []
    for pair in zip(made, real, strict=False):
        left, right = (np.concatenate(rows_of(heart, 76, 1)) for heart in pair)
        rows.append(np.concatenate([left, np.full((left.shape[0], 24, 3), 255, np.uint8), right], axis=1))
    write_montage(out / "montage.png", [titled([rows[0]], "generated (ED above ES)".ljust(176) + "held-out phantoms")[0], *rows[1:]])
    for number in range(5):
        cycles = []
        for ef in EF_SWEEP:
            of = folder / "sweep" / f"ef{ef}"
            heart = read_sequence(of, read_index(of)[0][number])
            measured = "-" if heart.measured.lv_ef is None else f"{heart.measured.lv_ef:.0f} %"
            cycles.append(titled(cycle_pictures(heart.image, heart.mask, 1, 120), f"asked {ef} %, got {measured}"))
        write_gif(out / f"ef_sweep_{number}.gif", side_by_side(*cycles), colours=48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["demo", "generator"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="small", help="of the study")
    parser.add_argument("--arm", default="default", help="of the study")
    parser.add_argument("--out", type=Path, default=DOCS / "images")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.what == "demo":
        demo(a.folder, a.out)
    else:
        generator(a.folder, a.out, a.preset, a.arm)
    print(f"pictures: {a.out}")


if __name__ == "__main__":
    main()
