"""The rooms and their arrows: imports flow one way, without a cycle, and cost what they must."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import guided_dip

ROOT = Path(guided_dip.__file__).parent

# A room may import rooms of lower layers, and the rooms of its own layer to its left.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "words", "seeds", "files", "memory", "tiling", "sampling", "region", "white"),
    (
        *("diffusion", "guidance", "operators", "clipping", "noise", "grain"),
        *("metrics", "backbones", "images", "residual", "jpeg", "filling"),
    ),
    ("hiding", "supervision", "tasks", "stopping", "optimizers", "graphs", "training", "members"),
    ("fit", "engine"),
    ("sizing", "config", "result", "restoration", "reconstructor"),
    ("runs", "plots", "speed", "workers", "jobs"),
    ("experiments", "batch"),
    ("web", "napari", "cli"),
)
RANK = {
    room: (layer, place) for layer, rooms in enumerate(LAYERS) for place, room in enumerate(rooms)
}
HEAVY = {"torch", "matplotlib", "typer", "rich", "pydantic", "numpy", "skimage", "gradio", "ray"}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms a file imports, also inside functions and under TYPE_CHECKING."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "guided_dip":
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "guided_dip" and len(parts) > 1:
                    rooms.add(parts[1])
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return rooms


FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem[:2] != "__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    assert room in RANK, f"{room} is not a room of the design: give it a layer"
    for other in imported_rooms(path) - {room, "__version__"}:
        assert other in RANK, f"{path.name} imports {other}, which is not a room"
        assert RANK[other] < RANK[room], f"{room} must not import {other}"


# The web service's own rooms: each may import those named, and what lies beside them all.
WEB = {
    "queue": set(),
    "uploads": set(),
    "access": set(),
    "http": {"uploads", "access"},
    "page": {"uploads"},
    "client": set(),
    "serve": {"queue", "uploads", "access", "http", "page"},
}
SHARED = {"jobs", "limits", "models", "plans", "problems"}


def web_room(module: str) -> str:
    return module.removeprefix("guided_dip.web.").split(".")[0]


def imported_web(path: Path) -> set[str]:
    """Return what a file imports of the web service, as names below it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "guided_dip.web":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("guided_dip.web."):
            names.add(web_room(node.module))
    return names


@pytest.mark.parametrize(
    "path", sorted((ROOT / "web").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_web_services_rooms_know_no_more_of_each_other_than_they_must(path):
    room = path.relative_to(ROOT / "web").parts[0].removesuffix(".py")
    assert room in WEB or room in SHARED | {"__init__"}, f"{room} is not a room: say who may use it"
    assert imported_web(path) - {room} <= WEB.get(room, set()) | SHARED


def test_the_walk_sees_imports():
    assert {"guidance", "supervision", "operators"} <= imported_rooms(ROOT / "fit.py")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import guided_dip") & HEAVY


def test_restoring_loads_no_room_above_it():
    loaded = loaded_by("from guided_dip import restore")
    assert not loaded & {"matplotlib", "typer", "gradio", "ray"}
    assert "torch" in loaded
