"""The size and shape of the code: rooms, floors, arrows, lines, options, repeated lines. Of this checkout, or of another one.

    python tests/benchmarks/house.py [ROOT]

A room is a package or a module directly inside nnunet_synth_aug, and evaluation and trainers. An arrow leads from a room to one that
it imports from. A room's floor is one above the highest room that it imports from. Nothing of ROOT is run. The last line printed is one
JSON object; docs/develop/map.md shows it.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("nnunet_synth_aug", "evaluation", "trainers")
#: Shorter runs of equal lines are no repetition worth a look.
REPEATED = 6


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of the product."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the product that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def room(module: str) -> str:
    """The room of a module."""
    parts = module.split(".")
    return parts[0] if parts[0] != PACKAGES[0] else ".".join(parts[:2])


def shape(root: Path) -> dict[str, Any]:
    """Rooms, floors, arrows and circles of the product's imports."""
    known = modules(root)
    rooms = {room(module) for module in known}
    arrows = {(room(module), room(other)) for module, path in known.items() for other in imported(path, known)}
    arrows = {(one, other) for one, other in arrows if one != other}
    below = {one: {b for a, b in arrows if a == one} for one in rooms}
    floors: dict[str, int] = {}
    while ready := [one for one in rooms - floors.keys() if below[one] <= floors.keys()]:
        floors |= {one: 1 + max((floors[other] for other in below[one]), default=0) for one in ready}
    return {
        "rooms": len(rooms),
        "floors": max(floors.values()),
        "arrows": len(arrows),
        "rooms in a circle": len(rooms) - len(floors),
        "by floor": {
            str(floor): sorted(r for r, f in floors.items() if f == floor) for floor in sorted(set(floors.values()), reverse=True)
        },
    }


def lines(files: Iterator[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def settings(root: Path) -> int:
    """Fields of the dataclasses that a user's settings are read into: generator, study files, the plans' key."""
    named = ("Config", "Settings", "Study", "Data", "TestSet", "Training", "Schedule", "Weights")
    count = 0
    for path in modules(root).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ClassDef)
                and node.name.endswith(named)
                and any("dataclass" in ast.dump(d) for d in node.decorator_list)
            ):
                count += sum(isinstance(one, ast.AnnAssign) for one in node.body)
    return count


def options(root: Path) -> int:
    """Options of the commands: every ``typer.Option`` counts once for each command that has it."""
    count = 0
    for path in [path for name, path in modules(root).items() if ".commands" in name or ".cli" in name]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                for argument in [*node.args.args, *node.args.kwonlyargs]:
                    text = ast.unparse(argument.annotation) if argument.annotation else ""
                    shared = re.fullmatch(r"(how\.)?[A-Z]\w+", text) and _is_command(node)
                    count += "typer.Option" in text or bool(shared)
    return count


def _is_command(node: ast.FunctionDef) -> bool:
    """Whether a function of the command line is a command: it returns nothing and is public."""
    return not node.name.startswith("_") and isinstance(node.returns, ast.Constant) and node.returns.value is None


def repeated(root: Path) -> int:
    """Places where six or more lines of code stand a second time, in another file or in the same one."""
    seen: dict[tuple[str, ...], tuple[str, int]] = {}
    places = 0
    for folder in (*PACKAGES, "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            code = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
            code = [line for line in code if len(line) > 3 and not line.startswith(("#", "import ", "from ", '"""'))]
            inside = False
            for start in range(len(code) - REPEATED + 1):
                window = tuple(code[start : start + REPEATED])
                again = window in seen and seen[window] != (str(path), start)
                places += again and not inside
                inside = again
                seen.setdefault(window, (str(path), start))
    return places


def measured(root: Path) -> dict[str, Any]:
    benchmarks = root / "tests" / "benchmarks"
    tests = [path for path in (root / "tests").rglob("*.py") if benchmarks not in path.parents]
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        **shape(root),
        "lines of product": lines(iter(modules(root).values())),
        "lines of tests": lines(iter(tests)),
        "lines of benchmark scripts": lines(benchmarks.rglob("*.py")),
        "settings": settings(root),
        "options": options(root),
        "words of README": len(readme.split()),
        "repeated places": repeated(root),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).resolve().parents[2])
    print(json.dumps(measured(parser.parse_args().root)))


if __name__ == "__main__":
    main()
