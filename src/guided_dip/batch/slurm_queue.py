"""Where jobs are sent to through submitit: Slurm, or processes of this machine in its stead."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any, Protocol

from guided_dip.batch.slurm_job import Task, run_task
from guided_dip.batch.slurm_settings import Settings
from guided_dip.errors import InputError
from guided_dip.workers import deaf_to_interrupts

# What a job that is no more is called by squeue; whatever else it is called, it may yet go on.
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
JOBS = 100  # at a time
COMMAND = 60.0  # most seconds that one of Slurm's commands takes
PATIENCE = 3.0  # seconds that a process here has to clean up
YEAR = 366 * 24 * 60  # minutes


class RefusedError(Exception):
    """Jobs were not taken: the message says why."""


class Queue(Protocol):
    """Takes jobs.

    Attributes
    ----------
    jobs
        How many there should be at a time, if nobody says.
    look_every
        Seconds between looks at what jobs have said.
    ask_every, ask_soon
        Seconds between questions which have ended, usually and when all have been told to.
    grace
        Seconds after its end until all that a job has said can be read.
    """

    jobs: int
    look_every: float
    ask_every: float
    ask_soon: float
    grace: float

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Send jobs, as one array where there are such, and return their names.

        Parameters
        ----------
        tasks
            One for each job.

        Raises
        ------
        RefusedError
            If they are not taken.
        """

    def ended(self, jobs: Iterable[str]) -> dict[str, str]:
        """Return the states of those jobs that are no more; may be slow to notice.

        Parameters
        ----------
        jobs
            Names.
        """

    def ask_to_end(self, jobs: Iterable[str]) -> None:
        """Have jobs end soon, with their checkpoints; may be called again.

        Parameters
        ----------
        jobs
            Names.
        """

    def close(self, jobs: Mapping[str, int | None]) -> None:
        """End jobs, whatever they are at.

        Parameters
        ----------
        jobs
            Those that have not ended, by name, and their processes as far as they are known.
        """

    def last_words(self, job: str) -> str:
        """Return what a job's error log tells; empty if there is none.

        Parameters
        ----------
        job
            Name.
        """

    def tidy(self, job: str) -> None:
        """Remove the files of a job that has said all it had to say.

        Parameters
        ----------
        job
            Name.
        """


def make_queue(settings: Settings, folder: Path, *, threads: int) -> Queue:
    """Return where jobs go.

    Parameters
    ----------
    settings
        What is asked of Slurm.
    folder
        For the files of jobs, on a file system that all machines share.
    threads
        Of a job.

    Raises
    ------
    InputError
        If submitit is not installed, there is no Slurm, or it cannot be asked for that.
    """
    try:
        import submitit
    except ImportError:
        raise InputError(
            "--executor slurm needs submitit: try pip install 'guided-dip[slurm]'"
        ) from None
    if settings.cluster == "local":
        return _LocalQueue(submitit, settings.parameters, folder, threads)
    return _SlurmQueue(submitit, settings.parameters, folder)


class _SlurmQueue:
    """Jobs of Slurm."""

    jobs = JOBS
    look_every = 1.0
    ask_every = 30.0  # for what has died: a job that ends well says so itself
    ask_soon = 5.0
    grace = 5.0

    def __init__(self, submitit: Any, parameters: Mapping[str, Any], folder: Path) -> None:
        self._submitit = submitit
        try:
            self._executor = submitit.SlurmExecutor(folder)
        except RuntimeError:
            raise InputError(
                "--executor slurm: there is no Slurm here (no srun): try it where there is, or "
                "--slurm cluster=local on this machine"
            ) from None
        self._executor.update_parameters(**parameters, array_parallelism=100_000)  # we keep count
        self._files = _Files()

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Send jobs; as `Queue.submit`."""
        # What submitit prints is raised as well. A batch may itself be a job, whose variables
        # sbatch would take for options.
        with (
            deaf_to_interrupts(),
            redirect_stderr(io.StringIO()),
            self._submitit.helpers.clean_env(),
        ):
            return self._files.of(_submitted(lambda: self._executor.map_array(run_task, tasks)))

    def ended(self, jobs: Iterable[str]) -> dict[str, str]:
        """Return what has ended; as `Queue.ended`.

        Notes
        -----
        By squeue, not by sacct as submitit does: not every cluster keeps accounts. It forgets a
        job some minutes after its end.
        """
        query = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
        listed = _called([*query, f"--user={os.getuid()}"])
        if listed is None:
            return {}
        states = dict(line.split(maxsplit=1) for line in listed.splitlines() if " " in line)
        now = {job: states.get(job, "UNKNOWN").strip() for job in jobs}
        return {job: state for job, state in now.items() if state in (*ENDED, "UNKNOWN")}

    def ask_to_end(self, jobs: Iterable[str]) -> None:
        """Have jobs end; as `Queue.ask_to_end`.

        Notes
        -----
        A plain scancel would kill them half a minute later, which may be before they have written
        their checkpoints.
        """
        for names in _parted(jobs):
            _called(["scancel", "--quiet", "--state=PENDING", *names])
            _called(["scancel", "--quiet", "--signal=TERM", *names])

    def close(self, jobs: Mapping[str, int | None]) -> None:
        """End jobs; as `Queue.close`."""
        for names in _parted(jobs):
            _called(["scancel", "--quiet", *names])

    def last_words(self, job: str) -> str:
        """Return what a job's error log tells; as `Queue.last_words`."""
        return self._files.last_words(job)

    def tidy(self, job: str) -> None:
        """Remove the files of a job; as `Queue.tidy`."""
        self._files.remove(job)


