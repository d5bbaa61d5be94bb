"""``guided-dip web``: a page on this machine, and an HTTP service for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guided_dip.cli import options
from guided_dip.cli.console import give, notes, tell
from guided_dip.errors import InputError

if TYPE_CHECKING:
    from guided_dip.web.limits import Limits

DATA = Path("guided-dip-web")
DAY = 24 * 3600.0
EXTRA = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpx")
TOKEN = "GUIDED_DIP_TOKEN"  # in the environment, where no list of processes shows it


def web(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Where jobs are kept; it is made.")
    ] = DATA,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; elsewhere needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0 for one that is free.")
    ] = 7860,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN",
            envvar=TOKEN,
            help="What users need to know; of several, each sees their own jobs only.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tokens, one a line.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name of this server, as of a reverse proxy."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Jobs at a time.  [default: one a GPU, else one a core]"
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Of all jobs together, such as 8GiB.  [default: half]"),
    ] = None,
    max_upload: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Most of a request.  [default: 64MiB]"),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Most of a picture, or result.  [default: 2^24]"),
    ] = None,
    max_queue: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Most jobs that are not ended.  [default: 64]"),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=1, help="Most that a job may compute.  [default: 3600]"),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0, help="How long ended jobs are kept.  [default: 7]"),
    ] = None,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="Only the HTTP service, without the page.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Open a page where pictures are dropped and restored, and an HTTP service.

    Prints its address, and runs until Ctrl-C; jobs that are not done go on when it is started
    again with the same DIR.
    """
    check_extra()
    from guided_dip.web.serve import Options, serve

    limits = _limits(max_upload, max_pixels, max_queue, max_seconds, keep)
    asked = Options(
        data=data,
        host=host,
        port=port,
        tokens=(*(token or ()), *_tokens(token_file)),
        names=tuple(allow_host or ()),
        limits=limits,
        workers=workers,
        memory=_bytes(max_memory, "--max-memory"),
        page=not no_page,
    )

    def begun(address: str) -> None:
        give(address)
        if not quiet:
            tell("Ctrl-C ends it")
        if show:
            _open(address)

    with notes(quiet=quiet):
        serve(asked, begun)


def check_extra() -> None:
    """Refuse to go on where what the service needs is not installed.

    Raises
    ------
    InputError
        If so.
    """
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the web service needs {', '.join(missing)}; try pip install 'guided-dip[web]'"
        )


def _limits(
    upload: str | None,
    pixels: int | None,
    queue: int | None,
    seconds: float | None,
    keep: float | None,
) -> Limits:
    from dataclasses import replace

    from guided_dip.web.limits import Limits

    usual = Limits()
    waiting = queue or usual.waiting
    return replace(
        usual,
        upload=_bytes(upload, "--max-upload") or usual.upload,
        pixels=pixels or usual.pixels,
        waiting=waiting,
        waiting_each=min(waiting, usual.waiting_each),
        seconds=seconds or usual.seconds,
        keep=usual.keep if keep is None else keep * DAY,
    )


def _bytes(amount: str | None, option: str) -> int | None:
    from guided_dip.sizing import parse_bytes

    return None if amount is None else parse_bytes(amount, option)


def _tokens(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(
            f"{path}: cannot be read ({reason}); try a file of one token a line"
        ) from None
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens:
        raise InputError(f"{path}: has no token; try one a line")
    return tokens


def _open(address: str) -> None:
    import threading
    import webbrowser

    # Some browsers are waited for until they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
