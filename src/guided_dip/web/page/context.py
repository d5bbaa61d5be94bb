"""What the tabs of the page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guided_dip.errors import InputError
from guided_dip.web.jobs import NewJob, QueueFullError, Role, Upload
from guided_dip.web.models import JobSettings, JobState
from guided_dip.web.page import form
from guided_dip.web.page.show import text
from guided_dip.web.page.watching import Watcher
from guided_dip.web.problems import ProblemError, problem_of
from guided_dip.words import duration

if TYPE_CHECKING:
    import gradio as gr

    from guided_dip.web.jobs import Jobs
    from guided_dip.web.page.routes import Owner
    from guided_dip.web.page.uploads import Uploads


class ToldError(Exception):
    """What the user is told instead of getting what was asked for."""


@dataclass(frozen=True)
class Context:
    """What the tabs share.

    Attributes
    ----------
    jobs, uploads, owner_of
        As for `make_page`.
    watcher
        Follows jobs.
    """

    jobs: Jobs
    uploads: Uploads
    owner_of: Owner
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watcher", Watcher(self.jobs))

    def owner(self, request: gr.Request) -> str:
        """Return whose a request of Gradio's is."""
        return self.owner_of(request.request)

    def begin(
        self, kept: dict[Role, Any], settings: JobSettings, owner: str, drawn: Any = None
    ) -> JobState:
        """Start a job with uploads.

        Parameters
        ----------
        kept
            By what they are: what `Drop` has as its value; empty ones are left out.
        settings
            What is asked for.
        owner
            Whose it is.
        drawn
            A mask, as `Paint` has it; used where none was uploaded.

        Raises
        ------
        ToldError
            If it is not taken: what to tell its user.
        """
        files: dict[Role, Upload] = {}
        try:
            if not kept.get("image"):
                raise InputError("there is no picture yet; drop one, or take an example")
            for role, value in kept.items():
                if value:
                    files[role] = self.uploads.copy(token_of(value), owner)
            mask = form.drawn_mask(drawn, self.jobs.limits.upload)
            if mask is not None and "mask" not in files:
                files["mask"] = self._drawn(mask, owner)
            return self.jobs.begin(NewJob(files, settings), owner)
        except QueueFullError as error:
            _remove(files)
            raise ToldError(
                f"{str(error).rstrip('.')}. Try again in {duration(error.retry_after)}."
            ) from None
        except (InputError, ProblemError) as error:
            _remove(files)
            raise ToldError(problem_of(error).text) from None

    def _drawn(self, data: bytes, owner: str) -> Upload:
        with self.uploads.arriving() as path:
            path.write_bytes(data)
            return self.uploads.copy(self.uploads.keep(path, "mask.png", owner).token, owner)


def _remove(files: dict[Role, Upload]) -> None:
    for upload in files.values():
        upload.path.unlink(missing_ok=True)


def token_of(value: Any) -> str:
    """Return the token in what a browser says it has uploaded."""
    return str(value.get("token", "")) if isinstance(value, dict) else ""


def alert(told: str) -> str:
    """Return a message to a user as HTML; an empty place for none."""
    told = told[:1].upper() + told[1:]
    return f'<p class="gd-error" role="alert">{text(told) if told else ""}</p>'
