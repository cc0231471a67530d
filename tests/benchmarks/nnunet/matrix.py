"""nnU-Net's own commands with our trainers, each in its own process with nothing set by hand but nnU-Net's folders.

    python tests/benchmarks/nnunet/matrix.py --out matrix_run [--json docs/nnunet/matrix.json] [--only ROW ...]

A row that has run in the folder is not run again unless --only names it, its command changed, or it did not end as expected.
The table is in docs/nnunet.md (page.py).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workspace import (
    CHANNELS,
    DOCS,
    HEARTS,
    IGNORE,
    REGIONS,
    TESTS,
    VALIDATION,
    Dataset,
    Workspace,
    stamp,
    write_raw,
    write_sequences,
)

from nnunet_synth_aug.demo import program
from nnunet_synth_aug.files import read_json, write_json

MIX00, MIX25, MIX50 = (f"nnUNetTrainerSynthAug_mix{share}" for share in ("00", "25", "50"))
RESUMED = f"{MIX50}_6epochs"
SHORT, RESENC, LOWRES = "shortPlans", "shortResEncPlans", "shortLowresPlans"  # the plans of nnU-Net with few iterations
SETTINGS = "--epochs 2 --iterations 4 --val-iterations 1"
LIMIT = 1800.0  # seconds for one command


@dataclass(frozen=True)
class Row:
    """One command; ``expected`` is its exit code, ``check`` gives facts about its product or raises AssertionError."""

    name: str
    group: str
    command: str  # words without spaces
    configuration: str = ""
    expected: int = 0
    prepare: Callable[[], Any] | None = None
    check: Callable[[], dict[str, Any]] | None = None
    says: str = ""  # part of the sentence of a refusal
    kill_when: Callable[[], bool] | None = None  # kill -9 the command as soon as this is true
    environment: dict[str, str] = field(default_factory=dict)


class Matrix:
    """The rows, in an order in which each finds what it needs."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    # ------------------------------------------------------------------ places

    def trained(self, dataset: Dataset, trainer: str, plans: str, configuration: str, results: str = "nnUNet_results") -> Path:
        return self.workspace.folder(results, dataset.folder, f"{trainer}__{plans}__{configuration}")

    @property
    def images(self) -> Path:
        """Two images to predict; written with the raw data."""
        return self.workspace.root / "images"

    def write_everything(self, datasets: list[Dataset]) -> None:
        for dataset in datasets:
            write_raw(self.workspace, dataset)
        self.images.mkdir(exist_ok=True)
        for case in ("patient003_ED", "patient003_ES"):
            shutil.copy(self.workspace.folder("nnUNet_raw", HEARTS.folder, "imagesTr", f"{case}_0000.nii.gz"), self.images)

    def predicted(self, name: str) -> Path:
        return self.workspace.root / "predicted" / name

    # ------------------------------------------------------------------ preparation and checks

    def bank(self, dataset: Dataset, fold: int | str, configuration: str, plans: str) -> Callable[[], Any]:
        def build() -> None:
            from nnunet_synth_aug.nnunet.bank import build_bank_cases

            build_bank_cases(write_sequences(self.workspace, dataset, fold), dataset.folder, fold, configuration, plans, frames=3)

        return build

    def leaking_bank(self, fold: int) -> Callable[[], Any]:
        """A bank whose manifest confesses a validation patient."""

        def build() -> None:
            from nnunet_synth_aug.nnunet.manifest import manifest_path

            self.bank(HEARTS, fold, "2d", SHORT)()
            path = manifest_path(HEARTS.folder, fold, "nnUNetPlans_2d")
            content = read_json(path)
            content["generator"]["patients"].append(VALIDATION[fold][0])
            write_json(path, content)

        return build

    def remove(self, *paths: Path) -> Callable[[], Any]:
        return lambda: [shutil.rmtree(path, ignore_errors=True) for path in paths]

    def check_training(self, dataset: Dataset, trainer: str, plans: str, configuration: str, fold: int | str) -> dict[str, Any]:
        folder = self.trained(dataset, trainer, plans, configuration) / f"fold_{fold}"
        record = read_json(folder / "synth_aug.json")
        numbers = [epoch["epoch"] for epoch in record["epochs"]]
        assert numbers == list(range(len(numbers))), f"epochs on record: {numbers}"
        # At most one sample off per worker and start of the command.
        assert abs(record["synthetic_samples"] - record["ratio"] * record["samples"]) <= 4, "the share is not exact"
        assert (folder / "checkpoint_final.pth").is_file()
        validated = sorted(path.name for path in (folder / "validation").glob("*.nii.gz"))
        assert validated, "no validation case"
        assert not [name for name in validated if name.startswith("synth")], "a synthetic case was validated"
        assert (folder / "validation" / "summary.json").is_file()
        return {"epochs": len(numbers), "synthetic": f"{record['synthetic_samples']} of {record['samples']}", "validated": len(validated)}

    def check_plans(self, plans: str, configuration: str) -> dict[str, Any]:
        content = read_json(self.workspace.folder("nnUNet_preprocessed", HEARTS.folder, f"{plans}.json"))
        assert configuration in content["configurations"], f"{configuration} was not planned"
        return {}

    def check_prediction(self, name: str, same_as: str | None = None) -> dict[str, Any]:
        import nibabel as nib
        import numpy as np

        files = sorted(self.predicted(name).glob("*.nii.gz"))
        assert len(files) == 2, f"{len(files)} predictions"
        if same_as is not None:
            for file in files:
                one, other = (np.asarray(nib.load(p).dataobj) for p in (file, self.predicted(same_as) / file.name))
                assert np.array_equal(one, other), f"{file.name} differs from {same_as}"
            return {"predicted": 2, "equal to": same_as}
        return {"predicted": 2}

    def files(self, *paths: Path) -> Callable[[], dict[str, Any]]:
        def check() -> dict[str, Any]:
            for path in paths:
                assert path.exists(), f"{path.name} is missing"
            return {}

        return check

    # ------------------------------------------------------------------ rows

    def train(
        self,
        name: str,
        configuration: str,
        fold: int | str,
        options: str = "",
        trainer: str = MIX50,
        plans: str = SHORT,
        dataset: Dataset = HEARTS,
        group: str = "train",
        **more: Any,
    ) -> Row:
        command = f"nnUNetv2_train {dataset.number} {configuration} {fold} -tr {trainer} -p {plans} -device cpu {options}"
        if "check" not in more and not more.get("expected"):
            more["check"] = lambda: self.check_training(dataset, trainer, plans, configuration, fold)
        return Row(name, group, command, configuration, **more)

    def refuse(self, name: str, configuration: str, fold: int | str, says: str, **more: Any) -> Row:
        """A training that must not start."""
        return self.train(name, configuration, fold, group="refuse", expected=1, says=says, **more)

    def predict(
        self, name: str, configuration: str, options: str = "", plans: str = SHORT, dataset: Dataset = HEARTS, fold: str = "0", **more: Any
    ) -> Row:
        folder = self.predicted(name)
        command = f"nnUNetv2_predict -i {self.images} -o {folder} -d {dataset.number} -c {configuration} -f {fold} -tr {MIX50} -p {plans}"
        more.setdefault("check", lambda: self.check_prediction(name))
        command += f" -device cpu -npp 1 -nps 1 {options}"
        return Row(f"predict {name}", "predict", command, configuration, prepare=self.remove(folder), **more)

    def plans(self, name: str, dataset: Dataset, base: str, new: str, group: str = "prepare", **more: Any) -> Row:
        return Row(name, group, f"synthaug plans -d {dataset.number} --base {base} --name {new} {SETTINGS}", **more)

    def rows(self) -> list[Row]:
        return self._prepare() + self._train() + self._refuse() + self._after_training() + self._labels()

    def _prepare(self) -> list[Row]:
        everything = [HEARTS, REGIONS, IGNORE, CHANNELS]
        d = HEARTS.number
        numbers = " ".join(str(dataset.number) for dataset in everything)
        low = (
            f"nnUNetv2_plan_experiment -d {d} -gpu_memory_target 0.05 -overwrite_target_spacing 8 0.5 0.5 -overwrite_plans_name lowresPlans"
        )
        doctor = f"synthaug doctor -d {d} -f 0 -p {SHORT}"
        return [
            Row(
                "plan and preprocess",
                "prepare",
                f"nnUNetv2_plan_and_preprocess -d {numbers} -c 2d 3d_fullres -npfp 1 -np 1 1",
                "2d, 3d_fullres",
                prepare=lambda: self.write_everything(everything),
            ),
            Row("plan ResEnc", "prepare", f"nnUNetv2_plan_experiment -d {d} -pl nnUNetPlannerResEncM", "2d, 3d_fullres"),
            Row("plan with 3d_lowres", "prepare", low, "3d_lowres", check=lambda: self.check_plans("lowresPlans", "3d_lowres")),
            self.plans("short plans", HEARTS, "nnUNetPlans", SHORT),
            self.plans("short ResEnc plans", HEARTS, "nnUNetResEncUNetMPlans", RESENC),
            self.plans("short 3d_lowres plans", HEARTS, "lowresPlans", LOWRES),
            Row("preprocess 3d_lowres", "prepare", f"nnUNetv2_preprocess -d {d} -plans_name {LOWRES} -c 3d_lowres -np 1", "3d_lowres"),
            self.refuse("no bank", "2d", 0, "synthaug bank"),
            Row("doctor without a bank", "refuse", doctor, "2d", expected=2, says="1 of 10 checks failed: bank"),
            Row("doctor", "prepare", doctor, "2d", prepare=self.bank(HEARTS, 0, "2d", SHORT)),
        ]

    def _train(self) -> list[Row]:
        started = self.trained(HEARTS, MIX50, SHORT, "2d") / "fold_0" / "checkpoint_final.pth"
        resumed = self.trained(HEARTS, RESUMED, SHORT, "2d")
        return [
            self.train("2d", "2d", 0, "--npz"),
            self.train("2d --val", "2d", 0, "--val --npz"),
            self.train("2d --val --val_best", "2d", 0, "--val --val_best"),
            self.train("2d --c after the end", "2d", 0, "--c --npz"),
            self.train(
                "2d killed",
                "2d",
                0,
                trainer=RESUMED,
                expected=-signal.SIGKILL,
                check=dict,
                kill_when=(resumed / "fold_0" / "checkpoint_latest.pth").is_file,
                prepare=self.remove(resumed),
            ),
            self.train("2d --c after the kill", "2d", 0, "--c", trainer=RESUMED),
            self.train("2d fold 1", "2d", 1, "--npz", prepare=self.bank(HEARTS, 1, "2d", SHORT)),
            self.train("2d fold all", "2d", "all", prepare=self.bank(HEARTS, "all", "2d", SHORT)),
            self.train("2d mix00", "2d", 0, "--npz", trainer=MIX00),
            self.train("2d mix00 fold 1", "2d", 1, "--npz", trainer=MIX00),
            self.train("2d pretrained", "2d", 0, f"-pretrained_weights {started}", trainer=MIX25),
            self.train("3d_fullres", "3d_fullres", 0, "--npz", prepare=self.bank(HEARTS, 0, "3d_fullres", SHORT)),
            self.train("3d_fullres fold all", "3d_fullres", "all", prepare=self.bank(HEARTS, "all", "3d_fullres", SHORT)),
            self.train("3d_lowres", "3d_lowres", 0, plans=LOWRES, prepare=self.bank(HEARTS, 0, "3d_lowres", LOWRES)),
            self.train("ResEnc 2d", "2d", 0, plans=RESENC),
            self.train("ResEnc 3d_fullres", "3d_fullres", 0, plans=RESENC),
        ]

    def _refuse(self) -> list[Row]:
        unknown = "nnUNetTrainerSynthAug_mix101"
        channels = "2 input channels"
        leak = "validation patients of fold 1"
        return [
            # A patient of fold 1's validation in the manifest; the bank is made again afterwards.
            self.refuse("leaking bank", "2d", 1, leak, prepare=self.leaking_bank(1), trainer=f"{MIX25}_2epochs"),
            self.refuse("3d_cascade_fullres", "3d_cascade_fullres", 0, "second stage of a cascade", plans=LOWRES),
            self.plans("short plans, two channels", CHANNELS, "nnUNetPlans", SHORT, group="refuse", expected=2, says=channels),
            self.refuse("two channels", "2d", 0, channels, dataset=CHANNELS, plans="nnUNetPlans"),
            self.refuse("mix101", "2d", 0, "Could not find requested nnunet trainer", trainer=unknown),
        ]

    def _after_training(self) -> list[Row]:
        d = HEARTS.number
        which = f"-tr {MIX50} -p {SHORT}"
        model = self.trained(HEARTS, MIX50, SHORT, "2d")
        crossval = model / "crossval_results_folds_0_1"
        accumulated, archive = self.workspace.root / "accumulated", self.workspace.root / "model.zip"
        fresh = {"nnUNet_results": str(self.workspace.folder("fresh_results"))}
        installed = self.trained(HEARTS, MIX50, SHORT, "2d", "fresh_results") / "fold_0" / "checkpoint_final.pth"
        processed, ensemble, direct = (self.predicted(name) for name in ("post-processed", "ensemble", "model_folder"))
        one, other = self.predicted("2d"), self.predicted("3d_fullres")
        information = self.workspace.folder("nnUNet_results", HEARTS.folder, "inference_information.json")
        process = f"nnUNetv2_apply_postprocessing -i {one} -o {processed} -pp_pkl_file {crossval}/postprocessing.pkl"
        process += f" -plans_json {crossval}/plans.json -dataset_json {crossval}/dataset.json -np 1"
        best = f"nnUNetv2_find_best_configuration {d} -c 2d -tr {MIX00} {MIX50} -p {SHORT} -f 0 1 -np 1"
        return [
            self.predict("2d", "2d", "--save_probabilities"),
            self.predict("2d_two_folds", "2d", fold="0 1"),
            self.predict("3d_fullres", "3d_fullres", "--save_probabilities"),
            self.predict("3d_lowres", "3d_lowres", plans=LOWRES),
            self.predict("ResEnc_2d", "2d", plans=RESENC),
            Row(
                "predict from model folder",
                "predict",
                f"nnUNetv2_predict_from_modelfolder -i {self.images} -o {direct} -m {model} -f 0 -device cpu -npp 1 -nps 1",
                "2d",
                check=lambda: self.check_prediction("model_folder", "2d"),
            ),
            Row(
                "ensemble",
                "predict",
                f"nnUNetv2_ensemble -i {one} {other} -o {ensemble} -np 1",
                "2d + 3d_fullres",
                check=lambda: self.check_prediction("ensemble"),
            ),
            Row(
                "accumulate_crossval_results",
                "choose",
                f"nnUNetv2_accumulate_crossval_results {d} -c 2d {which} -f 0 1 -o {accumulated}",
                "2d",
                check=self.files(accumulated / "summary.json"),
            ),
            Row("find_best_configuration", "choose", best, "2d", check=self.files(crossval / "postprocessing.pkl", information)),
            Row("apply_postprocessing", "choose", process, "2d", check=lambda: self.check_prediction("post-processed")),
            Row(
                "export to zip",
                "share",
                f"nnUNetv2_export_model_to_zip -d {d} -o {archive} -c 2d -f 0 {which}",
                "2d",
                prepare=lambda: archive.unlink(missing_ok=True),
                check=self.files(archive),
            ),
            Row(
                "install from zip",
                "share",
                f"nnUNetv2_install_pretrained_model_from_zip {archive}",
                "2d",
                prepare=self.remove(Path(fresh["nnUNet_results"])),
                check=self.files(installed),
                environment=fresh,
            ),
            self.predict("installed_model", "2d", environment=fresh, check=lambda: self.check_prediction("installed_model", "2d")),
        ]

    def _labels(self) -> list[Row]:
        """Labels other than the three plain ones."""
        rows = []
        for title, dataset in (("regions", REGIONS), ("ignore label", IGNORE)):
            rows += [
                self.plans(f"short plans, {title}", dataset, "nnUNetPlans", SHORT),
                self.train(f"2d, {title}", "2d", 0, dataset=dataset, prepare=self.bank(dataset, 0, "2d", SHORT)),
                self.train(f"3d_fullres, {title}", "3d_fullres", 0, dataset=dataset, prepare=self.bank(dataset, 0, "3d_fullres", SHORT)),
                self.predict(f"2d_{dataset.name.lower()}", "2d", dataset=dataset),
            ]
        return rows


