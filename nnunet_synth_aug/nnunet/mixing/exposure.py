"""What the optimiser has really seen: counts of real and synthetic samples, kept beside the checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.mixing.seen_priors import SeenPriors, added

FILE = "synth_aug.json"


class Exposure:
    """Counts per epoch, written to ``synth_aug.json`` in the fold's output folder.

    Per epoch, because a killed training continues from a checkpoint that is older than the last count:
    the epochs that are trained again replace their first counts. With live refresh a synthetic case is its id and its version,
    as the loader read it.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        cases: Iterable[Mapping[str, Any]],
        journal: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
    ) -> None:
        """Begin to count.

        Args:
            path: of the file.
            header: written as it is, before the counts.
            cases: of the bank's manifest, with ``id`` and what their hearts were asked for and measure.
            journal: reads which hearts live refresh made so far.
        """
        cases = list(cases)
        self._path, self._header, self._synthetic = path, header, frozenset(case["id"] for case in cases)
        self._priors, self._journal = SeenPriors(cases), journal
        self._epochs: list[dict[str, Any]] = []
        self._first_seen: dict[str, int] = {}  # synthetic case, from version 1 on with "@version" -> epoch
        self.refresh: dict[str, Any] | None = None  # what the generator did so far; None without live refresh
        self.start_epoch()

    def __repr__(self) -> str:  # nnU-Net writes it into debug.json
        return f"Exposure({self._path.name}, {len(self._epochs)} epochs)"

    def resume(self, epoch: int) -> bool:
        """Take over the counts of the epochs before ``epoch``; False if some are not on record.

        Raises:
            UserError: the file is damaged.
        """
        if epoch > 0 and self._path.is_file():
            stored = read_json(self._path)
            try:
                self._epochs = [e for e in stored["epochs"] if e["epoch"] < epoch]
                self._first_seen = {case: first for case, first in stored["first_seen"].items() if first < epoch}
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{self._path} is damaged ({error!r}); delete it to go on without the counts of earlier epochs") from error
        return len(self._epochs) == epoch

    def start_epoch(self) -> None:
        """Begin to count an epoch."""
        self._batches = self._samples = self._drawn = 0
        self._seen: Counter[str] = Counter()

    def add(self, keys: Iterable[str], versions: Iterable[int] | None = None) -> None:
        """Count one batch by its case ids, and their versions where they have any."""
        keys = [str(key) for key in keys]
        versions = [0] * len(keys) if versions is None else versions
        synthetic = [f"{key}@{version}" if version else key for key, version in zip(keys, versions, strict=True) if key in self._synthetic]
        self._batches += 1
        self._samples += len(keys)
        self._drawn += len(synthetic)
        self._seen.update(synthetic)

    def gather(self, ranks: list[tuple[int, int, Counter[str]]]) -> None:
        """Replace this process's counts of the epoch by the sum over all processes."""
        self._samples, self._drawn = sum(r[0] for r in ranks), sum(r[1] for r in ranks)
        self._seen = sum((r[2] for r in ranks), Counter())

    @property
    def epoch_counts(self) -> tuple[int, int, Counter[str]]:
        """Samples, synthetic samples, and samples by synthetic case, of this process in this epoch."""
        return self._samples, self._drawn, self._seen

    def end_epoch(self, epoch: int) -> str:
        """Close the epoch; returns a line for the log."""
        counts: dict[str, Any] = {"epoch": epoch, "batches": self._batches, "samples": self._samples, "synthetic_samples": self._drawn}
        if self._synthetic:
            if self._priors.unknown(self._seen):
                self._priors.refreshed(self._journal())
            counts["priors"] = self._priors.count(self._seen)
        if self.refresh is not None:
            counts["replaced"] = self.refresh["replaced"]
        self._epochs.append(counts)
        for case in self._seen:
            self._first_seen.setdefault(case, epoch)
        line = f"synthetic share {self._drawn}/{self._samples} = {self._drawn / max(self._samples, 1):.4f} in this epoch"
        line += f", {self.summary()['share']:.4f} so far; "
        if self.refresh is None:
            return line + f"{len(self._first_seen)} of {len(self._synthetic)} synthetic cases seen"
        places = f"in {len(self._synthetic)} places, {self.refresh['replaced']} replaced so far"
        return line + f"{len(self._first_seen)} distinct synthetic cases seen ({places})"

    def summary(self) -> dict[str, Any]:
        """Totals over all epochs."""
        samples, drawn = (sum(e[key] for e in self._epochs) for key in ("samples", "synthetic_samples"))
        return {
            "samples": samples,
            "synthetic_samples": drawn,
            "share": drawn / samples if samples else 0.0,
            "batches": sum(e["batches"] for e in self._epochs),
            "distinct_synthetic_cases": len(self._first_seen),
        }

    def write(self) -> None:
        """Write the file, whole or not at all."""
        totals = {**self._header, **self.summary(), "refresh": self.refresh}
        if self._synthetic:
            totals["priors"] = {"deciles": self._priors.edges, "samples": added(e.get("priors", {}) for e in self._epochs)}
        write_json(self._path, {**totals, "epochs": self._epochs, "first_seen": self._first_seen})
