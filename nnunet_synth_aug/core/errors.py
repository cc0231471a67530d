"""The exceptions that a user is meant to read, and names in their sentences."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one sentence naming the file or option and what to do.

    The command line prints it without a traceback and exits with its code.
    """

    code = 2


class IncompleteError(UserError):
    """Less could be made than was asked for; what could be is there."""

    code = 3


class OtherSequencesError(UserError):
    """A folder holds sequences that were made otherwise than those that are to be added."""


def shortened(names: Iterable[str], limit: int = 5) -> str:
    """Names for a sentence, sorted: all, or the first few and how many more."""
    known = sorted(names)
    return ", ".join(known[:limit]) + (f" and {len(known) - limit} more" if len(known) > limit else "")
