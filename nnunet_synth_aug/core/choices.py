"""Choices that the command line, studies and the rooms behind them share. Loads nothing, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: Of phantoms: as vendors propose them, or as hospitals set them.
Protocols: TypeAlias = Literal["usual", "varied"]
