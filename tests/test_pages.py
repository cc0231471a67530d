"""The site's tables come from committed figures, and what pages type by hand agrees with them."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import demo_page
import numpy as np
import pytest
import scipy.stats
import walkthrough

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PROBE = re.compile(r"([+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\])")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mark_is_filled_and_every_table_is_shown(hooks: ModuleType) -> None:
    asked = set()
    for page in DOCS.rglob("*.md"):
        names = [found[1] for found in hooks.MARK.finditer(page.read_text())]
        asked |= set(names)
        filled = hooks.filled(page.read_text())
        assert "<!--" not in filled, f"{page.name}: {filled[filled.index('<!--') :][:60]}"
        assert not {*names} - {"demo verdict"} or filled.count("\n| ") > 3, f"{page.name} shows no table"
    assert asked == set(hooks.FIGURES)


def test_a_mark_that_nobody_fills_is_an_error(hooks: ModuleType) -> None:
    with pytest.raises(KeyError, match="misspelt"):
        hooks.filled("<!-- figures: misspelt -->")


def test_every_study_has_a_section(hooks: ModuleType) -> None:
    for name in ("utility", "generator"):
        sections = re.findall(r"^## (\w+)$", hooks.FIGURES[name](), re.MULTILINE)
        assert set(sections) >= {path.stem for path in (DOCS / name).glob("*.json")}


def test_every_command_is_listed_with_its_options(hooks: ModuleType) -> None:
    shown = hooks.commands()
    for title in ("synthaug fit", "synthaug import acdc", "synthaug compare", "synthaug bank"):
        assert f"## {title}\n" in shown
    bank = shown.split("## synthaug bank\n")[1].split("\n## ")[0]
    assert "| `--prior`{.whole} | " in bank
    assert re.search(r"\| `-d`\{\.whole\} \| .* \| needed \|", bank)


def test_the_presets_settings_are_listed(hooks: ModuleType) -> None:
    from nnunet_synth_aug.model.config import PRESETS

    row = next(line for line in hooks.settings().splitlines() if line.startswith("| `static.train.steps`{.whole} |"))
    assert all(f"`{config.static.train.steps}`" in row for config in PRESETS.values())


def differences_in(content: Any) -> Iterator[str]:
    """Every difference with its interval, as the pages write it."""
    if isinstance(content, list):
        for one in content:
            yield from differences_in(one)
    elif isinstance(content, dict) and content.get("difference") is not None and content.get("ci_low") is not None:
        yield f"{content['difference']:+.3f} [{content['ci_low']:+.3f}, {content['ci_high']:+.3f}]"
    elif isinstance(content, dict):
        yield from differences_in(list(content.values()))


PAGES = ["README.md", "docs/results/utility.md", "docs/results/other-scanners.md"]
PAGES += ["docs/start/acdc.md", "docs/how-to/bank.md", "docs/how-to/generator.md", "docs/decisions/looks.md"]


@pytest.mark.parametrize("page", PAGES)
def test_differences_typed_by_hand_are_those_of_the_figures(page: str) -> None:
    paths = [*(DOCS / "utility").glob("*.json"), *(DOCS / "benchmarks").glob("other-scanners*.json")]
    known = {found for path in paths for found in differences_in(json.loads(path.read_text()))}
    typed = PROBE.findall(" ".join((ROOT / page).read_text().split()))
    assert typed
    assert not set(typed) - known


def test_the_demo_says_how_often_the_mix_won() -> None:
    runs = [
        {"seed": n, "date": "2026-01-01", "real Dice": 0.7, "mix Dice": 0.7 + d, "real HD": 20.0, "mix HD": 20.0 + h}
        for n, (d, h) in enumerate([(0.1, -5.0), (0.2, 1.0), (-0.1, -2.0)])
    ]
    figures = {"runs": runs}
    sentence = demo_page.verdict(figures)
    assert "changed by +0.067 on average and was better in 2 of 3 runs; mean HD changed by -2.0 mm and was better in 2" in sentence
    low, high = scipy.stats.t.interval(0.95, 2, 0.2 / 3, np.std([0.1, 0.2, -0.1], ddof=1) / np.sqrt(3))
    assert f"Mean Dice: +0.067 [{low:+.3f}, {high:+.3f}]; the mix was better in 2 of 3 runs." in demo_page.runs(figures)


def demo_folder(folder: Path, dice: float, source: str | None = None, seed: int = 0) -> Path:
    """A finished demo: the one that the page shows, but for its mean Dice with the mix."""
    demo = json.loads((DOCS / "walkthrough.json").read_text())["demo"]
    demo["settings"] |= {"source": source, "seed": seed}
    demo["bank"]["quality"]["given_up"] = ["synth_00000"]
    next(row for row in demo["headline"] if (row["structure"], row["metric"]) == ("mean", "Dice"))["augmented_mean"] = dice
    write_json(folder / "demo.json", demo)
    write_json(folder / "steps" / "train_real_fold_0_seed_0.json", {"ended": f"2026-01-0{dice * 10:.0f}T10:00:00"})
    return folder


def test_every_demo_is_a_run_and_the_first_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "walkthrough.json"
    folders = [demo_folder(tmp_path / str(seed), dice, seed=seed) for seed, dice in ((3, 0.7), (1, 0.8))]
    monkeypatch.setattr("sys.argv", ["walkthrough.py", *map(str, folders), "--json", str(kept)])
    walkthrough.main()
    figures = json.loads(kept.read_text())
    assert figures["demo"]["settings"]["seed"] == 3
    assert figures["demo"]["bank"]["quality"]["given_up"] == 1
    assert [(run["seed"], run["mix Dice"]) for run in figures["runs"]] == [(1, 0.8), (3, 0.7)]
    monkeypatch.setattr("sys.argv", ["walkthrough.py", str(folders[0]), str(folders[0]), "--json", str(kept)])
    with pytest.raises(UserError, match="two of the demos have one seed"):
        walkthrough.main()


def test_figures_of_a_demo_on_patients_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only the figures of the phantom demo"):
        walkthrough.finished_demo(demo_folder(tmp_path, 0.7, source="/data/ACDC"))


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith('python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ".[test]"') for line in lines) == 1


def test_every_command_in_the_docs_exists_with_its_options(hooks: ModuleType) -> None:
    from typer.main import get_command

    from nnunet_synth_aug.cli.app import app

    known = {
        name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        for name, command in hooks._leaves("synthaug", get_command(app))
    }
    checked = 0
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
        lines = [line for block in blocks for line in re.split(r"\n|&&|;", block.replace("\\\n", " "))]
        for line in lines:
            if (found := re.search(r"\bsynthaug (import \w+|[\w-]+)(.*)", line.split(" #")[0])) and not found[1].startswith("-"):
                options = re.findall(r"(?<=\s)(--?[a-z][\w-]*)", found[2])
                unknown = set(options) - known[f"synthaug {found[1]}"]
                assert not unknown, f"{page.name}: {line.strip()}: {unknown}"
                checked += 1
    assert checked > 25
