"""How fast this machine is at one training of nnU-Net: seconds of each part, measured on one case in a few moments.

    python -m nnunet_synth_aug.nnunet.pace REQUEST.json ANSWER.json

In a process of its own with nnU-Net's folders set to a place that is thrown away: nothing of the user's is written to. A dataset
that was not planned yet is planned there by nnU-Net's own planner, from the headers of its images.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

import contextlib  # noqa: E402
import copy  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter  # noqa: E402
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner  # noqa: E402
from nnunetv2.inference.export_prediction import export_prediction_from_logits  # noqa: E402
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402

from nnunet_synth_aug.core.cases import Sequence  # noqa: E402
from nnunet_synth_aug.core.errors import UserError  # noqa: E402
from nnunet_synth_aug.core.files import read_object, write_json  # noqa: E402
from nnunet_synth_aug.core.paths import nnunet_folder, preprocessed_folder, raw_folder  # noqa: E402
from nnunet_synth_aug.core.volumes import read_volume  # noqa: E402
from nnunet_synth_aug.data.phantom.subject import phantom_subject  # noqa: E402
from nnunet_synth_aug.data.warp import deformed, smooth_warp  # noqa: E402
from nnunet_synth_aug.nnunet.plans import write_small_plans  # noqa: E402
from nnunet_synth_aug.nnunet.precision import Float32Loss, cpu_bf16, network_in  # noqa: E402
from nnunet_synth_aug.nnunet.target import Target, load_target, training_files  # noqa: E402

PLANS = "pace"
#: Steps that are waited for, and seconds after which the count ends: the first steps of a process are slower.
WARM, ENOUGH_STEPS, ENOUGH_S = 2, 8, 8.0


class _FlatPlanner(ExperimentPlanner):
    """nnU-Net's planner without the 3D networks, whose size it finds by building them."""

    def get_plans_for_configuration(self, spacing: Any, median_shape: Any, *others: Any) -> dict[str, Any]:
        if len(spacing) == 3:
            return {"patch_size": [int(n) for n in median_shape], "spacing": np.asarray(spacing, float)}
        return dict(super().get_plans_for_configuration(spacing, median_shape, *others))


def measure(request: dict[str, Any]) -> dict[str, float]:
    """Seconds and sizes of the parts of a study.

    Args:
        request: ``dataset`` (folder name), ``configuration``, ``base`` (file of the user's plans, "" if there is none), ``changes``
            (of the network, as :func:`~nnunet_synth_aug.nnunet.plans.write_small_plans` takes them), ``autocast`` (as
            ``synthaug plans --autocast``), ``case`` (that is measured), ``shape`` and ``spacing`` (medians of the dataset, slices last),
            ``device``, ``sources`` (whose hearts are made), ``frames`` (of a copy).

    Returns:
        ``case_s`` preprocess one case; ``case_mb`` its size; ``step_s`` one iteration with its batch; ``step_float32_s`` the same without
        ``autocast``; ``forward_s`` one validation batch; ``predict_s`` predict and write one case; ``network_mb`` a checkpoint;
        ``copies_s``, ``phantom_s`` one heart of these sources.

    Raises:
        UserError: the plans do not fit, or the device is not there.
    """
    target = _planned(request)
    files = training_files(raw_folder(target.dataset), read_object(raw_folder(target.dataset) / "dataset.json"))[request["case"]]
    folder = target.folder / target.data_identifier
    folder.mkdir(parents=True, exist_ok=True)
    preprocessor = target.configuration_manager.preprocessor_class(verbose=False)
    start = time.monotonic()
    preprocessor.run_case_save(
        str(folder / request["case"]),
        files["images"],
        files["label"],
        target.plans_manager,
        target.configuration_manager,
        target.dataset_json,
    )
    found = {"case_s": time.monotonic() - start, "case_mb": sum(p.stat().st_size for p in folder.iterdir()) / 1e6}
    write_json(target.folder / "splits_final.json", [{"train": [request["case"]], "val": [request["case"]]}])
    found |= _training(target, request)
    return found | _hearts(request, files)


def _planned(request: dict[str, Any]) -> Target:
    """The study's plans in nnUNet_preprocessed, which is a folder of our own."""
    name, base = request["dataset"], Path(request["base"]) if request["base"] else None
    folder = preprocessed_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    about = read_object(raw_folder(name) / "dataset.json")
    write_json(folder / "dataset.json", about)
    if base is None:
        across = request["shape"][::-1]  # nnU-Net's readers give (z, y, x)
        fingerprint = {
            "spacings": [request["spacing"][::-1]],
            "shapes_after_crop": [across],
            "median_relative_size_after_cropping": 1.0,
            "foreground_intensity_properties_per_channel": {
                "0": dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
            },
        }
        write_json(folder / "dataset_fingerprint.json", fingerprint)
        (_FlatPlanner if request["configuration"] == "2d" else ExperimentPlanner)(name).plan_experiment()
        plans = "nnUNetPlans"
    else:
        plans = base.stem
        write_json(folder / base.name, read_object(base))
    if changes := request["changes"]:
        write_small_plans(
            name,
            plans,
            PLANS,
            spacing_2d=changes["spacing"],
            patch_2d=(changes["patch"], changes["patch"]),
            batch_size=changes["batch"],
            n_stages=changes["stages"],
            features=changes["features"],
        )
        plans = PLANS
    return load_target(name, request["configuration"], plans)


