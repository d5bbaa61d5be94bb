"""What is asked of Slurm, from ``--slurm key=value`` to what submitit takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guided_dip.errors import InputError, choices

CLUSTERS = ("slurm", "local")
# What the names of others are here; Slurm's own are taken as they are, with - or _.
ALIASES = {
    "timeout_min": "time",
    "mem_gb": "mem",
    "name": "job_name",
    "J": "job_name",
    "p": "partition",
    "A": "account",
    "q": "qos",
    "t": "time",
    "C": "constraint",
}
NUMBERS = ("cpus_per_task", "cpus_per_gpu", "gpus_per_node", "gpus_per_task", "signal_delay_s")
COMMANDS = ("setup", "teardown", "srun_args")
TEXTS = (
    "job_name",
    "partition",
    "qos",
    "mem",
    "mem_per_gpu",
    "mem_per_cpu",
    "comment",
    "constraint",
    "exclude",
    "account",
    "gres",
    "mail_type",
    "mail_user",
    "nodelist",
    "dependency",
    "exclusive",
    "wckey",
)
# A job is one process, started and ended by the batch: other values would have pictures restored
# twice, or never noticed.
OURS = (
    "array",
    "array_parallelism",
    "error",
    "map_count",
    "no_requeue",
    "nodes",
    "ntasks",
    "ntasks_per_node",
    "num_gpus",
    "open_mode",
    "output",
    "requeue",
    "signal",
    "stderr_to_stdout",
    "tasks_per_node",
    "use_srun",
    "wait",
)


@dataclass(frozen=True)
class Settings:
    """What is asked of Slurm.

    Attributes
    ----------
    cluster
        ``slurm``; or ``local``: processes of this machine, to try things out where no Slurm is.
    parameters
        As submitit's executor for Slurm takes them.
    """

    cluster: str
    parameters: Mapping[str, Any]


def settings_of(asked: Mapping[str, str], *, threads: int, gpus: float) -> Settings:
    """Return what is asked of Slurm.

    Parameters
    ----------
    asked
        Keys and values of ``--slurm``; those that are not known go to sbatch as they are.
    threads
        Of a job.
    gpus
        Of a job.

    Raises
    ------
    InputError
        If a value is none, or the key is for the batch to say.
    """
    if gpus != int(gpus):
        raise InputError(f"--gpus {gpus:g}: a Slurm job has whole GPUs; try --gpus 1")
    cluster = asked.get("cluster", "slurm")
    if cluster not in CLUSTERS:
        raise InputError(f"--slurm cluster={cluster}: is none: {choices(cluster, CLUSTERS)}")
    # No time: that of the partition, instead of submitit's five minutes. No second start by Slurm:
    # the batch gives out again what has been cut, maybe to another job.
    parameters: dict[str, Any] = {"job_name": "guided-dip", "time": None, "wckey": None}
    parameters["cpus_per_task"] = threads
    more: dict[str, Any] = {"no-requeue": True}
    if gpus:
        parameters["gpus_per_node"] = int(gpus)
    for key, value in asked.items():
        name = key.lstrip("-").replace("-", "_")
        name = ALIASES.get(name, name)
        if name in OURS:
            raise InputError(f"--slurm {key}: is for the batch to say; leave it out")
        if name in (*NUMBERS, *COMMANDS, *TEXTS, "time"):
            parameters[name] = _value(key, name, value)
        elif name != "cluster":
            more[name.replace("_", "-")] = _flag(value)
    # Since Slurm 22.05 a step has one core unless it is told how many as well.
    cores = f"--cpus-per-task={parameters['cpus_per_task']}"
    parameters["srun_args"] = [cores, *parameters.get("srun_args", [])]
    # Else an environment variable could have submitit ask for a signal that no job listens for.
    more["signal"] = f"USR2@{parameters.get('signal_delay_s', 90)}"
    return Settings(cluster, parameters | {"additional_parameters": more})


def _value(key: str, name: str, value: str) -> Any:
    if name == "time":
        return _minutes(key, value)
    if name in NUMBERS:
        if not (value.isascii() and value.isdigit()):
            raise InputError(f"--slurm {key}={value}: is no whole number; try {key}=1")
        return int(value)
    if name in COMMANDS:
        return value.split() if name == "srun_args" else [value]
    if name == "mem" and key.endswith("mem_gb"):
        return f"{value}G"
    return _flag(value)


def _flag(value: str) -> str | bool:
    """Return True for an option that has no value."""
    return True if value.lower() in ("", "true", "yes") else value


def _minutes(key: str, text: str) -> int:
    """Read a time as Slurm has it: minutes, m:s, h:m:s, d-h, d-h:m or d-h:m:s."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    try:
        numbers = [int(part) for part in parts]
        seconds = 86400 * int(days) if dash else 0
    except ValueError:
        numbers, seconds = [], 0
    units = [60, 1] if not dash and len(numbers) < 3 else [3600, 60, 1]
    seconds += sum(number * unit for number, unit in zip(numbers, units, strict=False))
    if len(numbers) > len(units) or any(number < 0 for number in numbers) or seconds <= 0:
        raise InputError(f"--slurm {key}={text}: is no time; try minutes, or 1-12:00:00")
    return -(-seconds // 60)
