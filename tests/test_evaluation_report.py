"""The report: one page that needs nothing else, the same as Markdown and figures, cases to page through, no picture if none is wanted."""

from __future__ import annotations

import base64
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation_study import FOLDERS, PATIENTS, SPACING, Study
from PIL import Image

from evaluation.analysis.paired import BETTER, Margins
from evaluation.compare import Comparison
from evaluation.report import html, markdown
from evaluation.report.blocks import Document, Heading, Paragraph, Section, Table, file_name
from evaluation.report.figures import group_forest
from evaluation.report.methods import EMPTY_IN_SHORT, methods, stated
from evaluation.report.overlays import CHANGED, WORST, select_patients
from evaluation.report.wording import cautions
from evaluation.report.writing import comparison_document
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.table import METRICS
from nnunet_synth_aug.core.files import write_nifti

NAMES = ("real only", "real + synthetic")
SHOWN: dict[str, Any] = {"names": NAMES, "margins": Margins(ties={"Dice": 0.002}, noninferiority={"HD": 2.0})}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Comparison]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in FOLDERS:
            patch.delenv(variable, raising=False)
        study = Study(tmp_path_factory.mktemp("report"))
        return study, study.compare(**SHOWN)


def text_of(page: str) -> str:
    """What a reader of the page sees."""
    body = page.split("</style>")[1]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_report_is_self_contained(compared: tuple[Study, Comparison]) -> None:
    page = compared[1].report.read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"<(script|link|iframe)\b", page)
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert sources
    assert all(s.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for s in sources)
    assert "nan" not in text_of(page).lower().split()


def test_cases_are_paged_without_script_and_all_printed(compared: tuple[Study, Comparison]) -> None:
    page = compared[1].report.read_text()
    pager = page[page.index('<div class="pager">') :]
    ids = re.findall(r'<input type="radio" name="case" id="([^"]+)"', pager)
    assert 3 <= len(ids) <= PATIENTS
    assert len(re.findall(r'name="case"[^>]* checked', pager)) == 1
    assert set(re.findall(r'<label for="([^"]+)"', pager)) == set(ids)
    # Next and previous lead around, and every page follows its own button, on which the style relies.
    turns = [re.findall(r'<label for="([^"]+)"', turn) for turn in re.findall(r'<div class="turn">(.*?)</div>', pager)]
    assert turns == [[ids[i - 1], ids[(i + 1) % len(ids)]] for i in range(len(ids))]
    assert len(re.findall(r'id="case-\d+"[^>]*><div class="case">', pager)) == len(ids)
    screen, paper = page.split("@media print")
    assert ".pager > input:not(:checked) + .case { display: none; }" in screen
    assert ".pager > input:not(:checked) + .case { display: block; }" in paper
    shown = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', pager)]
    assert len(shown) == len(ids)
    assert all(np.ptp(np.asarray(image.convert("L"))) > 200 for image in shown)


def test_markdown_says_the_same(compared: tuple[Study, Comparison]) -> None:
    study, result = compared
    text, page = (study.out / "report.md").read_text(), text_of(result.report.read_text())
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(linked) > 10
    assert all((study.out / file).is_file() for file in linked)
    assert {Path(file).name for file in linked} == {p.name for p in (study.out / "figures").glob("*.png")}
    for heading in re.findall(r"<h2>(.*?)</h2>", result.report.read_text()):
        assert f"## {unescape(heading)}" in text
    for sentence in result.conclusion:
        assert sentence in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 50
    for row in rows[:200]:
        for cell in row.strip("| ").split(" | "):
            assert cell.split(": ")[-1].replace("\\|", "|").replace("\\", "") in page


