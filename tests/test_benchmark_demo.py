"""The demo is the ready study ``demo``: what it asks for, what it refuses, what its last lines say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from evaluation.benchmark import demo
from evaluation.benchmark.demo import demo_study, run_demo
from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import dry_run, kind_of
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.study import Study
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json


def commands(study: Study, out: Path) -> list[str]:
    lines = dry_run(build_steps(study, Workspace(out, study)), Stamps(out / "steps"))
    return [line for line in lines if not line.startswith(("#", "export"))]


def test_it_is_the_ready_study_with_another_seed(tmp_path):
    assert demo_study() == read_study(Path("demo"))
    found = commands(demo_study(seed=7), tmp_path)
    kind = "--prior diagnosis=NOR --prior vendor=Siemens --prior field_strength=1.5"
    assert found[0] == f"synthaug phantom -d 901 -n 8 --seed 7 {kind} --folds 4"
    assert "synthaug phantom -d 911 -n 24 --seed 1007 --stills --protocols varied --folds 2" in found
    [fit] = [line for line in found if line.startswith("synthaug fit")]
    assert "--preset tiny --pretrain phantom --seed 7 --set pretrain.finetune_steps=0.1 --set latents.copies=48" in fit
    [bank] = [line for line in found if line.startswith("synthaug bank")]
    assert "-n 12 --frames 4 --seed 0 --appearance scanners --looks 3 --render donor --source generator" in bank
    assert [line.split()[9] for line in found if ".seeded" in line] == ["nnUNetTrainerSynthAug_mix00", "nnUNetTrainerSynthAug_mix50to00"]


def test_patients_come_from_the_source_and_their_generator_is_tuned_in_full(tmp_path):
    found = commands(demo_study(source=tmp_path, device="cuda"), tmp_path / "out")
    assert found[0] == f"synthaug import acdc {tmp_path} -d 901 --folds 5"
    [fit] = [line for line in found if line.startswith("synthaug fit")]
    assert "--set" not in fit
    assert "-device cuda" in fit
    assert not (tmp_path / "out").exists()


def test_every_kind_of_step_has_its_minutes(tmp_path):
    study = demo_study()
    minutes = asdict(study.minutes)
    assert all(minutes[kind_of(step)] for step in build_steps(study, Workspace(tmp_path, study)) if step.command is not None)


def test_refusals(tmp_path):
    with pytest.raises(UserError, match=r"-device cuda:1 .* choose one of cpu, cuda, mps"):
        run_demo(None, tmp_path / "out", device="cuda:1")
    with pytest.raises(UserError, match=r"--source .*nowhere is not a folder"):
        run_demo(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_seed_is_not_mixed_into_the_folder(tmp_path):
    out = tmp_path / "out"
    begun(out, demo_study())
    with pytest.raises(UserError, match=r"changed since 'dataset from phantom' was run in .*out \(data, seed was 0 and is 1\)"):
        run_demo(None, out, seed=1)
    with pytest.raises(UserError, match=r"\(data, source was phantom and is acdc\); set that back, or choose another --out"):
        run_demo(tmp_path, out)


def begun(out: Path, study: Study) -> None:
    """Put every step on record as finished."""
    stamps = Stamps(out / "steps")
    for step in build_steps(study, Workspace(out, study)):
        stamps.start(step)
        stamps.finish(step, 60.0)


def test_the_last_lines_and_the_figures(tmp_path, monkeypatch):
    study = demo_study()
    out = tmp_path / "out"
    at = Workspace(out, study)
    arm = study.all_arms[1]

    def run_study(of: Study, folder: Path) -> None:
        assert (of, folder) == (study, out)
        begun(out, study)
        exposure = {"ratio": 0.5, "share": 0.51, "samples": 4800, "synthetic_samples": 2448, "distinct_synthetic_cases": 140}
        write_json(at.model(arm, 0) / "fold_0" / "synth_aug.json", exposure | {"other": 1})
        write_json(at.bank(arm, 0) / "sequences" / "figures.json", {"accepted": 24})
        row = {"structure": "RV", "metric": "HD", "baseline_mean": 12.5, "augmented_mean": 11.25, "difference": -1.25}
        row |= {"ci_low": -3.0, "ci_high": 0.5, "p_holm": None}
        write_json(out / "report" / "clinic" / "comparison.json", {"headline": [row], "conclusion": ["Nothing is clear."]})

    monkeypatch.setattr(demo, "run_study", run_study)
    lines = run_demo(None, out).splitlines()
    assert lines[1].split() == [
        "structure",
        "metric",
        "real",
        "only",
        "mix_donor_3looks50to00",
        "difference",
        "[95",
        "%",
        "CI]",
        "Holm",
        "p",
    ]
    assert lines[2].split() == ["RV", "HD", "12.500", "11.250", "-1.250", "[-3.000,", "0.500]", "-"]
    assert lines[3] == "Nothing is clear."
    assert "for 1500 iterations" in lines[4]
    assert lines[5] == "synthetic share seen by the optimiser: 2448 of 4800 samples (asked for: 50 % at first, 0 % in the end)"
    sheet, hearts, figures, report = (line.split(": ", 1)[1] for line in lines[-4:])
    assert sheet == str(at.bank(arm, 0) / "hearts.png")
    assert hearts == str(at.bank(arm, 0) / "sequences" / "*.gif")
    assert report == str(out / "report" / "clinic" / "report.html")
    told = read_json(Path(figures))
    assert told["settings"] == {"source": None, "seed": 0}
    assert len(told["seconds"]) == 13
    assert 60 <= told["total_seconds"] <= 62  # all at once
    assert told["share"]["distinct_synthetic_cases"] == 140
    assert "other" not in told["share"]
    assert told["bank"] == {"accepted": 24}
    assert told["conclusion"] == ["Nothing is clear."]
