"""Check a wheel: what it holds, and that it works in an environment of its own, off the checkout.

python .ci/check_wheel.py dist/*.whl

The environment is empty but for the wheel; what the wheel depends on is looked up in the one that
this runs in, as PyTorch would take minutes to install anew.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = (16, 24)


def check_contents(wheel: Path) -> None:
    """Compare what a wheel holds with the sources."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "guided_dip").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    package = {name for name in held if name.startswith("guided_dip/")}
    assert package == sources, f"wheel and sources differ: {sorted(package ^ sources)}"
    rest = {name.split("/", 1)[1] for name in held - package}
    pages = {"data/share/man/man1/guided-dip.1"}
    metadata = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert rest == pages | metadata, f"stray or missing: {sorted(rest ^ (pages | metadata))}"


def environment(place: Path, wheel: Path) -> Path:
    """Make an environment that holds a wheel, and return its folder of programs."""
    venv.create(place, with_pip=False, symlinks=os.name != "nt")
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = Path(found.stdout.strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    subprocess.run([*pip, "check"], check=True)
    return programs


def said(programs: Path, folder: Path, *arguments: str) -> str:
    """Run a program of the environment, off the checkout, and return what it says."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [programs / arguments[0], *arguments[1:]],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def check_program(wheel: Path) -> None:
    """Install a wheel and restore a tiny picture with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = environment(folder / "environment", wheel)
        place = said(
            programs, folder, "python", "-c", "import guided_dip; print(guided_dip.__file__)"
        )
        assert Path(place).is_relative_to(folder.resolve()), place
        version = wheel.name.split("-")[1]
        told = said(programs, folder, "guided-dip", "--version")
        assert told == f"guided-dip {version}", f"{told} is not {version}"
        make = f"from PIL import Image; Image.effect_noise({TINY}, 25).save('a.png')"
        said(programs, folder, "python", "-c", make)
        settings = ["--noise", "gaussian:25", "--steps", "2", "--device", "cpu"]
        said(programs, folder, "guided-dip", "restore", "a.png", "-o", "b.png", *settings)
        assert (folder / "b.png").is_file()
        said(programs, folder, "guided-dip", "ablate", "--print")  # needs what is no code
        said(programs, folder, "guided-dip", "info")
        if importlib.util.find_spec("npe2"):  # comes with napari, which not everyone has
            said(programs, folder, "python", "-m", "npe2", "validate", "guided-dip")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        check_contents(Path(argument).resolve())
        check_program(Path(argument).resolve())