def run(row: Row, workspace: Workspace) -> dict[str, Any]:
    """Run one row in a process group of its own."""
    command = shown(row, workspace)
    result: dict[str, Any] = {"group": row.group, "configuration": row.configuration, "command": command, "expected": row.expected}
    try:
        if row.prepare is not None:
            row.prepare()
    except Exception as error:  # one row that cannot be prepared must not stop the others
        return result | {"exit_code": None, "ok": False, "why": f"preparation: {type(error).__name__}: {plain(str(error), workspace)}"}
    log = workspace.root / "logs" / f"{row.name}.log"
    log.parent.mkdir(exist_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = row.command.split()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [program(words[0]), *words[1:]],
            env=workspace.environment | row.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=workspace.root,
        )
        while process.poll() is None:
            if (row.kill_when is not None and row.kill_when()) or time.monotonic() - start > LIMIT:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    result |= {
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "ok": process.returncode == row.expected,
    }
    if not result["ok"]:
        return result | {"why": " / ".join(plain(line, workspace) for line in lines[-3:])}
    if row.says:
        sentence = next((plain(line, workspace) for line in reversed(lines) if row.says in line), None)
        return result | {"ok": sentence is not None, "says": sentence or plain(lines[-1], workspace)}
    try:
        return result | {"facts": row.check() if row.check is not None else {}}
    except Exception as error:  # a product of another shape than expected may fail in any way
        return result | {"ok": False, "why": f"{type(error).__name__}: {plain(str(error), workspace)}"}


