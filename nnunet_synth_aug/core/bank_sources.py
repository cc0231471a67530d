"""Where a bank's hearts may come from, alone or several together: ``copies+phantom`` is half copies and half phantoms."""

from __future__ import annotations

from nnunet_synth_aug.core.errors import UserError

#: What the diffusion models make, what the VAE alone makes, and what needs no generator.
SAMPLED, DECODED, PLAIN = ("generator", "variations"), ("reconstructions",), ("copies", "bent", "phantom", "pseudolabels")
SOURCES = (*SAMPLED, *PLAIN, *DECODED)


def sources_of(text: str) -> tuple[str, ...]:
    """The sources that ``text`` names, always in the same order.

    Raises:
        UserError: one is unknown or there twice.
    """
    named = text.split("+")
    if unknown := [one for one in named if one not in SOURCES]:
        raise UserError(f"there is no --source {unknown[0]!r}; choose {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, or join some with +")
    if twice := [one for one in SOURCES if named.count(one) > 1]:
        raise UserError(f"--source {text} names {twice[0]} more than once; name each source once")
    return tuple(one for one in SOURCES if one in named)


def shared_out(n: int, parts: int) -> list[int]:
    """How many of ``n`` sequences each source gives: equal numbers, the first ones one more where they do not divide.

    Raises:
        UserError: fewer sequences than sources.
    """
    if n < parts:
        raise UserError(f"-n {n} is not enough for {parts} sources; ask for at least one sequence of each")
    return [n // parts + (number < n % parts) for number in range(parts)]
