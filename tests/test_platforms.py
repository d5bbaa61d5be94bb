"""What other systems lack does not break an import, as far as that can be told on this one."""

import subprocess
import sys

POSIX = """
import importlib, os, pkgutil, signal, sys
import torch, numpy, scipy.ndimage, skimage.restoration, matplotlib.pyplot, typer, rich.progress
import multiprocessing.connection, multiprocessing.popen_spawn_posix, imagecodecs, tifffile, yaml
import PIL.Image, filelock, pydantic, skimage.metrics, concurrent.futures, pywt, asyncio, shutil

for extra in ("gradio", "fastapi", "uvicorn", "ray", "submitit", "astropy.io.fits"):
    try:
        importlib.import_module(extra)
    except ImportError:
        pass

# What the system has and Windows has not, after the libraries have looked for their own.
for name in ("fcntl", "grp", "pwd", "resource", "termios", "posix"):
    sys.modules[name] = None
for name in dir(signal):
    if name.startswith("SIG") and name not in (
        "SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN",
    ):
        delattr(signal, name)
for name in ("pthread_sigmask", "pthread_kill", "sigwait", "alarm", "setitimer", "pause"):
    delattr(signal, name)
for name in (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "killpg", "setsid", "sched_getaffinity",
    "sysconf", "statvfs", "uname", "nice", "chown", "mkfifo", "getloadavg", "wait3",
):
    if hasattr(os, name):
        delattr(os, name)
sys.platform = PLATFORM
"""
IMPORT = """
import guided_dip
failed = []
for module in pkgutil.walk_packages(guided_dip.__path__, "guided_dip."):
    if module.name in WITHOUT:
        continue
    try:
        importlib.import_module(module.name)
    except Exception as error:
        failed.append(f"{module.name}: {type(error).__name__}: {error}")
print(*failed, sep="\\n")
"""
USE = """
from guided_dip.memory import memory_now, peak_memory, total_memory
from guided_dip.workers import cores, deaf_to_interrupts
peak_memory(), memory_now(), total_memory("cpu")
assert cores() >= 1
with deaf_to_interrupts():
    pass
from pathlib import Path
from guided_dip.cli.app import run
from PIL import Image
Image.effect_noise((16, 24), 25).save("a.png")
settings = ["--noise", "gaussian:25", "--steps", "2", "--device", "cpu", "--quiet"]
code = run(["restore", "a.png", "-o", "b.png", "--run-dir", "run", *settings])
assert code == 0 and Path("b.png").is_file() and Path("run/summary.json").is_file()
"""
# napari and Ray are programs of their own, and extras; the process is a program.
WITHOUT = "('guided_dip.__main__', 'guided_dip.napari.panel', 'guided_dip.napari.layers')"


def said(platform, code, folder):
    script = POSIX.replace("PLATFORM", repr(platform)) + code.replace("WITHOUT", WITHOUT)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip()


def test_every_module_is_imported_without_what_only_posix_has(tmp_path):
    assert said("win32", IMPORT, tmp_path) == ""


def test_a_picture_is_restored_without_it(tmp_path):
    assert said("darwin", USE, tmp_path) == ""