def plain(text: str, workspace: Workspace) -> str:
    """Without this machine's folders."""
    text = text.replace(f"{workspace.root}/", "").replace(f"{TESTS.parent}/", "")
    return re.sub(r"/[^\s'\"]*/(site-packages|bin)/", "", text)


def shown(row: Row, workspace: Workspace) -> str:
    return plain(" ".join([*(f"{key}={value}" for key, value in row.environment.items()), *row.command.split()]), workspace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder")
    parser.add_argument("--json", type=Path, default=DOCS / "matrix.json")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="run these rows, again if need be")
    parser.add_argument("--skip", nargs="+", default=[], metavar="ROW")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    workspace = Workspace(arguments.out.resolve())
    workspace.enter()
    state = workspace.root / "rows.json"
    done: dict[str, Any] = read_json(state) if state.is_file() else {}
    rows = Matrix(workspace).rows()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for wrong in sorted({*arguments.only, *arguments.skip} - set(names)):
        raise SystemExit(f"there is no row {wrong!r}; see --list")
    for row in rows:
        if arguments.list:
            print(f"{row.name:35s} {shown(row, workspace)}")
            continue
        before = done.get(row.name, {})
        due = not before.get("ok", False) or before["command"] != shown(row, workspace)
        chosen = row.name in arguments.only if arguments.only else due
        if not chosen or row.name in arguments.skip:
            continue
        done[row.name] = run(row, workspace)
        print(f"{row.name}: {done[row.name]}", flush=True)
        write_json(state, done)
        write_json(arguments.json, {**stamp(), "rows": {name: done[name] for name in names if name in done}})


if __name__ == "__main__":
    main()