def test_every_plot_is_there_as_svg_and_png(compared: tuple[Study, Comparison]) -> None:
    figures = compared[0].out / "figures"
    plots = {p.stem for p in figures.glob("*.svg")}
    assert plots == {p.stem for p in figures.glob("*.png") if not p.name.startswith("case_")}
    ways = {f"forest_{m}_by_{way}" for m in ("Dice", "HD") for way in ("phase", "vendor")} | {"forest_Dice_by_slice_level"}
    assert plots >= {"forest_Dice", "forest_HD", "at_a_glance_Dice", "at_a_glance_HD", "bland_altman_LV_EF", *ways}
    assert "forest_Dice_by_diagnosis" not in plots  # all have the same: it would show the headline again
    for file in figures.glob("*.svg"):
        assert file.read_text().startswith("<?xml")


def test_every_table_of_metrics_states_their_definitions(study: Study, compared: tuple[Study, Comparison]) -> None:
    results = study.evaluate(empty="nan")
    checked = set()
    for section in comparison_document(results, images=False).sections:
        for i, block in enumerate(section.blocks):
            if not isinstance(block, Table):
                continue
            words = {*block.columns, *(text for text, _ in block.groups), *(cell for row in block.rows for cell in row[: block.text])}
            shown = [m for m in METRICS if words & {m, f"{m} [mm]", f"mean {m}", f"mean {m} [mm]"}]
            if shown:
                foot = section.blocks[i + 1]
                assert isinstance(foot, Paragraph)
                assert all(f"{m}: {METRICS[m].short}" in foot.text for m in shown), section.title
                assert EMPTY_IN_SHORT["nan"] in foot.text or section.title == "Failures"
                checked.add(section.title)
    assert checked >= {"Headline", "Paired differences", "Most changed and worst cases", "Phases, slice levels and groups of patients"}
    summary = pd.read_csv(compared[0].out / "summary.csv")
    assert set(summary.loc[summary["metric"] == "HD95", "definition"]) == {METRICS["HD95"].short}


@pytest.mark.slow
def test_without_images_no_picture_of_a_patient_is_left(study: Study) -> None:
    study.compare()
    assert list((study.out / "figures").glob("case_*"))
    page = study.compare(images=False).report.read_text()
    assert "data:image/png" not in page
    assert "--no-images" in page
    assert "largest loss" in page or "largest gain" in page  # the list remains
    assert not list((study.out / "figures").glob("case_*"))  # those of the earlier report are gone, too


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return Study(tmp_path)


@pytest.mark.slow
def test_overlays_show_what_was_scored_where_labels_were_translated(compared: tuple[Study, Comparison], study: Study) -> None:
    plain = compared[1]  # of an equal study
    before = {p.name: p.read_bytes() for p in (compared[0].out / "figures").glob("case_*")}
    assert before
    swap = np.array([0, 3, 2, 1], np.uint8)
    target = study.out.parent / "mnms"
    for file in (study.results / "nnUNetTrainerSynthAug_mix50__nnUNetPlans__2d").glob("fold_*/validation/*.nii.gz"):
        case = file.name.removesuffix(".nii.gz")
        write_nifti(target / file.parents[1].name / "validation" / file.name, swap[study.read("augmented", case)], SPACING)
    (target / "dataset.json").write_text('{"labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 3}}')
    translated = study.compare_with(target, **SHOWN)
    pd.testing.assert_frame_equal(translated.summary, plain.summary)
    assert any("translated: RV 3 to 1" in s for s in translated.conclusion)
    assert {p.name: p.read_bytes() for p in (study.out / "figures").glob("case_*")} == before


