"""Every command and every piece of Python in the pages runs, made small.

A page's blocks run in their order, in a folder with the files that they name. `SMALLER` says what
is changed to make them quick, `NOT_RUN` what is not run and why; a command that is in neither table
and fails, fails the test. Commands within sentences are held against the command line's own parser,
which knows every option, and not carried out.
"""

import re
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import typer
from PIL import Image

from guided_dip.cli import run
from guided_dip.cli.app import app
from guided_dip.fit import Fit
from guided_dip.images import Picture, write
from guided_dip.speed import machine

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "RESULTS.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# By these a block that does not say its language is known to be commands.
PROGRAMS = {"guided-dip", "make", "pip", "python", "python3", "sqlite3", ".", "source"}
PROGRAMS |= {"apt-get", "curl", "docker", "git", "man", "napari", "npe2", "npm", "sbatch", "ssh"}
SHELLS = ("sh", "bash", "console", "shell")

TINY = "--set 'backbone_options={width: 4}' --set threads=1"
WIDTHS = "--set 'backbone_options={widths: [4, 4, 8, 8, 8, 8]}'"

# What is changed, in this order: a pattern, and what stands in the place of what it finds.
SMALLER = (
    (r" --page 7", " --page 1"),
    (r" --region 900,400,512,512", " --region 4,4,16,16"),
    (r"^(guided-dip restore .*--preset author .*)", rf"\1 --steps 3 {WIDTHS}"),
    (r"^(guided-dip restore .*--backbone backbone:residual.*)", r"\1 --steps 3"),
    (r"^(guided-dip restore (?!.*--(resume|steps)).*)", rf"\1 --steps 3 {TINY}"),
    (r" FILE\b", " photo.png"),
    (r" --seed S\b", " --seed 0"),
    (r"^(guided-dip batch (?!report|status|retry).*)", rf"\1 --steps 3 {TINY} --workers 1"),
    (r"^guided-dip batch retry (.*)", r"guided-dip batch retry \1 --workers 1"),
    (r" --rows unet\b", " --rows unet-cosine"),
    (
        r"^(guided-dip reproduce (?!.*--rows).*)",
        r"\1 --rows unet-linear",  # SegNet has no small version
    ),
    (r"^(guided-dip reproduce .*)", rf"\1 --steps 6 --set count=2 --set resize=32 {WIDTHS}"),
    (r"^(guided-dip reproduce .*) --seeds [38]", r"\1 --seeds 2"),
    (
        r"^(guided-dip reproduce .*)--supervision clean-guides,observation,\S*(.*)offset,unbiased",
        r"\1--supervision clean-guides,recorrupted-guides\2offset",
    ),
    (r"^(guided-dip (?:reproduce|benchmark) .*)", r"\1 --workers 1"),
    (r"^(guided-dip benchmark .*)", rf"\1 --set steps=3 {TINY}"),
    (r"^guided-dip ablate --file mine.yaml -o study$", ""),  # the next line does that and more
    (r"^(guided-dip ablate .*--file (?!.*--dry-run).*)", r"\1 --size 32 --workers 1"),
    (r"^(guided-dip bench-engine.*)--steps 10000", r"\1--steps 30"),
    (r"--sizes \d+(,\d+)*", "--sizes 32"),
    (
        r"^(guided-dip bench-engine(?!.*--(sizes|backbones)).*)",
        r"\1 --backbones unet,normfree --sizes 32",
    ),
    (r"--backbones segnet", "--backbones unet"),
    (r"^(guided-dip bench-engine(?!.*--steps).*)", r"\1 --seconds 0.1 --threads 1"),
)

NOT_RUN = {
    r"^guided-dip web": "serves until it is ended; tests/test_web_server.py runs it",
    r"^curl ": "asks a server; tests/test_web_api.py and test_web_server.py ask the same",
    r"^make (demo|test|lint|format)": "installs software; CI does lint and test",
    r"^make (dist|test-napari)": "takes minutes; CI does",
    r"^make (coverage|mutants)": "takes minutes; a release's checklist has them",
    r"^docker ": "needs a container engine; tests/test_release.py lints the Dockerfile",
    r"^napari$": "opens a window; tests/viewer has the plugin in it",
    r"^make docs": "is what tests/test_site.py does",
    r"^pip install": "installs software; CI does",
    r"^python3 -m venv|^\. \.venv": "installs software",
    r"^guided-dip ablate -o study --image butterfly": "takes days; docs/ablate.md has it smaller",
    r"^guided-dip ablate -o docs/ablations --redraw": "takes a minute; docs/ablate.md redraws, too",
}

