"""What the memorisation audit of a report says, kept beside the generator that was audited."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_object, write_json
from nnunet_synth_aug.core.settings import Number, read

AUDIT, PAINTED_AUDIT = "audit.json", "audit_painted.json"
_REMEDY = "delete it and run 'synthaug report' again"


@dataclass(frozen=True)
class Audit:
    """The figures of one audit that a card tells; ``ratio`` is that of the latent space, with its interval."""

    generator_hash: str
    hearts: int
    training: int
    held_out: int
    ratio: tuple[Number, Number, Number]
    auc: tuple[Number, Number, Number]
    near_copies: int
    flagged: bool
    verdict: tuple[str, ...]
    painter: str = ""  # that painted the hearts; "" of hearts as they are decoded
    painter_auc: tuple[Number, Number, Number] | None = None  # of its loss


def audit_of_report(folder: Path) -> Audit | None:
    """The audit in a folder of ``synthaug report``; None if that report has none.

    Raises:
        UserError: it is no such folder.
    """
    path = folder / "report.json"
    report = read_object(path, "generator", "reports")
    try:
        found = report["reports"].get("memorisation", {})
        if "neighbours" not in found:
            return None
        near, member, n = found["neighbours"]["latent"], found["membership"], found["n"]
        painter = found.get("painter_membership")
        return _read(
            {
                "generator_hash": report["generator"]["generator_hash"],
                "hearts": n["synthetic"],
                "training": n["training"],
                "held_out": n["held_out"],
                "ratio": [near["ratio"][key] for key in ("median", "low", "high")],
                "auc": [member[key] for key in ("auc", "low", "high")],
                "near_copies": near["near_copies"],
                "flagged": found["flagged"],
                "verdict": found["verdict"],
                "painter": report.get("painter", ""),
                "painter_auc": painter and [painter[key] for key in ("auc", "low", "high")],
            },
            path,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); {_REMEDY}") from error


def kept_audit(folder: Path, generator_hash: str | None, painter: str = "") -> Audit | None:
    """The audit that lies in a folder; None if there is none, or if it is of another generator or painter."""
    path = folder / (PAINTED_AUDIT if painter else AUDIT)
    if generator_hash is None or not path.is_file():
        return None
    found = _read(read_json(path), path)
    return found if (found.generator_hash, found.painter) == (generator_hash, painter) else None


def keep_audit(folder: Path, audit: Audit) -> None:
    """Write an audit into the folder of the generator, or of its bank."""
    write_json(folder / (PAINTED_AUDIT if audit.painter else AUDIT), asdict(audit))


def _read(content: Any, path: Path) -> Audit:
    return read(Audit, content, str(path), remedy=_REMEDY, others=True)
