"""A server of jobs that restore nothing, as a process: ``python web_fake_server.py DATA``.

With ``--watch FILE``, whatever it opens to write outside of DATA is written down there.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from guided_dip.web.limits import Limits
from guided_dip.web.serve import Options, serve
from web_fakes import FakeJobs


class Managed(FakeJobs):
    def __init__(self, folder: Path, limits: Limits, *, runs: bool) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, limits, runs=runs)

    def __enter__(self) -> Managed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def watch(log: Path, data: Path) -> None:
    """Write down what is opened to be written outside of a folder, links followed."""
    own = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    inside = os.path.realpath(data)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (mode and set(str(mode)) & set("wax+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if not writes or isinstance(path, int):
                return
        elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir"):
            path = arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0]
        else:
            return
        where = os.path.realpath(os.fsdecode(path))
        # By a folder's number (dir_fd) names are given without it: in rmtree, of what is in DATA.
        relative = not Path(os.fsdecode(path)).is_absolute() and event in ("os.remove", "os.rmdir")
        if (
            not where.startswith((inside + os.sep, "/dev/null"))
            and where != inside
            and not relative
        ):
            os.write(own, f"{event} {where}\n".encode(errors="backslashreplace"))

    sys.addaudithook(look)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--watch", type=Path)
    parser.add_argument("--upload", type=int, default=2**20)
    parser.add_argument("--pixels", type=int, default=2**20)
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--token", action="append", default=[])
    parser.add_argument("--runs", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    asked = parser.parse_args()
    limits = replace(Limits(), upload=asked.upload, pixels=asked.pixels, waiting=asked.waiting)
    options = Options(
        asked.data, host=asked.host, port=0, tokens=tuple(asked.token), limits=limits, page=False
    )
    if asked.watch is not None:
        sys.dont_write_bytecode = True
        watch(asked.watch, asked.data)
    serve(
        options,
        lambda address: print(address, flush=True),
        lambda options: Managed(options.data, options.limits, runs=asked.runs),
    )


if __name__ == "__main__":
    main()