def _training(target: Target, request: dict[str, Any]) -> dict[str, float]:
    """Iterations, validation batches and one prediction, by nnU-Net's own trainer with random weights."""
    device = torch.device(request["device"])
    if device.type == "cpu":  # a core that trains makes the batches, too
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  # nnU-Net's own name
    plans = copy.deepcopy(target.plans_manager.plans) | {"continue_training": False}
    trainer = nnUNetTrainer(plans, request["configuration"], 0, target.dataset_json, device)
    trainer.initialize()
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    plain = step = _seconds(lambda: trainer.train_step(next(trainer.dataloader_train)), device)
    if cpu_bf16(request["autocast"], device):
        trainer.loss = Float32Loss(trainer.loss)
        with network_in(True):
            step = _seconds(lambda: trainer.train_step(next(trainer.dataloader_train)), device)
    with torch.no_grad():
        trainer.network.eval()
        forward = _seconds(lambda: trainer.validation_step(next(trainer.dataloader_val)), device)
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if not isinstance(loader, SingleThreadedAugmenter):
            loader._finish()
    weights = sum(p.numel() for p in trainer.network.parameters())
    found = {"step_s": step, "step_float32_s": plain, "forward_s": forward, "network_mb": 8 * weights / 1e6}
    return found | {"predict_s": _prediction(trainer, request["case"])}


def _prediction(trainer: nnUNetTrainer, case: str) -> float:
    """Seconds for one case, as nnU-Net's validation takes them; two slices of a 2d configuration stand for all."""
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    device = trainer.device
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=True, perform_everything_on_device=True, device=device, allow_tqdm=False
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    data, _, _, properties = trainer.dataset_class(trainer.preprocessed_dataset_folder, [case]).load_case(case)
    image = torch.from_numpy(np.array(data[:]))
    flat = len(trainer.configuration_manager.patch_size) == 2
    some = image[:, : max(1, min(2, image.shape[1]))] if flat else image
    predictor.predict_sliding_window_return_logits(some[:, :1] if flat else some)
    start = time.monotonic()
    logits = predictor.predict_sliding_window_return_logits(some)
    seconds = (time.monotonic() - start) * image.shape[1] / some.shape[1]
    full = torch.zeros((logits.shape[0], *image.shape[1:]), dtype=logits.dtype)
    start = time.monotonic()
    export_prediction_from_logits(
        full,
        properties,
        trainer.configuration_manager,
        trainer.plans_manager,
        trainer.dataset_json,
        str(Path(trainer.output_folder) / case),
        False,
    )
    return seconds + time.monotonic() - start


def _seconds(work: Any, device: torch.device) -> float:
    """Median seconds of one call, after some that are not counted."""

    def call() -> float:
        start = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.monotonic() - start

    for _ in range(WARM if device.type == "cpu" else 10 * WARM):
        call()
    begin, taken = time.monotonic(), [call()]
    while len(taken) < ENOUGH_STEPS or (device.type != "cpu" and len(taken) < 5 * ENOUGH_STEPS):
        if time.monotonic() - begin > ENOUGH_S and len(taken) > 2:
            break
        taken.append(call())
    return float(np.mean(taken))


def _hearts(request: dict[str, Any], files: dict[str, Any]) -> dict[str, float]:
    """Seconds that one heart of a plain source takes."""
    found = {}
    if {"copies", "bent"} & set(request["sources"]):
        start = time.monotonic()
        image, mask = read_volume(Path(files["images"][0])).array, read_volume(Path(files["label"])).array
        x, y, z = request["spacing"]
        frames = tuple(range(request["frames"]))
        shown, labels = (np.repeat(one[None], len(frames), axis=0) for one in (image, mask))
        own = Sequence(shown.astype(np.float32), labels.astype(np.uint8), (x, y, z), 0, len(frames) - 1, frames)
        deformed(own, smooth_warp((own.image.shape[1], own.image.shape[2]), (x, y), 3.0, np.random.default_rng(0)), ())
        found["copies_s"] = time.monotonic() - start
    if "phantom" in request["sources"]:
        grid = read_volume(Path(files["images"][0])).grid
        start = time.monotonic()
        phantom_subject(0, 0, field=min(n * mm for n, mm in zip(grid.shape[:2], grid.spacing, strict=False)))
        found["phantom_s"] = time.monotonic() - start
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what nnU-Net prints."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def main() -> None:
    """Measure, and write the answer: numbers, or one sentence under ``error``."""
    imported = time.monotonic() - STARTED
    request, answer = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    assert nnunet_folder("nnUNet_preprocessed") in answer.parents, "nnU-Net's folders are to be thrown away"
    try:
        with _quiet():
            found = measure(request)
    except UserError as error:
        write_json(answer, {"error": str(error)})
        return
    write_json(answer, found | {"start_s": imported})


if __name__ == "__main__":
    main()
