"""What goes out with a release: versions, licences, the container, and pages whose code runs."""

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def licences():
    place = ROOT / "docs" / "make_licences.py"
    spec = importlib.util.spec_from_file_location("make_licences", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_citation_is_of_the_newest_release():
    citation = yaml.safe_load(read("CITATION.cff"))
    released = RELEASE.findall(read("CHANGELOG.md"))
    assert {"cff-version", "message", "title", "authors", "license", "type"} <= set(citation)
    if released:
        assert (citation["version"], str(citation["date-released"])) == released[0]
    else:  # nothing can be cited by its version yet
        assert not {"version", "date-released"} & set(citation)
    dates = [date for _, date in released]
    assert dates == sorted(dates, reverse=True)


def test_the_changelog_keeps_its_form():
    text = read("CHANGELOG.md")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(RELEASE.fullmatch(f"## {head}") for head in heads[1:])
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= set(KINDS)
    for line in text.partition("### ")[2].splitlines()[1:]:
        assert not line or line.startswith(("- ", "  ", "#")), line


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_issue_forms_ask_for_something(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["attributes"].get("label") or part["attributes"]["value"]


def test_licences_of_what_is_needed_are_known_and_on_the_page():
    module, page = licences(), read("docs/licences.md")
    found = module.listed()
    assert {"torch", "numpy", "scikit-image", "typer"} <= set(found)
    for name, (extra, kinds) in found.items():
        assert set(kinds) <= module.PERMISSIVE | set(module.OTHERS), f"{name}: {kinds}"
        assert set(kinds) & module.PERMISSIVE or extra or "MPL" in kinds, f"{name}: {kinds}"
        line = next(
            line for line in page.splitlines() if line.startswith(f"| {' / '.join(kinds)} |")
        )
        assert re.search(rf"[ |]{re.escape(name)}[ ,]", line), f"run docs/make_licences.py: {name}"


def test_no_licence_is_guessed(monkeypatch):
    module = licences()
    about = {"License-Expression": None, "License": "Beerware"}

    class About(dict):
        def get_all(self, _):
            return []

    monkeypatch.setattr(metadata, "metadata", lambda _: About(about))
    assert module.licence("anything") == ("unknown",)


def test_the_container_is_linted():
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stdout


def test_what_the_container_copies_is_let_in():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", read("Dockerfile"), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    let_in = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert names == let_in
    assert all((ROOT / name).exists() for name in names)


def test_the_container_runs_as_nobody_in_particular():
    lines = read("Dockerfile").splitlines()
    assert lines.index("USER 1000") < lines.index('ENTRYPOINT ["guided-dip"]')


@pytest.mark.parametrize("page", ["docs/python.md"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE))
    exec(compile(code, page, "exec"), {"__name__": "page"})
