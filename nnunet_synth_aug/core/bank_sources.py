"""Where a bank's hearts may come from, alone or several together: ``copies+phantom`` is half copies and half phantoms.

To add a source, write ``synthesis/sources/NAME.py`` with a function ``make(job)``, and add its line here: command line, studies,
arms and docs read this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnunet_synth_aug.core.errors import UserError


@dataclass(frozen=True)
class Source:
    """One place where hearts come from."""

    name: str  # as 'synthaug bank --source'
    module: str  # in synthesis.sources; its make() writes the sequences
    about: str  # for the help
    needs_generator: bool = False
    sampled: bool = False  # the diffusion models make its hearts: quality control and requests apply
    needs_segmenter: bool = False

    @property
    def arm(self) -> str:
        """What arms of a study call it, before the per cent."""
        return "mix" if self.name == "generator" else self.name


#: In the order in which a bank of several holds them.
REGISTRY: dict[str, Source] = {
    source.name: source
    for source in (
        Source("generator", "generated", "new hearts from the fold's generator", needs_generator=True, sampled=True),
        Source("variations", "variations", "hearts near the training patients', by the generator", needs_generator=True, sampled=True),
        Source("copies", "copies", "training patients, bent and remodelled"),
        Source("bent", "copies", "training patients, bent only"),
        Source("phantom", "phantoms", "digital hearts"),
        Source("pseudolabels", "pseudolabels", "real cines, contoured by --segmenter", needs_segmenter=True),
        Source("reconstructions", "reconstructions", "training patients through the VAE", needs_generator=True),
    )
}
SOURCES = tuple(REGISTRY)


def sources_of(text: str) -> tuple[str, ...]:
    """The sources that ``text`` names, always in the same order.

    Raises:
        UserError: one is unknown or there twice.
    """
    named = text.split("+")
    if unknown := [one for one in named if one not in REGISTRY]:
        raise UserError(f"there is no --source {unknown[0]!r}; choose {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, or join some with +")
    if twice := [one for one in SOURCES if named.count(one) > 1]:
        raise UserError(f"--source {text} names {twice[0]} more than once; name each source once")
    return tuple(name for name in SOURCES if name in named)


def shared_out(n: int, parts: int) -> list[int]:
    """How many of ``n`` sequences each source gives: equal numbers, the first ones one more where they do not divide.

    Raises:
        UserError: fewer sequences than sources.
    """
    if n < parts:
        raise UserError(f"-n {n} is not enough for {parts} sources; ask for at least one sequence of each")
    return [n // parts + (number < n % parts) for number in range(parts)]
