"""Shells complete the commands, and the manual page says what they are."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from guided_dip.backbones import BACKBONES
from guided_dip.cli.app import app, run
from guided_dip.cli.described import VALUES, describe
from guided_dip.cli.shells import SHELLS
from guided_dip.config import EFFORTS, PRESETS, Config

DOCS = Path(__file__).parent.parent / "docs"
ROOT = describe(typer.main.get_command(app))
SETTINGS = [name for name in VALUES if name[2:] in Config.model_fields]


@pytest.fixture
def complete(tmp_path):
    """Return what bash offers for a line that is being written."""

    def offered(line, folder=tmp_path):
        words = [*line.replace("=", " = ").split(), *([""] if line.endswith((" ", "=")) else [])]
        quoted = " ".join(f"'{word}'" for word in words)
        script = (
            f"{SHELLS['bash'](ROOT)}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
            "_guided_dip\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
        )
        run = subprocess.run(
            ["bash", "--norc"], input=script, capture_output=True, text=True, cwd=folder, check=True
        )
        assert not run.stderr
        return run.stdout.split()

    return offered


def test_commands_are_completed(complete):
    assert complete("guided-dip res") == ["restore"]
    assert set(complete("guided-dip ")) == {each.words[0] for each in ROOT.commands}
    assert complete("guided-dip batch st") == ["status"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("guided-dip restore in.png --task d", ["denoise", "deblur", "dejpeg", "degain"]),
        ("guided-dip restore --effort ", ["fast", "balanced", "best"]),
        ("guided-dip restore --effort=b", ["balanced", "best"]),
        ("guided-dip restore --effort=", ["fast", "balanced", "best"]),
        ("guided-dip restore --backbone s", ["skip", "segnet"]),
        ("guided-dip restore --time", ["--time-budget"]),
        ("guided-dip batch pictures --exec", ["--executor"]),
        ("guided-dip batch pictures --executor s", ["slurm"]),
        ("guided-dip plan --sched", ["--schedule"]),
        ("guided-dip --ver", ["--version"]),
    ],
)
def test_options_and_their_values_are_completed(complete, line, offered):
    assert complete(line) == offered


@pytest.mark.parametrize(
    "line", ["guided-dip restore ", "guided-dip restore --mask ", "guided-dip restore --seed "]
)
def test_files_are_left_to_the_shell(complete, line):
    assert complete(line) == []


def test_every_command_and_option_is_in_every_script_and_on_the_page():
    texts = {name: script(ROOT) for name, script in SHELLS.items()}
    texts["man"] = (DOCS / "guided-dip.1").read_text(encoding="utf-8").replace("\\-", "-")
    for command in ROOT.walk():
        for option in command.options:
            for name in option.names:
                for shell, text in texts.items():
                    fish = f"-l {name[2:]} " if name.startswith("--") else f"-s {name[1:]} "
                    assert (fish if shell == "fish" else name) in text or name == "--help", name


@pytest.mark.parametrize("name", SETTINGS)
def test_values_are_those_of_the_setting(name):
    values = get_args(Config.model_fields[name[2:]].annotation)
    if values and isinstance(values[0], str):
        assert set(VALUES[name]) <= set(values)
        assert set(values) - set(VALUES[name]) <= {"invert"}  # a task for Python only


def test_values_are_those_of_the_program():
    assert set(VALUES["--backbone"]) == set(BACKBONES)
    assert set(VALUES["--effort"]) == set(EFFORTS)
    assert set(VALUES["--preset"]) == set(PRESETS) - set(EFFORTS)


def test_values_are_of_options_that_exist():
    known = {name for command in ROOT.walk() for option in command.options for name in option.names}
    assert set(VALUES) <= known


def test_the_command_prints_the_script(capsys):
    assert run(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef guided-dip\n")
    assert run(["completion", "bsh"]) == 2
    assert "did you mean 'bash'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_a_shell_that_is_there_takes_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        assert shell != "bash"
        return
    script = tmp_path / "script"
    script.write_text(SHELLS[shell](ROOT), encoding="utf-8")
    found = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_manual_page_is_current():
    spec = importlib.util.spec_from_file_location("make_man", DOCS / "make_man.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run docs/make_man.py"
    if shutil.which("groff"):
        shown = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", str(module.PAGE)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stderr == ""
        assert "no training data" in shown.stdout