SMALL_ABLATION = """\
title: Small
preset: report
seeds: 1
settings: {backbone_options: {widths: [4, 4, 8, 8, 8, 8]}, steps: 6, count: 2}
bases: {clean: {}, noisy: {settings: {supervision: observation-guides}}}
factors: {count: [1, 2]}
"""


def commands_of(block, language=""):
    """Return the commands of a block, whole lines each."""
    if language and language not in SHELLS:
        return []
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    known = [line.strip() for line in lines if language or line.split()[0] in PROGRAMS]
    kept = [line for line in known if not line.startswith("#")]
    return [re.sub(r"\s+", " ", re.sub(r"\s+#.*$", "", line)) for line in kept]


def blocks_of(page):
    """Return (language, text) of the blocks of a page."""
    found, language, lines = [], None, []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = re.match(r"\s*(`{3,})(.*)$", line)
        if fence and language is None:
            language, lines = fence[2].strip(), []
        elif fence:
            found.append((language, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page.name}: a block does not end"
    return found


def smaller(command):
    for pattern, instead in SMALLER:
        command = re.sub(pattern, instead, command)
    return command


def scene(side=32, seed=0):
    rows, columns = np.mgrid[:side, :side] / side
    planes = [0.5 + 0.3 * np.sin(7 * rows + k) * np.cos(5 * columns) for k in range(3)]
    noise = np.random.default_rng(seed).normal(0, 0.08, (side, side, 3))
    return np.uint8(255 * np.clip(np.stack(planes, -1) + noise, 0, 1))


def lay_out(folder):
    """Put the files that pages name into a folder."""
    pictures = ("noisy", "small", "moved", "soft", "scratched", "holes", "dark-corners", "photo")
    for name in pictures:
        write(folder / f"{name}.png", Picture(scene()))
    for name in ("coarse", "butterfly"):
        Image.fromarray(scene()).save(folder / f"{name}.jpg", quality=20)
    spot = np.zeros((32, 32), np.uint8)
    spot[8:12, 8:12] = 255
    write(folder / "mask.png", Picture(spot))
    write(folder / "star.png", Picture(np.uint8(255 * np.outer([0.3, 1, 0.3], [0.3, 1, 0.3]))))
    write(folder / "flat.tif", Picture(np.full((32, 32), 0.8, np.float32)))
    for name in ("stars", "scan", "cells"):
        write(folder / f"{name}.tif", Picture(scene()))
    write(folder / "counts.fits", Picture(scene()[..., 0] * np.float32(100)))
    pages = np.stack([scene(seed=k) for k in range(3)])
    tifffile.imwrite(folder / "stack.tif", pages, photometric="rgb")
    for name in ("frames/a.png", "frames/in/b.png", "night-1/c/d.tif", "pictures/e.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, Picture(scene(24)))
    (folder / "demo").mkdir()
    write(folder / "demo" / "noisy.png", Picture(scene()))
    (folder / "pairs").mkdir()
    for kind in ("real", "mean"):
        write(folder / "pairs" / f"one_{kind}.png", Picture(scene(24, seed=len(kind))))
    shutil.copy(ROOT / "examples" / "extend" / "backbone.py", folder)


def interrupted(folder):
    """Leave the folder of a run that was cut by Ctrl-C at its first step."""
    (folder / "restored.png").unlink(missing_ok=True)
    took = Fit._took

    def cut(*given):
        signal.raise_signal(signal.SIGINT)
        return took(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Fit, "_took", cut)
        words = "restore noisy.png -o restored.png --run-dir restored.run --steps 3"
        assert run(shlex.split(f"{words} {TINY} --quiet")) == 130


def carried_out(command, capsys):
    """Carry out a command of the program."""
    text, _, target = command.partition(" > ")
    words = shlex.split(text)[1:]
    if "-o" in words and "--redraw" not in words:
        output = Path(words[words.index("-o") + 1])
        if words[0] != "batch" and not ("ablate" in words and "--image" not in words):
            shutil.rmtree(output, ignore_errors=True) if output.is_dir() else output.unlink(True)
    capsys.readouterr()
    code = run(words)
    said = capsys.readouterr()
    assert code == 0, f"{command}\n{said.err}"
    if target:
        Path(target).write_text(said.out)
    return said.out


WITH_COMMANDS = [
    page for page in PAGES if any(commands_of(text, language) for language, text in blocks_of(page))
]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run(page, tmp_path, monkeypatch, capsys):
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(machine, "MATRIX", 128)  # its rates are not looked at
    monkeypatch.setattr(machine, "COPIED", 2**20)
    monkeypatch.setattr(machine, "REPEATS", 1)
    for language, text in blocks_of(page):
        if language == "python":
            run_python(text, tmp_path)
        for command in commands_of(text, language):
            if any(re.search(pattern, command) for pattern in NOT_RUN):
                continue
            if "--resume" in command:
                interrupted(tmp_path)
            small = smaller(command)
            if small:
                assert small.startswith("guided-dip "), f"{page.name}: nothing runs {command!r}"
                carried_out(small, capsys)
            if "ablate --print" in command:
                Path("mine.yaml").write_text(SMALL_ABLATION)


def test_every_exception_is_one():
    there = [
        command
        for page in PAGES
        for language, text in blocks_of(page)
        for command in commands_of(text, language)
    ]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command) for command in there), f"{pattern} is idle"
    for pattern, _ in SMALLER:
        rest = [command for command in there if command.startswith("guided-dip")]
        assert any(pattern_applies(pattern, command) for command in rest), f"{pattern} is idle"


