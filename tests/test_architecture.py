"""Data flows one way: a module imports only from rooms before its own."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nnunet_synth_aug"

#: Rooms in the order of the flow; modules of one room may import each other.
ROOMS: list[set[str]] = [
    {"", "errors", "labels", "_startup"},
    {"files", "priors", "cases", "paths", "console", "islands", "bank_sources"},
    {"config", "checkpoint"},
    {"data"},
    {"conditions", "diffusion", "distributed", "periodic", "beat", "unet", "training"},
    {"anatomy_vae"},
    {"decoded_priors", "latents", "ldm"},
    {"grain", "latent_cache"},
    {"motion_ldm", "static_ldm"},
    {"generator"},
    {"fit_records", "pretrained"},
    {"fit"},
    {"synthesis"},
    {"nnunet"},
    {"reports"},
    {"demo"},
    {"commands"},
    {"cli"},
]
ORDER = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
#: What training from a bank must never load.
GENERATIVE = set().union(*ROOMS[4:9])


def imports(path: Path) -> set[str]:
    """Full names of everything a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_backwards(path):
    mine = ORDER[room(path)]
    for name in imports(path):
        if name.split(".")[0] == "nnunet_synth_aug":
            other = [*name.split("."), ""][1]
            assert ORDER[other] <= mine, f"{path.name} imports {name}, a later room"
        assert name.split(".")[0] != "trainers"
        if name.split(".")[0] == "evaluation":
            assert room(path) in {"reports", "commands"}
        if name.split(".")[0] == "nnunetv2":
            assert room(path) == "nnunet", f"{path} meets nnU-Net outside its room"


def test_static_and_motion_ldm_are_siblings():
    for mine, other in (("static_ldm", "motion_ldm"), ("motion_ldm", "static_ldm")):
        for path in (PACKAGE / mine).rglob("*.py"):
            assert not any(name.startswith(f"nnunet_synth_aug.{other}") for name in imports(path))


def test_evaluation_imports_no_torch_and_only_the_first_rooms():
    for path in (ROOT / "evaluation").rglob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] not in {"torch", "nnunetv2", "trainers", "batchgenerators"}
            if name.startswith("nnunet_synth_aug."):
                assert ORDER[name.split(".")[1]] <= 1, f"{path.name} imports {name}"


def reached(module: str, seen: set[str]) -> set[str]:
    """Modules of this package that importing ``module`` loads (function-level imports included)."""
    if module in seen:
        return seen
    seen.add(module)
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for name in imports(Path(spec.origin)):
        if name.startswith("nnunet_synth_aug"):
            reached(name, seen)
    return seen


def test_training_from_a_bank_loads_no_generator():
    loaded = {name.split(".")[1] for name in reached("nnunet_synth_aug.nnunet.trainer", set()) if "." in name}
    assert not loaded & GENERATIVE
