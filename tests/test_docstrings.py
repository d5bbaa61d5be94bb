"""Every public name says what it is, and what it says of parameters, results and errors is so.

*Public* is what the reference in docs/api has: a module's ``__all__`` where there is one, else what
it defines without an underscore. Of the rooms that are called from outside, each parameter has to
be described, each result, and each error that is raised there; of the others, whose modules work
for one another, what is described has to be right.
"""

import ast
import doctest
import importlib
import inspect
import pkgutil
import textwrap
from dataclasses import is_dataclass
from functools import cached_property

import pytest
from numpydoc.docscrape import NumpyDocString
from pydantic import BaseModel

import guided_dip
from guided_dip.operators import Operator
from guided_dip.supervision import Supervision
from guided_dip.tasks import Task
from guided_dip.training import FitSettings

# Rooms that work for others, and are documented for who works on them.
INNER = {"batch", "cli", "experiments", "graphs", "jobs", "napari", "speed", "web", "workers"}
# What fulfils one of these is described where that is.
PROTOCOLS = {"operators": Operator, "supervision": Supervision, "tasks": Task}
# Its fields are settings, and described where the user makes them.
SETTINGS = (FitSettings,)
# Summaries that say what comes back.
TELLS = ("Return", "Tell", "Whether", "Give", "Look up", "Yield")


def modules():
    """Return all modules of the package, but for those whose libraries are an extra."""
    found = [guided_dip]
    for info in pkgutil.walk_packages(guided_dip.__path__, "guided_dip."):
        room = info.name.split(".")[1]
        if room not in ("web", "napari", "__main__"):
            found.append(importlib.import_module(info.name))
    return found


def public(module):
    """Return the classes and functions of a module that are for others, by name."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        value = getattr(module, name)
        own = hasattr(module, "__all__") or getattr(value, "__module__", "") == module.__name__
        if own and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def callables():
    """Return (id, object, class it belongs to or None, is inner) of all there is to describe."""
    seen = set()
    for module in modules():
        package = module.__name__.rpartition(".")[0]
        above = importlib.import_module(package) if package else None
        for name, value in public(module):
            if value in seen or not value.__module__.startswith("guided_dip"):
                continue
            room = f"{module.__name__}.".split(".")[1]
            below = package not in ("", "guided_dip")
            offered = name in getattr(above, "__all__", ()) and getattr(above, name) is value
            inner = room in INNER or (below and not offered)
            seen.add(value)
            yield f"{module.__name__}.{name}", value, None, inner
            if inspect.isclass(value):
                for key, method in vars(value).items():
                    method = getattr(method, "__func__", method)
                    if is_dataclass(value) and key in value.__dataclass_fields__:
                        continue  # a field whose default is a function
                    is_property = isinstance(method, property | cached_property)
                    if (not key.startswith("_") or key == "__call__") and (
                        is_property or inspect.isfunction(method)
                    ):
                        yield f"{module.__name__}.{name}.{key}", method, value, inner


ALL = sorted({entry[0]: entry for entry in callables()}.values(), key=lambda entry: entry[0])
IDS = [entry[0].removeprefix("guided_dip.") for entry in ALL]


def function_of(value):
    if isinstance(value, property):
        return value.fget
    return value.func if isinstance(value, cached_property) else value


def parsed(value):
    return NumpyDocString(inspect.cleandoc(value.__doc__ or ""))


def described(doc):
    """Return the names that parameters and attributes of a docstring are described under."""
    entries = [*doc["Parameters"], *doc["Other Parameters"], *doc["Attributes"]]
    return [name.strip().lstrip("*") for entry in entries for name in entry.name.split(",")]


def parameters(value):
    """Return the names that one has to give, or may."""
    if inspect.isclass(value) and issubclass(value, BaseModel | tuple):
        return []  # fields have descriptions of their own
    if value in SETTINGS:
        return []
    if getattr(value, "_is_protocol", False):
        return []
    function = value.__init__ if inspect.isclass(value) else function_of(value)
    ours = inspect.isfunction(function) and function.__module__.startswith("guided_dip")
    if not ours and not is_dataclass(value):
        return []
    names = list(inspect.signature(value if is_dataclass(value) else function).parameters)
    return [name for name in names if name != "self" and name != "cls" and name[0] != "_"]


def described_elsewhere(label, name, owner):
    """Return whether a method is described in a base class, or in the protocol it fulfils."""
    if owner is None:
        return False
    protocol = PROTOCOLS.get(label.split(".")[1])
    bases = [*owner.__mro__[1:], *([protocol] if protocol not in (None, owner) else [])]
    return any(getattr(getattr(base, name, None), "__doc__", None) for base in bases)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_every_module_says_what_it_is(module):
    assert module.__doc__
    assert module.__doc__.strip().splitlines()[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize(("label", "value", "owner", "inner"), ALL, ids=IDS)
def test_what_is_said_is_so(label, value, owner, inner):
    assert value.__doc__, f"{label} has no docstring"
    doc = parsed(value)
    assert doc["Summary"], f"{label} has no summary"
    given, wanted = described(doc), parameters(value)
    if inspect.isclass(value):
        unknown = [name for name in (p.name for p in doc["Parameters"]) if not wanted]
    else:
        unknown = [name for name in given if name not in wanted]
    assert not unknown, f"{label} describes {unknown}, which it does not take"
    for section in ("Parameters", "Attributes", "Raises"):
        for entry in doc[section]:
            assert "".join(entry.desc).strip(), f"{label} does not say what {entry.name} is"


OUTER = [entry for entry in ALL if not entry[3]]


@pytest.mark.parametrize(
    ("label", "value", "owner"),
    [entry[:3] for entry in OUTER],
    ids=[entry[0].removeprefix("guided_dip.") for entry in OUTER],
)
def test_all_is_said(label, value, owner):
    doc, name = parsed(value), label.rpartition(".")[2]
    if described_elsewhere(label, name, owner):
        return
    missing = [name for name in parameters(value) if name not in described(doc)]
    assert not missing, f"{label} does not describe {missing}"
    if inspect.isclass(value) or isinstance(value, property | cached_property):
        return
    summary = " ".join(doc["Summary"])
    returns = inspect.signature(value).return_annotation
    nothing = returns in (None, "None", "Iterator[None]", inspect.Signature.empty)
    told = nothing or doc["Returns"] or doc["Yields"] or summary.startswith(TELLS)
    assert told, f"{label} does not say what comes back"
    said = {entry.type or entry.name for entry in doc["Raises"]}
    for error in raised_in(value):
        kinds = {kind.__name__ for kind in inspect.unwrap(value).__globals__[error].__mro__}
        assert kinds & said, f"{label} raises {error}, and does not say so"


def raised_in(function):
    """Return the names of the kinds of errors that a function raises itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
    found = set()
    todo = list(ast.iter_child_nodes(tree.body[0]))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func))
        todo += ast.iter_child_nodes(node)
    # Errors that a function makes are told by the test of that function.
    # A decoder's RefusedError becomes an InputError that names the file.
    return {name for name in found if name[0].isupper()} - {"AssertionError", "RefusedError"}


def test_the_raises_are_seen():
    from guided_dip.metrics import _as_floats

    assert raised_in(_as_floats) == {"InputError"}


WITH_EXAMPLES = [module for module in modules() if ">>>" in inspect.getsource(module)]


@pytest.mark.parametrize("module", WITH_EXAMPLES, ids=lambda module: module.__name__)
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(module, optionflags=flags)
    assert result.attempted
    assert not result.failed