def pattern_applies(pattern, command):
    """Return whether a pattern finds something in a command, after those before it."""
    for earlier, instead in SMALLER:
        if earlier == pattern:
            return re.search(pattern, command) is not None
        command = re.sub(earlier, instead, command)
    return False


# Python of the pages: the names it takes for given, and what is made smaller.
SMALLER_PYTHON = (
    (r"\brestore\((\w+)", r'restore(\1, steps=2, backbone_options={"width": 4}, threads=1'),
    (r"effort=\"(fast|best)\"\)", r'effort="\1", steps=2, backbone_options={"width": 4})'),
    (r"steps=2(.*)steps=2, backbone_options=\{\"width\": 4\}", r"steps=2\1"),
    (r"\[0:256, 96:352\]", "[0:24, 96:120]"),
)


class Physics:
    noise_model = None

    def A(self, image):  # noqa: N802
        return image * torch.tensor([1.0, 0.0]).repeat(8)

    A_adjoint = A


def given():
    return {
        "noisy": scene(16),
        "y": torch.rand(1, 1, 16, 16).numpy()[0, 0],
        "A": lambda image: image.flip(-1),
    }


def run_python(text, folder):
    if "guided_dip.web.client" in text:
        return  # needs a server: tests/test_web_server.py uses the client as the page does
    names = given()
    if "physics" in text:
        names |= {"y": torch.rand(1, 3, 16, 16), "physics": Physics()}
        text = text.replace('effort="fast"', 'effort="fast", noise="gaussian:5"')
    for written in re.findall(r'\bwrite\("([^"]+)"', text):
        (folder / written).unlink(missing_ok=True)
    if "steps=" not in text:  # else it is small as it stands
        for pattern, instead in SMALLER_PYTHON:
            text = re.sub(pattern, instead, text)
    exec(compile(text, str(folder), "exec"), names)


WITH_PYTHON = [
    page
    for page in PAGES
    if page not in WITH_COMMANDS
    and page.name != "python.md"  # which tests/test_release.py runs as one program
    and any(language == "python" for language, _ in blocks_of(page))
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language, text in blocks_of(page):
        if language == "python":
            run_python(text, tmp_path)


def spoken_of():
    """Return (page, command) of commands within sentences."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^\s*```.*?^\s*```", "", text, flags=re.MULTILINE | re.DOTALL)
        for found in re.findall(r"`((?:guided-dip|python)\s[^`]+)`", text):
            yield page, " ".join(found.split())


@pytest.mark.parametrize(
    ("page", "command"), sorted(set(spoken_of()), key=str), ids=lambda value: str(value)[-40:]
)
def test_commands_within_sentences_are_ones(page, command):
    words = shlex.split(command.replace("\\", ""))
    if words[0] == "python":
        script = ROOT / words[1]
        assert script.exists(), f"{page.name} speaks of {words[1]}"
        source = script.read_text(encoding="utf-8")
        options = [word for word in words[2:] if word.startswith("--")]
        assert all(option in source for option in options), f"{page.name}: {command}"
        return
    parser = typer.main.get_command(app)
    for word in words[1:]:
        found = getattr(parser, "commands", {}).get(word)
        if found is None:
            break
        parser = found
    assert parser.name or words[1:2] == [], f"{page.name}: {command}"
    known = {option for parameter in parser.params for option in parameter.opts}
    known |= {option for parameter in parser.params for option in parameter.secondary_opts}
    for word in words:
        if word.startswith("-") and not re.match(r"-?-?\d", word):
            assert word.partition("=")[0] in known | {"--help"}, f"{page.name}: {command}"
