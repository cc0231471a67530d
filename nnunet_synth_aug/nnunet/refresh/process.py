"""Live refresh, the generator's side: a process that makes new hearts in the place of bank cases, as many as it is allowed.

    python -m nnunet_synth_aug.nnunet.refresh.process JOB.json     (started by the trainer, see ``refresh``)

Sequences are replaced in the bank's order, round after round. Heart number h replaces sequence h mod n and is version
1 + h div n of its cases; its priors and seeds come from (hash of the bank's manifest, h), as those of the bank came from
(seed, number). So trainings from one bank are offered the same hearts in the same order, and no version is ever used twice.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.training.device import usable_device
from nnunet_synth_aug.nnunet.bank.build import choose_frames, in_look, write_case
from nnunet_synth_aug.nnunet.bank.manifest import Manifest, read_manifest
from nnunet_synth_aug.nnunet.bank.originals import training_originals
from nnunet_synth_aug.nnunet.painting import known_hearts, known_looks
from nnunet_synth_aug.nnunet.refresh.cases import VERSION, add_to_journal, mend_journal, publish
from nnunet_synth_aug.nnunet.refresh.trainer_side import STATE
from nnunet_synth_aug.nnunet.target import Target, label_lookup, load_target
from nnunet_synth_aug.synthesis.folder import frames_within, stored
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.painting import PaintedLooks
from nnunet_synth_aug.synthesis.quality.control import QualityControl
from nnunet_synth_aug.synthesis.render import Renderer, donors_among
from nnunet_synth_aug.synthesis.requests import PATIENTS, RequestPlan, priors_like
from nnunet_synth_aug.synthesis.sample import Outcome, Show, sample_accepted

#: Hearts per call of the networks.
BATCH = 8


class HeartReplacer:
    """Makes hearts in turn and puts their frames in the place of bank cases."""

    def __init__(
        self,
        generator: Generator,
        manifest: Manifest,
        target: Target,
        live: Path,
        journal: Path,
        show: Show | None = None,
        paint: PaintedLooks | None = None,
    ) -> None:
        """Goes on after the last heart in ``journal``.

        Args:
            generator: makes hearts.
            manifest: of the bank.
            target: of nnU-Net.
            live: folder of the replaced cases.
            journal: file.
            show: in whose pixels the bank's hearts are.
            paint: paints the bank's hearts.
        """
        self._show, self._paint = show, paint
        self._generator, self._target, self._lookup = generator, target, label_lookup(target)
        self._sequences = manifest.sequences
        self._seed = int(manifest.hash[:12], 16)
        made = manifest.content["generator"]
        asked, like = PriorRequest.from_json(made.get("asked", {}), "the bank's manifest"), made.get("like", PATIENTS)
        self._plan = RequestPlan(self._seed, asked, like=like, others=priors_like(like, target.dataset))
        self._quality_control = bank_quality_control(manifest)
        self._live, self._journal, self._workshop = live, journal, live / ".partial"
        shutil.rmtree(self._workshop, ignore_errors=True)
        self._workshop.mkdir(parents=True)
        self._owed = 0
        self._next = 0
        self.counts: dict[str, Any] = {"replaced": 0, "hearts": 0, "given_up": 0, "rejections": {}, "seed": self._seed}
        for entry in mend_journal(journal):
            self._count(entry)

    def allow(self, cases: int) -> Iterator[None]:
        """Replace so many more cases, in whole hearts: what is left over adds to the next call. Yields after every heart."""
        self._owed += cases
        while hearts := self._affordable():
            for outcome in sample_accepted(self._generator, [self._request(heart) for heart in hearts], self._quality_control, self._show):
                self._replace(outcome)
                yield

    def _affordable(self) -> list[int]:
        """The next hearts, at most BATCH, that the allowance pays for. One that is given up later costs the same: no endless search."""
        hearts: list[int] = []
        while len(hearts) < BATCH and self._owed >= (cost := len(self._cases(self._next))):
            hearts.append(self._next)
            self._owed -= cost
            self._next += 1
        return hearts

    def _cases(self, heart: int) -> list[dict[str, Any]]:
        return self._sequences[heart % len(self._sequences)]

    def _by_look(self, heart: int) -> dict[int, list[str]]:
        """Case ids of a place in the bank by the look that they show it in."""
        found: dict[int, list[str]] = {}
        for case in self._cases(heart):
            found.setdefault(case.get("look", 0), []).append(case["id"])
        return found

    def _request(self, heart: int) -> Request:
        # A place keeps its diagnosis: the bank's mix of them holds, and weights that the training gives them.
        diagnosis = self._cases(heart)[0]["requested"].get("diagnosis")
        return replace(self._plan, priors=self._plan.priors.with_fixed(Priors(diagnosis=diagnosis))).request(self._generator, heart)

    def _replace(self, outcome: Outcome) -> None:
        heart = int(outcome.request.id.removeprefix("synth_"))
        version = 1 + heart // len(self._sequences)
        entry: dict[str, Any] = {"heart": heart, "version": version, "cases": {}, "rejected": outcome.rejected}
        if (sequence := outcome.sequence) is not None:
            # The bank's own sequences were rounded when they were written as NIfTI.
            sequence = replace(sequence, image=stored(sequence.image).astype(np.float32))
            within = frames_within(len(sequence.image), sequence.sound)
            for look, cases in self._by_look(heart).items():
                frames = dict(zip(cases, choose_frames(len(sequence.image), sequence.ed, sequence.es, len(cases), within), strict=False))
                shown = in_look(sequence, f"{self._seed}_{heart}", look, frames.values(), self._paint)
                for case, frame in frames.items():
                    write_case(shown, frame, self._lookup, self._target, self._workshop, case, {VERSION: version})
                entry["cases"] |= frames
            entry |= {
                "seed": sequence.seed,
                "motion_seed": sequence.motion_seed,
                "requested": sequence.requested.specified(),
                "measured": sequence.measured.specified(),
            } | sequence.looks_like
        add_to_journal(self._journal, entry)  # first: no version without its line
        for case in entry["cases"]:
            publish(self._workshop, self._live, case)
        self._count(entry)

    def _count(self, entry: dict[str, Any]) -> None:
        self._next = max(self._next, entry["heart"] + 1)
        self.counts["replaced"] += len(entry["cases"])
        self.counts["hearts" if entry["cases"] else "given_up"] += 1
        reasons = Counter(self.counts["rejections"]) + Counter(reason for reasons in entry["rejected"] for reason in reasons)
        self.counts["rejections"] = dict(reasons)


def bank_quality_control(manifest: Manifest) -> QualityControl:
    """The quality control that the bank's own hearts went through.

    Raises:
        UserError: they were not sampled, or it cannot be repeated.
    """
    provenance = manifest.content["generator"]
    if (source := provenance.get("source", "generator")) != "generator":
        raise UserError(f"the bank holds {source}, which no generator can refresh; train without refresh, or make a bank of samples")
    quality = provenance.get("quality", {})
    if quality.get("image_mask_checked"):
        raise UserError(
            "the bank was also checked by a segmenter, which live refresh cannot do; train without refresh, or make another bank"
        )
    return QualityControl(quality.get("checked", True))


def bank_show(manifest: Manifest, target: Target, device: torch.device) -> Show | None:
    """In whose pixels the bank's own hearts were shown; None: as they were decoded.

    Raises:
        UserError: other patients would lend theirs now, or the painter is not there any more.
    """
    maker, fold = manifest.content["generator"], manifest.content["fold"]
    if maker.get("render") == "painter":
        return known_hearts(target.dataset, fold, maker, device)
    if maker.get("render") != "donor":
        return None
    show = Renderer(donors_among(training_originals(target, fold)))
    if show.about["donors"] != maker.get("donors"):
        raise UserError(f"the bank of fold {fold} shows other patients' pixels than a new one; run '{target.bank_command} -f {fold}' again")
    return show


def open_replacer(job: dict[str, Any], live: Path) -> HeartReplacer:
    """Load what the job names.

    Raises:
        UserError: no such device; the bank changed meanwhile; or the generator is not the one that made it.
    """
    target = load_target(job["dataset"], job["configuration"], job["plans"])
    manifest = read_manifest(target, job["fold"])
    if manifest.hash != job["manifest_hash"] or target.preprocessing_hash() != manifest.content["plans_hash"]:
        raise UserError("the bank or its plans changed since the training started; start the training again")
    device = usable_device(job["device"], f"refresh.device {job['device']}", "same or cpu")
    generator = load_generator(Path(job["generator"]), device)
    own, banks = generator.provenance, manifest.content["generator"]
    if any(own[key] != banks.get(key) for key in ("generator_hash", "patients")):
        raise UserError(
            f"the generator in {job['generator']} is not the one that made the bank of fold {job['fold']}; make the bank again with "
            f"'{target.bank_command} -f {job['fold']}', or name its generator with 'synthaug plans --refresh-generator'"
        )
    painted = manifest.painted
    paint = None if painted is None else known_looks(target.dataset, job["fold"], painted, device)
    return HeartReplacer(generator, manifest, target, live, Path(job["journal"]), bank_show(manifest, target, device), paint)


def _leave_with_parent() -> None:
    """End this process when its parent has ended, whatever it is doing: everything it leaves is whole.

    The end of the standard input is not enough: loader processes may outlive a killed trainer, and hold copies of its end.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> int:
    """Make hearts as the trainer allows them, until it ends; returns the exit code."""
    job_file = Path(sys.argv[1])
    job, state = read_json(job_file), job_file.with_name(STATE)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        if job["device"] == "cpu" and not job["together"] and hasattr(os, "nice"):
            os.nice(10)  # the training and its loader workers go first
        replacer = open_replacer(job, job_file.parent)
        turns = 0
        write_json(state, {"turns": turns, **replacer.counts})
        for line in sys.stdin:  # ends with the trainer
            for _ in replacer.allow(int(line)):
                write_json(state, {"turns": turns, **replacer.counts})
            if job["together"] and job["device"].startswith("cuda"):
                torch.cuda.empty_cache()  # the training's now
            turns += 1
            write_json(state, {"turns": turns, **replacer.counts})
    except UserError as error:
        print(f"Error: {error}", flush=True)
        return 2
    except KeyboardInterrupt:  # Ctrl-C reaches the trainer, too
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