class _LocalQueue:
    """Processes of this machine, each with one of submitit's to look after it."""

    look_every = 0.2
    ask_every = ask_soon = 0.0
    grace = 0.0

    def __init__(
        self, submitit: Any, parameters: Mapping[str, Any], folder: Path, threads: int
    ) -> None:
        from guided_dip.workers import cores

        self.jobs = max(1, cores() // threads)
        self._submitit = submitit
        self._executor = submitit.LocalExecutor(folder)
        self._executor.update_parameters(
            timeout_min=parameters["time"] or YEAR,
            gpus_per_node=parameters.get("gpus_per_node", 0),
            signal_delay_s=parameters.get("signal_delay_s", 30),
        )
        self._files = _Files()
        self._jobs: dict[str, Any] = {}

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Send jobs; as `Queue.submit`."""
        with deaf_to_interrupts(), self._submitit.helpers.clean_env():
            jobs = _submitted(lambda: self._executor.map_array(run_task, tasks))
        self._jobs |= {job.job_id: job for job in jobs}
        return self._files.of(jobs)

    def ended(self, jobs: Iterable[str]) -> dict[str, str]:
        """Return what has ended; as `Queue.ended`."""
        ended = {name: job.state for name, job in self._jobs.items() if job.done()}
        for name in ended:
            del self._jobs[name]
        # A job that has said to be over may be asked about no more: it is let go of all the same.
        return {name: ended.get(name, "UNKNOWN") for name in jobs if name not in self._jobs}

    def ask_to_end(self, jobs: Iterable[str]) -> None:
        """Have jobs end; as `Queue.ask_to_end`.

        Notes
        -----
        Not by submitit's own cancelling, which leaves them one second.
        """
        for name in jobs:
            if name in self._jobs and not self._jobs[name].done():
                os.kill(int(name), signal.SIGTERM)  # it passes that on

    def close(self, jobs: Mapping[str, int | None]) -> None:
        """End jobs; as `Queue.close`."""
        self.ask_to_end(list(self._jobs))
        self._await(PATIENCE)
        for name in self._jobs:
            process = jobs.get(name)
            if process is not None:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._await(PATIENCE)
        for name in self._jobs:
            os.kill(int(name), signal.SIGKILL)
        self._await(PATIENCE)

    def _await(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.ended(())
        while self._jobs and time.monotonic() < until:
            time.sleep(0.05)
            self.ended(())

    def last_words(self, job: str) -> str:
        """Return what a job's error log tells; as `Queue.last_words`."""
        return self._files.last_words(job)

    def tidy(self, job: str) -> None:
        """Remove the files of a job; as `Queue.tidy`."""
        self._files.remove(job)


class _Files:
    """The files that submitit keeps for each job."""

    def __init__(self) -> None:
        self._paths: dict[str, Any] = {}

    def of(self, jobs: Iterable[Any]) -> list[str]:
        """Take note of jobs, and return their names."""
        new = {job.job_id: job.paths for job in jobs}
        self._paths |= new
        return list(new)

    def last_words(self, job: str) -> str:
        try:
            text = self._paths[job].stderr.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return telling_line(text)

    def remove(self, job: str) -> None:
        paths = self._paths.pop(job)
        for path in (paths.submitted_pickle, paths.result_pickle, paths.stdout, paths.stderr):
            path.unlink(missing_ok=True)


def telling_line(text: str) -> str:
    r"""Return the line of an error log that tells most of why a job ended: the last of its own.

    Parameters
    ----------
    text
        The log, in which srun remarks upon what it had started.

    Examples
    --------
    >>> telling_line("MemoryError: 8 GB\nsrun: error: n1: task 0: Exited with exit code 1")
    'MemoryError: 8 GB'
    >>> telling_line("srun: error: n1: task 0: Killed\nsrun: Force Terminated StepId=2.0")
    'srun: error: n1: task 0: Killed'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("srun: ")]
    return next(iter(own[-1:] or lines), "")


def _submitted(submit: Callable[[], list[Any]]) -> list[Any]:
    try:
        return submit()
    except (RuntimeError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines]
        raise RefusedError("; ".join(said) or type(error).__name__) from error


def _called(command: Sequence[str]) -> str | None:
    """Return what a command of Slurm's prints; None if it fails, as it does for a busy Slurm."""
    try:
        with deaf_to_interrupts():
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout


def _parted(jobs: Iterable[str]) -> Iterator[list[str]]:
    """Part names into as many as a command takes."""
    names = list(jobs)
    for begin in range(0, len(names), 500):
        yield names[begin : begin + 500]
