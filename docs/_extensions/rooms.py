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

from docutils import nodes
from sphinx import addnodes
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
                for name in line.names if isinstance(line, ast.ImportFrom) else ():
                    # What comes with an extra is not loaded for its name.
                    stand_in = type(name.name, (), {"__module__": str(line.module)})
                    value = getattr(sys.modules.get(str(line.module)), name.name, stand_in)
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
        named, colon, kind = lines[at].partition(" : ")
        names, text = named.split(", "), lines[at + 1 : stop]
        lines[at:stop] = [line for one in names for line in (one + colon + kind, *text)]
        at += len(names) * (1 + len(text))


def in_full(app: Sphinx, doctree: nodes.document) -> None:
    """Refer to classes by their whole names, as two rooms may have one of the same name."""
    del app
    for node in doctree.findall(addnodes.pending_xref):
        known = vars(sys.modules.get(node.get("py:module") or "", sys))
        kind = known.get(node["reftarget"])
        if inspect.isclass(kind) and kind.__module__.startswith("guided_dip"):
            node["reftarget"] = f"{kind.__module__}.{kind.__qualname__}"
            node["refspecific"] = False


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
    app.connect("doctree-read", in_full)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
