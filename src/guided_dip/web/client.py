"""The service, from Python.

>>> from guided_dip.web.client import Client                                # doctest: +SKIP
>>> with Client("http://127.0.0.1:7860") as client:                         # doctest: +SKIP
...     job = client.submit("noisy.tif", effort="fast")
...     job.wait(lambda state: print(f"{state.progress.share:.0%}"))
...     job.result("restored.tif")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from guided_dip.files import check_place, writing_whole
from guided_dip.web.models import ENDED, JobState

StrPath = str | os.PathLike[str]
URL = "http://127.0.0.1:7860"
TIMEOUT = 60.0  # seconds without a byte; a stream has a sign of life every fifteen
PATIENCE = 60.0  # seconds that a server may be away while a job is waited for
FILES = ("mask", "gain", "clean", "config")


class ClientError(Exception):
    """The server did not do what it was asked for, or is not there; the text says why.

    Parameters
    ----------
    text
        One line.
    status
        Of HTTP; None if there was no answer, or the job failed.
    retry_after
        Seconds after which to try again; None if the server has not said.
    """

    def __init__(
        self, text: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


class Client:
    """Asks a server; a context manager that closes its connections.

    Parameters
    ----------
    url
        Of the server.
    token
        Where the server has tokens.
    timeout
        Seconds without a byte that are too many.
    """

    def __init__(
        self, url: str = URL, token: str | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # What the environment says of proxies is for the internet.
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        image: StrPath,
        *,
        mask: StrPath | None = None,
        kernel: StrPath | None = None,
        gain: StrPath | None = None,
        clean: StrPath | None = None,
        config: StrPath | None = None,
        settings: Mapping[str, Any] | None = None,
        patience: float = 0.0,
        **options: Any,
    ) -> Job:
        """Send a picture, and what is to be done with it.

        Parameters
        ----------
        image
            The picture's file.
        mask, gain, clean
            Files of the same size that go with it.
        kernel
            A file if it is a path to one, else words such as ``gaussian:2.0``.
        config
            A YAML file of settings.
        settings
            Any settings, as ``--set`` has them.
        patience
            Seconds to try again for where the queue is full.
        **options
            Fields of `JobSettings`, such as ``task``, ``effort``, ``noise`` and ``seed``.

        Raises
        ------
        ClientError
            If the server does not take it.
        OSError
            If a file cannot be read.
        """
        import json

        files = {"image": image, "mask": mask, "gain": gain, "clean": clean, "config": config}
        fields = {key: _text(value) for key, value in options.items() if value is not None}
        if kernel is not None:
            if Path(kernel).is_file():
                files["kernel"] = kernel
            else:
                fields["kernel"] = os.fspath(kernel)
        if settings is not None:
            fields["settings"] = json.dumps(dict(settings))
        until = time.monotonic() + patience
        while True:
            try:
                return self._submitted(files, fields)
            except ClientError as error:
                wait = error.retry_after or 5.0
                if error.status not in (429, 503) or time.monotonic() + wait > until:
                    raise
                time.sleep(wait)

    def job(self, id: str) -> Job:
        """Return a job by its id."""
        return Job(self, self._state("GET", f"/v1/jobs/{id}"))

    def jobs(self, limit: int = 100) -> list[Job]:
        """Return the jobs there are, the newest first."""
        found = self._call("GET", "/v1/jobs", params={"limit": limit}).json()
        return [Job(self, JobState.model_validate(state)) for state in found]

    def limits(self) -> dict[str, Any]:
        """Return what anyone may ask for."""
        found: dict[str, Any] = self._call("GET", "/v1/limits").json()
        return found

    def _submitted(self, files: Mapping[str, StrPath | None], fields: dict[str, str]) -> Job:
        with ExitStack() as stack:
            given = {
                role: (Path(path).name, stack.enter_context(Path(path).open("rb")))
                for role, path in files.items()
                if path is not None
            }
            return Job(self, self._state("POST", "/v1/jobs", files=given, data=fields))

    def _state(self, method: str, path: str, **options: Any) -> JobState:
        return JobState.model_validate(self._call(method, path, **options).json())

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _told():
            response = self._http.request(method, path, **options)
        _check(response)
        return response

    @contextmanager
    def _streamed(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        with _told(), self._http.stream("GET", path, **options) as response:
            if response.is_error:
                response.read()
            _check(response)
            yield response


class Job:
    """A job on a server.

    Parameters
    ----------
    client
        Which asks for it.
    state
        As it was last.

    Attributes
    ----------
    state
        As it was last; `refresh` and `wait` renew it.
    """

    def __init__(self, client: Client, state: JobState) -> None:
        self._client = client
        self.state = state

    @property
    def id(self) -> str:
        """Of the job."""
        return self.state.id

    def refresh(self) -> JobState:
        """Return the job as it is now."""
        self.state = self._client._state("GET", self._path())
        return self.state

    def events(self) -> Iterator[JobState]:
        """Yield the job's changes as they happen, until it has ended.

        Raises
        ------
        ClientError
            If the server goes away; `wait` goes on then.
        """
        return (state for state in self._heard() if state is not None)

    def _heard(self) -> Iterator[JobState | None]:
        """Yield changes, and None for each sign of life between them."""
        params = {"after": self.state.version}
        with self._client._streamed(self._path("/events"), params=params) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    self.state = JobState.model_validate_json(line[5:])
                    yield self.state
                elif line.startswith(":"):
                    yield None

    def wait(
        self,
        on_progress: Callable[[JobState], None] | None = None,
        *,
        timeout: float | None = None,
        patience: float = PATIENCE,
    ) -> JobState:
        """Wait until the job is done, also while the server is started anew.

        Parameters
        ----------
        on_progress
            Called with each state of the job, what it is now first.
        timeout
            Seconds to wait, to about fifteen; None for as long as it takes.
        patience
            Seconds that the server may be away.

        Raises
        ------
        ClientError
            If the job failed or was cancelled, the server is away for too long, or the time is
            over.
        """
        began = heard = time.monotonic()
        if on_progress is not None:
            on_progress(self.state)
        while self.state.status not in ENDED:
            try:
                for state in self._heard():
                    heard = time.monotonic()
                    if on_progress is not None and state is not None:
                        on_progress(state)
                    _check_time(began, timeout)
                self.refresh()  # a stream may end before the job does: the server is leaving
                heard = time.monotonic()
            except ClientError as error:
                if error.status not in (None, 429, 503) or time.monotonic() - heard > patience:
                    raise
            _check_time(began, timeout)
            if self.state.status not in ENDED:
                time.sleep(0.5)
        if self.state.status != "done":
            raise ClientError(self.state.reason or f"the job was {self.state.status}")
        return self.state

    def result(self, path: StrPath, *, overwrite: bool = False) -> Path:
        """Save the restoration, whole or not at all.

        Parameters
        ----------
        path
            Its file.
        overwrite
            Replace a file that is there.

        Raises
        ------
        ClientError
            If there is none, or not yet.
        InputError, RunError
            If the file cannot be written.
        """
        return self._save("/result", Path(path), overwrite)

    def run(self, path: StrPath, *, overwrite: bool = False) -> Path:
        """Save the run's folder as a zip; otherwise as `result`."""
        return self._save("/run.zip", Path(path), overwrite)

    def preview(self) -> bytes:
        """Return the current estimate of a job that runs, as PNG."""
        return self._client._call("GET", self._path("/preview")).content

    def stop(self) -> JobState:
        """End the job soon, with its current estimate as the result."""
        self.state = self._client._state("POST", self._path("/stop"))
        return self.state

    def cancel(self) -> JobState:
        """End the job at once, without a result."""
        self.state = self._client._state("POST", self._path("/cancel"))
        return self.state

    def remove(self) -> None:
        """Remove all that there is of the job."""
        self._client._call("DELETE", self._path())

    def _path(self, rest: str = "") -> str:
        return f"/v1/jobs/{self.id}{rest}"

    def _save(self, rest: str, path: Path, overwrite: bool) -> Path:
        check_place(path, overwrite=overwrite)
        with self._client._streamed(self._path(rest)) as response, writing_whole(path) as file:
            for block in response.iter_bytes():
                file.write(block)
        return path


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _check_time(began: float, timeout: float | None) -> None:
    if timeout is not None and time.monotonic() - began > timeout:
        raise ClientError(f"the job did not end within {timeout:g} s")


@contextmanager
def _told() -> Iterator[None]:
    """Say of what goes wrong on the way what it was."""
    try:
        yield
    except httpx.TimeoutException:
        raise ClientError("the server did not answer in time; try again later") from None
    except httpx.HTTPError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClientError(f"the server cannot be reached ({reason}); is it running?") from error
    except httpx.InvalidURL as error:
        raise ClientError(f"that is no address of a server ({error})") from None


def _check(response: httpx.Response) -> None:
    """Raise what the server has to say against a request."""
    if not response.is_error and not response.is_redirect:
        return
    try:
        text = str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        text = f"the server answered {response.status_code} {response.reason_phrase}"
    after = response.headers.get("retry-after", "")
    raise ClientError(text, response.status_code, float(after) if after.isdecimal() else None)
