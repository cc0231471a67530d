"""Folders of sequences that no diffusion model made: what reconstructions and phantoms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_synth_aug.cases import SyntheticSequence
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import hash_json, read_json, write_json
from nnunet_synth_aug.synthesis.sampling import write_table
from nnunet_synth_aug.synthesis.sequences import sequence_exists, write_index, write_sequence


def agree(folder: Path, maker: str, requests: dict[str, Any]) -> list[str]:
    """Refuse a folder that holds sequences of another maker or other requests; it may grow or be used in part.

    Args:
        folder: made if missing.
        maker: what decides how a request turns out; in the place of a generator's hash in ``plan.json``.
        requests: sequence id -> any JSON value that says what is wanted.

    Returns:
        ids that are still to be made, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.json"
    same = {"generator_hash": maker, "check": False, "min_agreement": None}
    asked = {i: hash_json(value) for i, value in requests.items()}
    known: dict[str, Any] = read_json(path) if path.is_file() else {**same, "requests": {}}
    if any(known.get(k) != v for k, v in same.items()) or any(known["requests"].get(i, h) != h for i, h in asked.items()):
        raise UserError(f"{folder} holds sequences that were made otherwise; choose another folder or delete this one")
    write_json(path, {**same, "requests": known["requests"] | asked})
    return [i for i in requests if not sequence_exists(folder, i)]


def fill(
    folder: Path, title: str, ids: list[str], missing: list[str], made: Iterator[SyntheticSequence], provenance: dict[str, Any]
) -> None:
    """Write the missing sequences as they are made, then the index and ``priors.csv`` of those that could be made."""
    with progress(title, len(ids), done := len(ids) - len(missing)) as bar:
        for sequence in made:
            write_sequence(folder, sequence)
            bar.advance(done := done + 1, sequence.id)
    write_index(folder, [i for i in ids if sequence_exists(folder, i)], provenance)
    write_table(folder)
