"""From the mappings of a study file to frozen dataclasses: every mistake gives one sentence with its place in the file."""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nnunet_synth_aug.core.errors import UserError

T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def option(default: Any = dataclasses.MISSING, *, least: float | None = None, choices: tuple[str, ...] = (), name: bool = False) -> Any:
    """A dataclass field with limits: ``least`` for numbers, ``choices`` for texts, ``name`` for what becomes a file name."""
    return dataclasses.field(default=default, metadata={"least": least, "choices": choices, "name": name})


def build(kind: type[T], value: Any, where: str, folder: Path) -> T:
    """An instance of the dataclass ``kind`` from a mapping.

    Args:
        kind: its fields are the keys; those without a default must be there. A trailing underscore in a field's name is not in the key.
        value: as read from YAML.
        where: how sentences name the mapping.
        folder: that relative paths start from.

    Raises:
        UserError: not a mapping, an unknown or a missing key, a value of another kind or beyond its limits.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}; it must be a mapping of settings")
    hints = get_type_hints(kind)
    known = {f.name.rstrip("_"): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := [str(key) for key in value if key not in known]:
        raise UserError(f"{where} has the unknown key {unknown[0]!r}; choose from {', '.join(known)}")
    required = [k for k, f in known.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing := [key for key in required if key not in value]:
        raise UserError(f"{where} lacks the key {missing[0]!r}")
    read = {
        known[key].name: _read(hints[known[key].name], one, f"{where}, {key}", folder, known[key].metadata) for key, one in value.items()
    }
    return kind(**read)


def _read(hint: Any, value: Any, where: str, folder: Path, limits: Mapping[str, Any]) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        kinds = [a for a in get_args(hint) if a is not type(None)]
        if len(kinds) > 1 and isinstance(value, tuple(kinds)) and not isinstance(value, bool):
            return value
        hint = kinds[0]
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return build(hint, value, where, folder)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{where} is {value!r}; it must be a list, e.g. [{'0, 1' if get_args(hint)[0] is int else 'a, b'}]")
        read = tuple(_read(get_args(hint)[0], one, where, folder, limits) for one in value)
        if doubled := [one for one in read if read.count(one) > 1]:
            raise UserError(f"{where} names {doubled[0]} twice")
        return read
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is {value!r}; it must be a mapping of settings")
        return {str(k): v for k, v in value.items()}
    return _scalar(hint, value, where, folder, limits)


def _scalar(hint: Any, value: Any, where: str, folder: Path, limits: Mapping[str, Any]) -> Any:
    accepted: tuple[type, ...] = {float: (int, float), Path: (str,)}.get(hint, (hint,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{where} is {value!r}; it must be {_WORDS[hint]}")
    if (least := limits.get("least")) is not None and value < least:
        raise UserError(f"{where} is {value}; it must be at least {least}")
    if (choices := limits.get("choices")) and value not in choices:
        raise UserError(f"{where} is {value!r}; choose one of {', '.join(choices)}")
    if limits.get("name") and not _NAME.fullmatch(str(value)):
        raise UserError(f"{where} is {value!r}; it becomes a file name: use letters, digits, - and _")
    return _path(str(value), where, folder) if hint is Path else value


def _path(text: str, where: str, folder: Path) -> Path:
    """A path with ``~`` and variables put in; what is relative lies beside the study file."""
    expanded = os.path.expandvars(text)
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise UserError(f"{where} is {text}, but the environment variable {unset[1]} is not set; export it or write the path itself")
    return (folder / Path(expanded).expanduser()).resolve()
