"""The one reader of settings: of study files, of the plans' ``synth_aug``, of the generator's config, of manifests and indexes.

A frozen dataclass declares every setting with its type, its limits and its default, once:

    @dataclass(frozen=True)
    class Training:
        epochs: Positive | None = None
        device: Annotated[str, OneOf("cpu", "cuda")] = "cpu"

:func:`read` makes it from a mapping with pydantic, which is strict here: true is no number, 1.0 is no whole number, NaN is neither.
What does not fit raises a UserError: one sentence with the file, the key, the value, and what it must be. :func:`describe` lists it all.
Importing this module takes a tenth of a second, so modules that the command line starts with do not.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import os
import re
import reprlib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import too_deep

T = TypeVar("T")
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path", Any: "anything"}
_CONSTANTS = {None: "null", True: "true", False: "false"}
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
_short.maxlevel = 3


# ------------------------------------------------------------------ what a declaration may say


@dataclass(frozen=True)
class Rule:
    """A limit of a setting's value, with the words that follow "it must be"."""

    words: str
    holds: Callable[[Any], Any] = lambda value: True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def checked(value: Any) -> Any:
            if not self.holds(value):
                raise PydanticCustomError("rule", "a rule is broken")
            return value

        return core_schema.no_info_after_validator_function(checked, handler(source))


def OneOf(*choices: str) -> Rule:
    """One of these texts."""
    return Rule(f"one of {', '.join(choices)}", choices.__contains__)


@dataclass(frozen=True)
class Different:
    """Of a list: no entry is there twice."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def checked(value: tuple[Any, ...]) -> tuple[Any, ...]:
            if doubled := [one for one in value if value.count(one) > 1]:
                raise _sentence(f"names {doubled[0]} twice; name it once")
            return value

        return core_schema.no_info_after_validator_function(checked, handler(source))


@dataclass(frozen=True)
class Beside:
    """Of a path: ``~`` and variables are put in, and what is relative lies beside the file that is read."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def expanded(path: Path, info: ValidationInfo) -> Path:
            text = os.path.expandvars(str(path))
            if unset := re.search(r"\$\{?(\w+)", text):
                raise _sentence(f"is {path}, but the environment variable {unset[1]} is not set; export it or write the path itself")
            folder = Path() if info.context is None else info.context["folder"]
            found = (folder / Path(text).expanduser()).resolve()
            try:
                found.exists()
            except (OSError, ValueError) as error:  # such as a name that is too long
                raise _sentence(f"is no path ({getattr(error, 'strerror', None) or error}); correct it") from None
            return found

        return core_schema.with_info_after_validator_function(expanded, handler(source))


def _sentence(text: str) -> PydanticCustomError:
    """The rest of the sentence that begins with the key."""
    return PydanticCustomError("sentence", "{text}", {"text": text})


