"""The one reader of settings: every mistake is one sentence with its place, and what is good comes through unchanged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt, Lt
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, write_json
from nnunet_synth_aug.core.settings import (
    BesidePath,
    Distinct,
    FileName,
    Number,
    OneOf,
    Positive,
    Setting,
    Share,
    describe,
    read,
    read_yaml,
)
from nnunet_synth_aug.model.config import PRESETS, GeneratorConfig, overridden, preset
from nnunet_synth_aug.nnunet.mixing.settings import resolve_settings
from nnunet_synth_aug.synthesis.folder import INDEX, read_index, read_record


@dataclass(frozen=True)
class Part:
    """A part of the whole."""

    steps: Positive = 3  # of the ladder
    rate: Annotated[Number, Gt(0), Lt(1)] | None = None

    def __post_init__(self) -> None:
        if self.steps == 7:
            raise ValueError("seven steps are unlucky; take six")


@dataclass(frozen=True)
class Whole:
    """What the tests read."""

    title: str
    shape: Literal["round", "square"] = "round"
    share: Share = 0.5
    on: bool = False
    where: str | int | None = None
    size: tuple[Positive, Positive, Positive] = (1, 2, 3)
    set_: Distinct[FileName] = ()
    weights: dict[Annotated[str, OneOf("RV", "LV")], Annotated[float, Gt(0)]] = field(default_factory=dict)
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    file: BesidePath | None = None
    anything: dict[str, Any] = field(default_factory=dict)


def refusal(value: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(Whole, value, "a.yaml", **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, "a.yaml has the unknown key 'colour'; choose from title, shape, share, on, where, size, set, weights, part"),
        ({"set_": ["a"]}, "a.yaml has the unknown key 'set_'; choose from title"),
        ({"part": {"step": 1}}, "a.yaml: part has the unknown key 'step'; choose from steps, rate"),
        ({"parts": [{}, {"step": 1}]}, "a.yaml: parts[1] has the unknown key 'step'; choose from steps, rate"),
        ({"title": None}, "a.yaml: title is null; it must be a text"),
        ({"title": 5}, "a.yaml: title is 5; it must be a text"),
        ({"shape": "flat"}, "a.yaml: shape is 'flat'; choose one of round, square"),
        ({"share": 1.5}, "a.yaml: share is 1.5; it must be a number from 0 to 1"),
        ({"share": True}, "a.yaml: share is true; it must be a number from 0 to 1"),
        ({"share": "half"}, "a.yaml: share is 'half'; it must be a number from 0 to 1"),
        ({"share": math.nan}, "a.yaml: share is nan; it must be a number from 0 to 1, and finite"),
        ({"share": -math.inf}, "a.yaml: share is -inf; it must be a number from 0 to 1, and finite"),
        ({"on": 1}, "a.yaml: on is 1; it must be true or false"),
        ({"where": 1.5}, "a.yaml: where is 1.5; it must be a text or a whole number"),
        ({"size": 3}, "a.yaml: size is 3; it must be a list of 3, each a whole number of at least 1"),
        ({"size": [1, 2]}, "a.yaml: size is [1, 2]; it must be a list of 3, each a whole number of at least 1"),
        ({"size": [1, 2, 3, 4]}, "a.yaml: size is [1, 2, 3, 4]; it must be a list of 3, each a whole number of at least 1"),
        ({"size": [1, 2, 0]}, "a.yaml: size[2] is 0; it must be a whole number of at least 1"),
        ({"set": ["a", "b", "a"]}, "a.yaml: set names a twice; name it once"),
        ({"set": ["a/b"]}, "a.yaml: set[0] is 'a/b'; it must be letters, digits, - and _, since it becomes a file name"),
        ({"weights": {"LA": 1}}, "a.yaml: weights has the unknown key 'LA'; choose one of RV, LV"),
        ({"weights": {"LV": 0}}, "a.yaml: weights.LV is 0; it must be a number above 0"),
        ({"weights": [1]}, "a.yaml: weights is [1]; it must be a mapping from one of RV, LV to a number above 0"),
        ({"part": 3}, "a.yaml: part is 3; it must be a mapping with the keys steps, rate"),
        ({"part": None}, "a.yaml: part is null; it must be a mapping with the keys steps, rate"),
        ({"part": {"steps": 1.0}}, "a.yaml: part.steps is 1.0; it must be a whole number of at least 1"),
        ({"part": {"steps": math.nan}}, "a.yaml: part.steps is nan; it must be a whole number of at least 1, and finite"),
        ({"part": {"rate": 1}}, "a.yaml: part.rate is 1; it must be a number above 0 and below 1"),
        ({"part": {"rate": False}}, "a.yaml: part.rate is false; it must be a number above 0 and below 1"),
        ({"part": {"steps": 7}}, "a.yaml: part: seven steps are unlucky; take six"),
        ({"file": "$NO_SUCH_VARIABLE/a"}, "a.yaml: file is $NO_SUCH_VARIABLE/a, but the environment variable NO_SUCH_VARIABLE is not set"),
        ({"anything": 1}, "a.yaml: anything is 1; it must be a mapping"),
        ({"anything": {"a": {1}}}, "a.yaml holds something that is no setting"),
        ({"anything": {"a": "\ud800"}}, "a.yaml cannot be read"),
    ],
)
def test_every_mistake_is_one_sentence_with_its_place(change: dict[str, Any], sentence: str) -> None:
    assert refusal({"title": "t"} | change).startswith(sentence)


def test_the_whole_may_be_wrong_too() -> None:
    assert refusal([1]).startswith("a.yaml is [1]; it must be a mapping with the keys title, shape")
    assert refusal(None).startswith("a.yaml is null; it must be a mapping with the keys title")
    assert refusal({}) == "a.yaml lacks the key 'title'; it must be a text"
    assert refusal({"titel": "t"}).startswith("a.yaml has the unknown key 'titel'")  # and not that title is missing


def test_files_that_nobody_writes_get_their_remedy() -> None:
    assert refusal({"title": 1}, remedy="make it again") == "a.yaml: title is 1, not a text; make it again"
    assert refusal({"title": "t", "x": 1}, remedy="make it again") == "a.yaml has the unknown key 'x'; make it again"
    assert refusal({}, remedy="make it again") == "a.yaml lacks the key 'title'; make it again"
    assert read(Whole, {"title": "t", "x": 1}, "a.yaml", others=True) == Whole("t")


def test_long_values_do_not_fill_the_screen() -> None:
    assert len(refusal({"title": ["x" * 1000] * 1000})) < 1000


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert refusal({"title": loop}).startswith("a.yaml holds something that is no setting")


def test_good_values_come_through_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME", "b")
    value = {"title": "t", "set": ["a"], "size": [3, 2, 1], "part": {"rate": None}, "parts": [{"steps": 2}], "weights": {"LV": 2}}
    made = read(Whole, value | {"file": "$SOME/c", "where": 7}, "a.yaml", folder=tmp_path)
    assert made == Whole("t", set_=("a",), size=(3, 2, 1), parts=(Part(2),), weights={"LV": 2.0}, file=tmp_path / "b" / "c", where=7)
    assert read(Whole, {"title": "t", "file": "~/c"}, "a.yaml").file == Path("~/c").expanduser()


@given(st.floats(min_value=0, max_value=1), st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
def test_numbers_and_texts_are_exact(share: float, number: int, text: str) -> None:
    made = read(Whole, {"title": text, "share": share, "where": number, "anything": {text: [share, number]}}, "a.yaml")
    assert (made.title, made.share, made.where, made.anything) == (text, share, number, {text: [share, number]})


def test_yaml_is_read_once_and_without_surprises(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("title: 2026-01-31")
    assert read(Whole, read_yaml(path), "a.yaml").title == "2026-01-31"
    for text, sentence in (
        ("part:\n  steps: 1\n  steps: 2", "the key 'steps' is there twice"),
        ("a: [", "is not YAML"),
        ("a: " + "[" * 2000, "nested too deeply"),
        (f"a: {'9' * 5000}", "is not YAML"),
        ("? [1, 2]\n: 3", "is not YAML"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=sentence) as caught:
            read_yaml(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def nested(depth: int, inner: Any = 0) -> Any:
    for _ in range(depth):
        inner = {"a": inner}
    return inner


@pytest.mark.parametrize("depth", [100, 300, 950, 10_000])
def test_absurd_depth_is_one_sentence_everywhere(depth: int, tmp_path: Path) -> None:
    refusal({"title": nested(depth)})
    (tmp_path / INDEX).write_text('{"a":' * depth + "0" + "}" * depth)
    (tmp_path / "s.json").write_text('{"a":' * depth + "0" + "}" * depth)
    for action in (
        lambda: resolve_settings({"synth_aug": {"schedule": nested(depth)}}, None, None),
        lambda: GeneratorConfig.from_json({"vae": nested(depth)}),
        lambda: GeneratorConfig.from_json(nested(depth)),
        lambda: overridden(preset("tiny"), ["vae.train.steps=" + "[" * depth + "]" * depth]),
        lambda: read_index(tmp_path),
        lambda: read_record(tmp_path, "s"),
    ):
        with pytest.raises(UserError) as caught:
            action()
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ the generator's config


#: Another hash is another generator: folders that were trained before would be refused. Change it in a commit that says so.
HASHES = {
    "tiny": "eddd11d2691654ec",
    "small": "55c1dc226ddb07d9",
    "base": "4afbd0ec2134845b",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_and_its_hash_survive_the_file(name: str) -> None:
    config = preset(name)
    assert hash_json(config.to_json()).startswith(HASHES[name])
    again = GeneratorConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert hash_json(again.to_json()) == hash_json(config.to_json())


def test_numbers_of_a_config_are_hashed_as_they_were_written() -> None:
    """A generator is known by the hash of its config: 1 must not become 1.0 on the way, nor 1.0 become 1."""
    for text, kind in (("1", int), ("1.0", float)):
        config = overridden(preset("tiny"), [f"vae.kl_weight={text}", f"vae.labelled_share={text}"])
        for one in (config, GeneratorConfig.from_json(json.loads(json.dumps(config.to_json())))):
            assert (type(one.vae.kl_weight), type(one.vae.labelled_share)) == (kind, kind)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("vae.train.steps=many", "vae.train.steps is 'many'; it must be a whole number of at least 1"),
        ("vae.train.steps=true", "vae.train.steps is true; it must be a whole number of at least 1"),
        ("vae.train.steps=0", "vae.train.steps is 0; it must be a whole number of at least 1"),
        ("vae.channels=3", "vae.channels is 3; it must be a list, each a whole number of at least 1"),
        ("vae.channels=[8, 0]", "vae.channels[1] is 0; it must be a whole number of at least 1"),
        ("grid.size=[8, 8]", "grid.size is [8, 8]; it must be a list of 3, each a whole number of at least 1"),
        ("static.dropout=NaN", "static.dropout is nan; it must be a number from 0 to 1, and finite"),
        ("latents.motion=still", "latents.motion is 'still'; choose one of fourier, framewise"),
        ("latents.warp=null", "latents.warp is null; it must be a number of at least 0"),
    ],
)
def test_a_setting_of_the_generator_that_cannot_be(setting: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        overridden(preset("tiny"), ["seed=3", setting])
    assert str(caught.value) == f"--set {setting}: {sentence}"


def test_a_spoilt_config_is_told_with_its_file() -> None:
    for spoilt, sentence in (
        ({"vae": {"train": {"steps": "many"}}}, "config: vae.train.steps is 'many', not a whole number of at least 1; use the version"),
        ({"vae": [1]}, "config: vae is [1], not a mapping with the keys"),
        ([1], "config is [1], not a mapping"),
        ({"colour": 1}, "config has the unknown key 'colour'; use the version of this package that made it"),
    ):
        with pytest.raises(UserError) as caught:
            GeneratorConfig.from_json(spoilt, "generator.json, config")
        assert str(caught.value).startswith(f"generator.json, {sentence}")


# ------------------------------------------------------------------ files of sequences


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"sequences": "a", "provenance": {}}, "sequences is 'a', not a list, each a name that leads to no other folder"),
        ({"sequences": ["a", 1], "provenance": {}}, r"sequences\[1\] is 1, not a name that leads to no other folder"),
        ({"sequences": []}, "lacks the key 'provenance'"),
        ({"sequences": [], "provenance": {}, "format": 2}, "format is 2, not 1"),
        ([], "not a mapping"),
    ],
)
def test_a_spoilt_index_is_one_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    write_json(tmp_path / INDEX, content)
    with pytest.raises(UserError, match=f"index.json.*{sentence}.*; run 'synthaug sample' or 'synthaug bank' again$"):
        read_index(tmp_path)


# ------------------------------------------------------------------ listing and starting


def test_every_setting_is_listed_with_limits_value_and_meaning() -> None:
    listed = {one.key: one for one in describe(Whole("t", part=Part(5)))}
    assert listed["part.steps"] == Setting("part.steps", "a whole number of at least 1", 5, "of the ladder")
    assert listed["set"].must_be == "a list, each letters, digits, - and _, since it becomes a file name"
    assert listed["where"].must_be == "a text or a whole number"
    config = {one.key: one for one in describe(preset("small"))}
    assert config["motion.train.steps"].value == PRESETS["small"].motion.train.steps
    assert config["latents.remodel"].must_be == "a number from 0 to 1"
    assert all(one.must_be for one in config.values())
    assert [key for key, one in config.items() if one.must_be == "anything"] == []


def test_fit_prints_its_settings_as_they_can_be_set() -> None:
    command = ["fit", "-d", "7", "--preset", "small", "--set", "vae.train.steps=12", "--dry-run"]
    printed = CliRunner().invoke(app, command, catch_exceptions=False).stdout.splitlines()
    assert "vae.train.steps=12  # a whole number of at least 1" in printed
    assert 'latents.motion="fourier"  # one of fourier, framewise; or "framewise": every frame sampled by itself' in "\n".join(printed)
    config = overridden(preset("tiny"), [line.partition("  # ")[0] for line in printed])
    assert config == overridden(preset("small"), ["vae.train.steps=12"])


def test_the_command_line_starts_without_the_reader() -> None:
    code = "import sys, nnunet_synth_aug.cli.app; print(sorted({'pydantic', 'torch', 'nnunet_synth_aug.core.settings'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_reader_loads_no_torch() -> None:
    code = "import sys, nnunet_synth_aug.core.settings, evaluation.benchmark.study; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
