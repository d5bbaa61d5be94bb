"""Who sees how a job goes: by default nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guided_dip.guidance import Plan
    from guided_dip.jobs.going import Run
    from guided_dip.result import Record


class Watcher:
    """Is told how a job goes, and tells nobody; others are made from it.

    Attributes
    ----------
    late
        The signal that asked for the end too late to end the last fit, and is for what comes next.
    """

    late: int | None = None

    def begins(self, run: Run) -> None:
        """Note that all is checked and read, and that computing begins.

        Parameters
        ----------
        run
            What is going to be computed.
        """

    def remark(self, text: str) -> None:
        """Note something of interest to the user.

        Parameters
        ----------
        text
            One line.
        """

    def previewed(self) -> None:
        """Note that there is a new picture of the current estimate in the run folder's draft."""

    def enough(self) -> bool:
        """Tell whether the run is to end with this step, its current estimate being the result."""
        return False

    def progress(self, plan: Plan) -> AbstractContextManager[Callable[[Record], None]]:
        """Note how a fit goes.

        Parameters
        ----------
        plan
            What it is going to do.

        Returns
        -------
        context manager of Callable
            To be called with each record.
        """
        del plan
        return nullcontext(_nothing)


def _nothing(_: Record) -> None:
    pass


SILENT = Watcher()