#: A number that stays as it was written: 1 is not recorded as 1.0, which would be another hash.
Number: TypeAlias = int | float
FromZero: TypeAlias = Annotated[int, Ge(0)]
Positive: TypeAlias = Annotated[int, Ge(1)]
Amount: TypeAlias = Annotated[Number, Ge(0)]
Share: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
#: Whether a network computes in bfloat16; auto: where the hardware does.
Autocast: TypeAlias = Literal["auto", "off", "bf16"]
BesidePath: TypeAlias = Annotated[Path, Beside()]
FileName: TypeAlias = Annotated[
    str, Rule("letters, digits, - and _, since it becomes a file name", re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*").fullmatch)
]
#: A name that becomes part of a file's, and leads to no other folder.
PlainName: TypeAlias = Annotated[
    str,
    Rule("a name that leads to no other folder, without / \\ : and without a dot in front", re.compile(r"[^./\\:\0][^/\\:\0]*").fullmatch),
]
#: A list in which nothing is twice.
Distinct: TypeAlias = Annotated[tuple[T, ...], Different()]


# ------------------------------------------------------------------ reading


class _Loader(yaml.SafeLoader):
    """YAML without dates, and without keys that are there twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in [other.value for other in keys[:number]]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: it cannot be read, is not YAML, or has a key twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read; correct it there") from None
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}); correct it there") from error
    if too_deep(content):
        raise UserError(f"{path} is nested too deeply to be read; correct it there")
    return content


def read(kind: type[T], value: Any, where: str, *, remedy: str = "", folder: Path | None = None, others: bool = False) -> T:
    """An instance of the dataclass ``kind`` from a mapping as YAML or JSON gives it.

    Args:
        kind: its fields are the keys; those without a default must be there. A trailing underscore in a field's name is not in the key.
        value: the mapping.
        where: how sentences name its file.
        remedy: what to do, for files that no one writes by hand; otherwise sentences say what the value must be.
        folder: that relative paths start from.
        others: whether keys that ``kind`` does not declare are ignored.

    Raises:
        UserError: not a mapping, an unknown or a missing key, a value of another kind or beyond its limits.
    """
    end = remedy or "correct it there"
    try:
        text = json.dumps([value])
    except RecursionError:
        raise UserError(f"{where} is nested too deeply to be read; {end}") from None
    except (TypeError, ValueError) as error:  # what YAML can say and no setting is: a binary, a set, a list in itself
        raise UserError(f"{where} holds something that is no setting ({error}); {end}") from None
    try:
        return _adapter(kind, others).validate_json(text, context={"folder": folder or Path()})[0]
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda one: _ORDER.get(one["type"], 2))
    raise UserError(_explain(kind, found, where, remedy))


def _made_adapter(kind: Any, others: bool) -> TypeAdapter[Any]:
    # A list, because pydantic hands its configuration down to plain dataclasses, but takes none for them directly. And from JSON,
    # since strict reading of Python's own values refuses mappings for dataclasses and lists for tuples.
    settings = ConfigDict(
        strict=True, extra="ignore" if others else "forbid", allow_inf_nan=False, alias_generator=lambda name: name.rstrip("_")
    )
    several: Any = types.GenericAlias(list, (kind,))
    return TypeAdapter(several, config=settings)


_adapter: Callable[[Any, bool], TypeAdapter[Any]] = functools.cache(_made_adapter)


# ------------------------------------------------------------------ sentences

#: A mistyped key is also a missing one: it is told first.
_ORDER = {"unexpected_keyword_argument": 0, "missing": 1}


def _explain(kind: Any, errors: list[Any], where: str, remedy: str) -> str:
    error = errors[0]
    what, value, steps = error["type"], error["input"], error["loc"][1:]
    if what == "json_invalid":  # checked to be JSON before: too deep, or half a character
        return f"{where} cannot be read ({error['ctx']['error']}); {remedy or 'correct it there'}"
    key = str(steps[-1]) if steps else ""
    path, hint = _find(kind, steps[:-1] if what in _ORDER else steps)
    if what in _ORDER and dataclasses.is_dataclass(_bare(hint)):
        if what == "missing":
            return f"{_place(where, path)} lacks the key {key!r}; {remedy or f'it must be {_words(_fields(_bare(hint))[key][1])}'}"
        return f"{_place(where, path)} has the unknown key {key!r}; {remedy or f'choose from {_listed(hint)}'}"
    if steps and steps[-1] == "[key]":
        return f"{_place(where, path)} has the unknown key {steps[-2]!r}; {remedy or 'choose ' + _words(get_args(_bare(hint))[0])}"
    if what == "sentence":
        return f"{_place(where, path)} {error['ctx']['text']}"
    if what == "value_error":
        return f"{_place(where, path)}: {error['ctx']['error']}"
    words = _words(hint) + (", and finite" if isinstance(value, float) and not math.isfinite(value) else "")
    shown = _CONSTANTS[value] if value is None or isinstance(value, bool) else _short.repr(value)
    if remedy:
        return f"{_place(where, path)} is {shown}, not {words}; {remedy}"
    return f"{_place(where, path)} is {shown}; {'choose' if words.startswith('one of') else 'it must be'} {words}"


def _place(where: str, path: str) -> str:
    return f"{where}: {path}" if path else where


def _find(hint: Any, steps: tuple[int | str, ...]) -> tuple[str, Any]:
    """The way to a value as it is written in sentences, and what was declared there."""
    path = ""
    for step in steps:
        bare = _bare(hint)
        if dataclasses.is_dataclass(bare):
            hint = _fields(bare)[str(step)][1]
        elif get_origin(bare) is tuple:
            if not 0 <= int(step) < len(get_args(bare)) and ... not in get_args(bare):
                break
            hint = get_args(bare)[0 if ... in get_args(bare) else int(step)]
        elif get_origin(bare) is dict and steps[-1] != "[key]":
            hint = get_args(bare)[1]
        else:  # of which kind in a union
            break
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path, hint


def _fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Key -> field and its declared type."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name.rstrip("_"): (field, hints[field.name]) for field in dataclasses.fields(kind)}


def _listed(hint: Any) -> str:
    return ", ".join(_fields(_bare(hint)))


def _bare(hint: Any) -> Any:
    """The type without limits and without the null that may stand for it."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType) and len(rest := [a for a in get_args(hint) if a is not type(None)]) == 1:
            hint = rest[0]
        else:
            return hint


def _words(hint: Any) -> str:
    """What a value must be."""
    if get_origin(hint) is Annotated:
        kind, *limits = get_args(hint)
        if rules := [limit.words for limit in limits if isinstance(limit, Rule)]:
            return rules[0]
        return _words(kind) + _limits(limits)
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return "a number" if set(kinds) == {int, float} else " or ".join(_words(kind) for kind in kinds)
    if get_origin(hint) is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(str(one) for one in arguments)
    if get_origin(hint) is tuple:
        return f"a list{'' if ... in arguments else f' of {len(arguments)}'}, each {_words(arguments[0])}"
    if get_origin(hint) is dict:
        return "a mapping" if arguments[1] is Any else f"a mapping from {_words(arguments[0])} to {_words(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with the keys {_listed(hint)}"
    return _WORDS[hint]


_ENDS = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}


def _limits(limits: list[Any]) -> str:
    """Numbers' limits in words, e.g. " from 0 to 1"."""
    flat = [one for limit in limits for one in (limit if isinstance(limit, Interval) else [limit])]
    ends = {name: getattr(one, name) for one in flat for kind, name in _ENDS.items() if isinstance(one, kind)}
    if set(ends) == {"ge", "le"}:
        return f" from {ends['ge']} to {ends['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    return "".join(f"{' and' * bool(i)} {words[name]} {limit}" for i, (name, limit) in enumerate(ends.items()))


# ------------------------------------------------------------------ listing


class Setting(NamedTuple):
    """One setting, for people."""

    key: str  # e.g. vae.train.steps
    must_be: str  # e.g. "a whole number of at least 1"
    value: Any  # what it is
    meaning: str  # the comment beside its declaration


def describe(settings: Any, prefix: str = "") -> Iterator[Setting]:
    """Every setting of an instance in order, those of its parts among them."""
    kind = type(settings)
    comments = dict(re.findall(r"^ +(\w+): [^#\n]*# (.*)$", inspect.getsource(kind), re.MULTILINE))
    for key, (field, hint) in _fields(kind).items():
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from describe(value, f"{prefix}{key}.")
        else:
            yield Setting(f"{prefix}{key}", _words(hint), value, comments.get(field.name, ""))
