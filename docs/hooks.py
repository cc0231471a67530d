"""What the site is given when it is built: tables made from committed figures, and the command line's options.

A page asks for them with a mark: ``<!-- figures: NAME -->``, ``<!-- commands -->``, ``<!-- settings -->`` or ``<!-- inputs -->``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
SCRIPTS = DOCS.parent / "tests" / "benchmarks"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

import compute_page  # noqa: E402
import demo_page  # noqa: E402
import evaluation_page  # noqa: E402
import generator_page  # noqa: E402
import nnunet_page  # noqa: E402
import scanners_page  # noqa: E402
import trial_page  # noqa: E402
import utility_page  # noqa: E402
from dicom_cases import DICOM  # noqa: E402
from evaluation_cases import EVALUATED, STUDIES  # noqa: E402
from input_cases import CASES  # noqa: E402
from page_table import kept, table  # noqa: E402

MARK = re.compile(r"<!-- (?:figures: )?([\w ]+) -->")


#: Name in a mark -> what stands in its place.
FIGURES: dict[str, Callable[[], str]] = {
    **compute_page.FIGURES,
    **demo_page.FIGURES,
    **evaluation_page.FIGURES,
    **generator_page.FIGURES,
    **nnunet_page.FIGURES,
    **scanners_page.FIGURES,
    **trial_page.FIGURES,
    **utility_page.FIGURES,
    "house": lambda: house(kept("house")),
    "commands": lambda: commands(),
    "settings": lambda: settings(),
    "inputs": lambda: inputs(),
}


def filled(markdown: str) -> str:
    """The page with tables in place of its marks.

    Raises:
        KeyError: a mark asks for figures that nobody makes.
    """
    return MARK.sub(lambda found: FIGURES[found[1]](), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return filled(markdown)


def commands() -> str:
    """Every command of ``synthaug`` with its options, from the program itself."""
    from typer.main import get_command

    from nnunet_synth_aug.cli.app import app

    return "\n".join(_command(name, command) for name, command in _leaves("synthaug", get_command(app)))


def house(figures: dict[str, dict[str, int]]) -> str:
    """Size and shape of the code, before and after it was moved into rooms."""
    return table(["", *figures], [[name, *(found[name] for found in figures.values())] for name in figures["after"]])


def inputs() -> str:
    """Every input that the tests try, and what the commands say."""
    cases = [*CASES, *DICOM, *EVALUATED, *STUDIES]

    def rows(topic: str) -> str:
        found = [[case.what, case.outcome, f"... {case.says} ..." if case.says else "nothing"] for case in cases if case.topic == topic]
        return table(["what", "it is", "what is said of it"], found)

    return "\n".join(f"## {topic}\n\n{rows(topic)}" for topic in dict.fromkeys(case.topic for case in cases))


def settings() -> str:
    """Every setting of the generator, with its value in each preset."""
    from nnunet_synth_aug.core.settings import describe
    from nnunet_synth_aug.model.config import PRESETS

    presets = {name: {s.key: s for s in describe(config)} for name, config in PRESETS.items()}
    rows = [
        [_whole(key), *(f"`{_written(found[key].value)}`" for found in presets.values()), setting.must_be, setting.meaning]
        for key, setting in presets["small"].items()
    ]
    return table(["setting", *presets, "must be", "what it does"], rows)


def _written(value: Any) -> str:
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value) if isinstance(value, str) else json.dumps(value)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part in sorted(command.commands):
        yield from _leaves(f"{name} {part}", command.commands[part])


def _command(name: str, command: Any) -> str:
    rows, takes = [], []
    for parameter in command.params:
        text = " ".join((getattr(parameter, "help", None) or "").split())
        if parameter.param_type_name == "argument":
            takes.append(parameter.name.upper())
            rows.append([_whole(parameter.name.upper()), text, "needed" if parameter.required else ""])
            continue
        names = [*parameter.opts, *parameter.secondary_opts]
        rows.append([" ".join(_whole(option) for option in names), text, _default(parameter)])
    title = f"## {name}\n"
    usage = f"```bash\n{' '.join([name, *takes, '[options]'])}\n```\n"
    return "\n".join([title, command.help or "", "", usage, table(["option", "what it does", "default"], rows)])


def _whole(name: str) -> str:
    """Code that is not broken at its hyphens (site.css)."""
    return f"`{name}`{{.whole}}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    value = parameter.default
    if value is None or callable(value) or value is False or value == () or str(value) in ("", "[]"):
        return ""
    return f"`{'on' if value is True else value}`"