def test_who_is_shown() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, 30)
    rows = []
    for metric, a, b in (("Dice", base, base + rng.normal(0, 0.05, 30)), ("HD", 20 - 10 * base, rng.uniform(5, 50, 30))):
        rows += [("mean", metric, f"p{i:02d}", a[i], b[i]) for i in range(30)]
    values = pd.DataFrame(rows, columns=["structure", "metric", "patient", "baseline", "augmented"])
    dice = values[values["metric"] == "Dice"].set_index("patient")
    gain = (dice["augmented"] - dice["baseline"]).sort_values()
    chosen = {one.patient: one.reasons for one in select_patients(values)}
    assert list(chosen)[:CHANGED] == list(gain.index[:CHANGED])
    assert "largest loss" in chosen[gain.index[0]]
    assert "2nd largest gain" in chosen[gain.index[-2]]
    assert "median change" in chosen[gain.index[14]]
    hd = values[values["metric"] == "HD"].set_index("patient")["augmented"].sort_values()
    assert all(any("largest HD" in r for r in chosen[p]) for p in hd.index[-WORST:])
    only_gains = values.assign(augmented=values["baseline"] + 0.01)
    assert not any("loss" in r for one in select_patients(only_gains) for r in one.reasons)


def test_group_forest_places_every_row() -> None:
    rows = [
        {"group": g, "structure": s, "metric": "Dice", "n": 5, "difference": d, "ci_low": d - 0.1, "ci_high": d + 0.1}
        for g, d in (("DCM", 0.1), ("NOR", -0.1))
        for s in ("LV", "mean")
    ]
    axes = group_forest(pd.DataFrame(rows), "Dice", ("a", "b"), "Dice by diagnosis").axes[0]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["DCM, n = 5", "LV", "mean", "NOR, n = 5", "LV", "mean"]
    points = [line.get_xydata()[0] for line in axes.lines if line.get_marker() in ("s", "D")]
    places = dict(zip(labels[1:3] + labels[4:], (tick for i, tick in enumerate(axes.get_yticks()) if i not in (0, 3)), strict=False))
    assert [round(float(x), 3) for x, _ in points] == [0.1, 0.1, -0.1, -0.1]
    assert sorted(float(y) for _, y in points)[-1] == places["mean"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # first group on top


@pytest.mark.parametrize("policy", ["penalty", "nan", "drop", ""])
def test_methods_and_feet_say_what_was_done(policy: str) -> None:
    rules = ScoringRules("native", policy, {"RV": 3.0, "LV": 2.0}) if policy else None
    text = methods(("real", "mix"), ["RV", "LV"], 7, rules, Margins({"Dice": 0.01}, {"HD": 2.0}), {"numpy": "2"}, trainings=(3, 3))
    tolerance = "RV 3 mm, LV 2 mm" if policy else "weighted by area."
    for part in ("“real”", "“mix”", "RV and LV", "7 patients", "trained 3 times", tolerance, "ties", "HD 2 mm", "numpy 2", "Holm"):
        assert part in text
    assert ("Where exactly one mask was empty" in text) == bool(policy)
    foot = stated(["HD95", "Surface Dice"], rules)
    assert "pooled" in foot
    assert ("RV 3 mm" in foot) == bool(policy)
    assert foot.endswith(f"{EMPTY_IN_SHORT[policy] if policy else 'empty masks: as in the tables that were read'}.")


def test_a_difference_whose_interval_includes_zero_is_pointed_out() -> None:
    row = {"structure": "RV", "metric": "Dice", "n": 50, "verdict": BETTER, "ci_low": -0.01, "ci_high": 0.06, "p_runs": float("nan")}
    row |= {"baseline_runs": 1, "augmented_runs": 1}
    assert any("In RV Dice most patients" in s for s in cautions([row], 6))
    assert not any("most patients" in s for s in cautions([row | {"ci_low": 0.01}], 6))


def test_markup_in_names_is_text() -> None:
    document = Document(
        "<b>a</b> & *c*",
        [Paragraph("x < y _z_ `q`")],
        [Section("A|B", [Heading("h"), Table(["<i>"], [["a|b"]])]), Section("nothing in it", [])],
    )
    page, text = html.render(document), markdown.render(document)
    assert "<b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt; &amp; *c*" in page
    assert "nothing in it" not in page + text
    assert r"# \<b>a\</b> & \*c\*" in text
    assert r"x < y \_z\_ \`q\`" in text
    assert r"| a\|b |" in text
    assert file_name("LV / EF: patient 1") == "LV_EF_patient_1"
