"""A study as steps in order: each one command (or a few lines of our own), its product, and the settings that it depends on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def nothing() -> None:
    """The preparation of steps that need none."""


@dataclass(frozen=True)
class Step:
    """One product of a study."""

    id: str  # of its stamp and log
    title: str
    settings: dict[str, Any]  # with others it would be another product
    done: Callable[[], bool]  # whether the product is there
    needs: tuple[str, ...] = ()  # ids
    prepare: Callable[[], None] = nothing  # runs in this process, before the command
    command: Callable[[int], list[str]] | None = None  # of the attempt, counted from 0
    environment: dict[str, str] = field(default_factory=dict)  # beyond this process's
    heavy: bool = False  # worth a place in a cluster's queue


def fixed(*words: str) -> Callable[[int], list[str]]:
    """A command that is the same at every attempt."""
    return lambda _attempt: list(words)


def plain(value: Any) -> Any:
    """A dataclass or mapping as JSON reads it back, so that settings of today compare with those on disk."""
    content = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.loads(json.dumps(content, default=str))


def difference(old: dict[str, Any], new: dict[str, Any], path: str = "") -> str:
    """The first setting that differs, in words; "" if none does."""
    for key in dict.fromkeys([*old, *new]):
        one, other, name = old.get(key), new.get(key), f"{path}{key.rstrip('_')}"
        if isinstance(one, dict) and isinstance(other, dict):
            if found := difference(one, other, f"{name}, "):
                return found
        elif one != other:
            return f"{name} was {one} and is {other}"
    return ""
