"""The API reference: a page for each room of the package, made when the site is built.

What a package has in ``__all__`` is documented there, and only what is left in its modules.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx

import guided_dip

FOLDER = "api"
# Commands, the page and the viewer's widget are used, not called: they have pages of their own.
NOT_CALLED = {"cli", "napari", "web", "__main__"}


def rooms() -> list[str]:
    """Return the names of the rooms that the reference has."""
    names = {module.name for module in pkgutil.iter_modules(guided_dip.__path__)}
    return sorted(names - NOT_CALLED)


def public(module: ModuleType) -> list[str]:
    """Return what a module defines, or offers, under a name without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def modules(room: str) -> list[ModuleType]:
    """Return a room and, of a package, its modules, however deep."""
    top = import_module(f"guided_dip.{room}")
    inner = pkgutil.walk_packages(getattr(top, "__path__", []), f"{top.__name__}.")
    return [top, *(import_module(found.name) for found in inner)]


def page(room: str) -> str:
    """Return the page of a room."""
    top, *inner = modules(room)
    lines = [*heading(room, "="), f".. automodule:: {top.__name__}", "   :members:"]
    offered = {id(getattr(top, name)) for name in public(top)}
    for module in inner:
        found = {name: getattr(module, name) for name in public(module)}
        shown = [name for name, value in found.items() if id(value) not in offered]
        lines += ["", *heading(module.__name__.removeprefix("guided_dip."), "-")]
        lines += [f".. automodule:: {module.__name__}"]
        # A module may have the name of a function that its package offers.
        lines += [f"   :members: {', '.join(shown)}" if shown else "   :no-index:"]
    return "\n".join([*lines, ""])


def heading(text: str, line: str) -> list[str]:
    """Return a heading."""
    return [text, line * len(text), ""]


def with_types(module: ModuleType) -> None:
    """Import what a module imports for its annotations only, so that these can be looked up."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.module in sys.modules:
                    for name in line.names:
                        value = getattr(sys.modules[line.module], name.name)
                        vars(module).setdefault(name.asname or name.name, value)


def one_by_one(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Give attributes that are described together an entry each, as parameters have."""
    del app, what, name, obj, options
    if "Attributes" not in lines:
        return
    at = lines.index("Attributes") + 2
    while at < len(lines) and lines[at].strip():
        stop = at + 1
        while stop < len(lines) and lines[stop].startswith(" "):
            stop += 1
        names, text = lines[at].split(", "), lines[at + 1 : stop]
        lines[at:stop] = [line for one in names for line in (one, *text)]
        at += len(names) * (1 + len(text))


def with_errors(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Name errors in full, as two rooms may have one of the same name."""
    del app, what, name, options
    known = vars(inspect.getmodule(inspect.unwrap(obj)) or sys) if callable(obj) else {}
    start = lines.index("Raises") + 2 if "Raises" in lines else len(lines)
    for at in range(start, len(lines)):
        kind = known.get(lines[at].strip())
        if inspect.isclass(kind) and kind.__module__.startswith("guided_dip"):
            lines[at] = lines[at].replace(kind.__name__, f"~{kind.__module__}.{kind.__name__}")


def write(app: Sphinx) -> None:
    """Write the pages; one that is as it was keeps its time, so that it is not read again."""
    for room in rooms():
        for module in modules(room):
            with_types(module)
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    wanted = {folder / f"{room}.rst": page(room) for room in rooms()}
    for path in set(folder.glob("*.rst")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("builder-inited", write)
    # Before napoleon reads it.
    app.connect("autodoc-process-docstring", one_by_one, priority=400)
    app.connect("autodoc-process-docstring", with_errors, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
