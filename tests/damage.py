"""Damage to files, for tests that nothing in them ends in a traceback."""

from __future__ import annotations

from typing import Any


def damaged(content: bytes, damage: list[tuple[float, bytes]], length: int | None = None) -> bytes:
    """The content with some bytes replaced, of the first ``length`` ones."""
    array = bytearray(content)
    for share, new in damage:
        start = int(share * (length or len(content)))
        array[start : start + len(new)] = new
    return bytes(array)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]
