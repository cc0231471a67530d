"""ACDC's ``Info.cfg``: one ``key: value`` per line."""

from __future__ import annotations

import re
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, VENDORS
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.core.tables import plain_number, read_words

_LINE = re.compile(r"\s*([A-Za-z]+)\s*(?:[:=]|\s)\s*(.*?)\s*")


class Info:
    """The values of an Info.cfg; keys in lower case."""

    def __init__(self, path: Path, values: dict[str, str]) -> None:
        self.path, self._values = path, values

    def text(self, key: str) -> str:
        """The value of a key that must be there."""
        if not self._values.get(key.lower()):
            raise UserError(f"{self.path} has no {key}; add the line '{key}: ...' from the original data set")
        return self._values[key.lower()]

    def has(self, key: str) -> bool:
        """Whether a key has a value."""
        return bool(self._values.get(key.lower()))

    def frame(self, key: str) -> int:
        """A frame counted from 1, or a number of frames."""
        text = self.text(key)
        if not re.fullmatch(r"[0-9]{1,6}(\.0*)?", text) or float(text) < 1:
            raise UserError(f"{self.path} gives {key} as {text!r}; it must be a frame number from 1")
        return int(float(text))

    def priors(self, *, with_group: bool = True) -> Priors:
        """Diagnosis (which must be there if ``with_group``), height and weight; volumes are not in the file.

        Every ACDC scanner is from Siemens; cines from elsewhere may say ``Vendor: GE``.
        """
        group = self.text("Group") if with_group else self._values.get("group") or None
        if group is not None and group.upper() not in DIAGNOSES:
            raise UserError(f"{self.path} gives the unknown Group {group!r}; choose one of {', '.join(DIAGNOSES)}")
        vendor = self._values.get("vendor") or "Siemens"
        values = {key: plain_number(self._values.get(key, "")) for key in ("height", "weight")}
        values["diagnosis"] = (group or "").upper()
        values["vendor"] = next((known for known in VENDORS if known.lower() == vendor.lower()), vendor)
        return Priors.from_mapping(values, str(self.path))


def read_info(path: Path) -> Info:
    """Read an Info.cfg, its name and keys in capitals or not, with ``:``, ``=`` or spaces behind the keys.

    Raises:
        UserError: missing, no text, or a key with two values.
    """
    if not path.is_file():
        path = next((one for one in sorted(path.parent.glob("*.[cC][fF][gG]")) if one.name.lower() == path.name.lower()), path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; copy it from the original data set, it names the ED and ES frames")
    values: dict[str, str] = {}
    for line in read_words(path).splitlines():
        if found := _LINE.fullmatch(line):
            key, value = found[1].lower(), found[2]
            if values.setdefault(key, value) != value:
                raise UserError(f"{path} gives {found[1]} as {values[key]!r} and as {value!r}; remove one of the lines")
    return Info(path, values)
