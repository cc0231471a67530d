"""Cards as files. What a person wrote into a card stays; a card that a person changed where the package writes is left alone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json, write_text
from nnunet_synth_aug.reports.cards.audit import audit_of_report, keep_audit
from nnunet_synth_aug.reports.cards.croissant import croissant
from nnunet_synth_aug.reports.cards.facts import Facts, facts_of
from nnunet_synth_aug.reports.cards.words import body, metadata, yours

CARD, CROISSANT = "README.md", "croissant.json"
#: Of a card whose site has not said more: no licence of a user's data is known.
UNSTATED = {"license": "other", "license_name": "not-stated"}
_BEGIN = "<!-- synthaug card: from here to the end mark the text is written by the command. Write below the end mark. -->"
_END = re.compile(r"<!-- synthaug card: end, sum ([0-9a-f]{64}) -->")
_NOT_STATED = re.compile(r"^license_name: *([\"']?)not-stated\1 *(#.*)?\n", re.MULTILINE)
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


#: Keys of the front matter that the package keeps up to date; all others are a person's.
_OWN = ("library_name", "pretty_name", "task_categories", "size_categories", "annotations_creators", "tags")
_OWN_LINES = re.compile(rf"^(?:{'|'.join(_OWN)}):.*\n(?:[ -].*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class _Kept:
    """What a person wrote into a card."""

    front: dict[str, Any]  # of the front matter, but the package's own keys
    own: dict[str, Any] = field(default_factory=dict)  # those, as they are there
    front_text: str = ""  # the front matter itself, which may have comments
    before: str = ""
    after: str | None = None  # of a card that is new


def write_card(folder: Path, report: Path | None = None, licence: dict[str, str] | None = None) -> Path:
    """Write ``README.md`` and ``croissant.json`` of a bank or a generator, or bring them up to date.

    Args:
        folder: of the bank or generator.
        report: of ``synthaug report``, whose memorisation audit the card is to tell. It is kept in the folder as ``audit.json``, or as
            ``audit_painted.json`` if the hearts were painted.
        licence: front matter that states the licence of a card that is new.

    Returns:
        path of the card.

    Raises:
        UserError: the folder is neither, a file in it is damaged, a person changed the card where the package writes, or the report has no
            audit or is on another generator.
    """
    facts = facts_of(folder)
    path = folder / CARD
    kept = _kept(path, licence or UNSTATED, metadata(facts))
    if report is not None:
        _take_audit(facts, report)
        facts = facts_of(folder)
    licence_text = str(kept.front.get("license_name" if kept.front.get("license") == "other" else "license") or "not-stated")
    write_text(path, _composed(facts, kept))
    write_json(folder / CROISSANT, croissant(facts, licence_text))
    return path


def renew_card(folder: Path) -> str:
    """As :func:`write_card`, behind a command whose work is done: a line for the screen, whether it went well or not."""
    try:
        return f"card: {write_card(folder)}"
    except UserError as error:
        return f"card: not written: {error}"


def take_report(folder: Path, report: Path) -> str:
    """Let a generator's card tell the audit of a report that was just made; a line for the screen, "" where the report has none."""
    try:
        return "" if audit_of_report(report) is None else f"card: {write_card(folder, report)}"
    except UserError as error:
        return f"card: not written: {error}"


def _take_audit(facts: Facts, report: Path) -> None:
    audit = audit_of_report(report)
    if audit is None:
        raise UserError(f"{report} holds no memorisation audit; make one with 'synthaug report --only memorisation'")
    if audit.generator_hash != facts.generator_hash:
        made = f"hearts of the generator {facts.generator_hash[:12]}" if facts.generator_hash else "no generator's hearts"
        raise UserError(f"{report} is on the generator {audit.generator_hash[:12]}, but {facts.folder} holds {made}; give its own report")
    painters = dict.fromkeys(part.painter for part in facts.parts if part.about.get("generator_hash"))
    if facts.kind == "bank" and audit.painter not in painters:
        theirs, own = (f"painted by {name[:8]}" if name else "as they are decoded" for name in (audit.painter, next(iter(painters))))
        again = f"make a report {'with' if any(painters) else 'without'} --render painter"
        raise UserError(f"{report} is on hearts {theirs}, but {facts.folder} holds hearts {own}; {again}")
    keep_audit(facts.folder, audit)


def _composed(facts: Facts, kept: _Kept) -> str:
    own = metadata(facts)
    if not kept.front_text:
        front = _yaml(kept.front | own).rstrip("\n")
    elif kept.own == own:
        front = kept.front_text
    else:  # with a person's lines and comments
        front = _OWN_LINES.sub("", kept.front_text + "\n") + _yaml(own).rstrip("\n")
    text = body(facts)
    end = f"<!-- synthaug card: end, sum {_sum(own, text)} -->"
    if kept.front.get("license") != UNSTATED["license"]:  # it has been stated
        front = _NOT_STATED.sub("", front + "\n").rstrip("\n")
    parts = [f"---\n{front}\n---", kept.before, _BEGIN, text, end, yours(facts) if kept.after is None else kept.after]
    return "\n\n".join(part for part in parts if part) + "\n"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)


def _sum(own: dict[str, Any], text: str) -> str:
    """Of what the package writes: a person's changes are told by it."""
    return hashlib.sha256(_yaml([own, text]).encode()).hexdigest()


def _kept(path: Path, licence: dict[str, str], written: dict[str, Any]) -> _Kept:
    """What a person wrote into the card that is there; ``written`` are the front matter's lines that are ours.

    Raises:
        UserError: a person wrote or changed what the package would replace.
    """
    if not path.exists():
        return _Kept(dict(licence))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); move it away, and the card is written anew") from error
    front, end, begin = _FRONT.match(text), _END.search(text), text.find(_BEGIN)
    if front is None or end is None or not 0 <= begin < end.start():
        raise UserError(
            f"{path} lacks the marks between which 'synthaug card' writes, so it stays as it is; give it another name for a new card"
        )
    try:
        found = yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        raise UserError(f"{path} begins with lines that are not YAML ({' '.join(str(error).split())}); correct them") from error
    found = found if isinstance(found, dict) else {}
    own = {name: value for name, value in found.items() if name in _OWN}
    if _sum(own, text[begin + len(_BEGIN) : end.start()].strip("\n")) != end[1]:
        lines = ", ".join(name for name in written if own.get(name) != written[name])
        where = f"at {lines} or between its two marks" if lines else "between its two marks"
        raise UserError(
            f"{path} was changed {where}, where the command writes, so it stays as it is and may be out of date; move your words below the "
            "second mark, or give the file another name, and run 'synthaug card' again"
        )
    theirs = {name: value for name, value in found.items() if name not in _OWN}
    return _Kept(theirs, own, front[1], text[front.end() : begin].strip("\n"), text[end.end() :].strip("\n"))
