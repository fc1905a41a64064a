"""The place of a process in a training with several, from options or the scheduler."""

import os
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple


class Place(NamedTuple):
    """One process of a training.

    Args:
        coordinator: str. `"HOST:PORT"` of process 0.
        processes: int. Number of processes.
        process_id: int. Number of this process, counted from 0.
    """

    coordinator: str
    processes: int
    process_id: int


# The variables in which `textgen launch` tells each process its place.
VARIABLES = {
    "coordinator": "TEXTGEN_COORDINATOR",
    "processes": "TEXTGEN_PROCESSES",
    "process_id": "TEXTGEN_PROCESS_ID",
}


def find_place(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Place:
    """Returns the place of this process, from arguments and from the scheduler.

    What is not given is read from the variables `TEXTGEN_COORDINATOR`,
    `TEXTGEN_PROCESSES` and `TEXTGEN_PROCESS_ID`, then from those of SLURM
    (`SLURM_PROCID`, `SLURM_NTASKS`, `SLURM_STEP_NODELIST`, `SLURM_JOB_ID`), then from
    those of an indexed job of Kubernetes (`JOB_COMPLETION_INDEX`, and the host name of
    its pod).

    Args:
        coordinator: str or `None`. `"HOST:PORT"` of process 0.
        processes: int or `None`. Number of processes.
        process_id: int or `None`. Number of this process, counted from 0.
        environment: Mapping. Defaults to the variables of this process.

    Raises:
        ValueError: A value is missing or not possible.
    """
    found: dict[str, Any] = {
        "coordinator": coordinator,
        "processes": processes,
        "process_id": process_id,
    }
    given = {name: environment.get(VARIABLES[name]) or None for name in found}
    for known in (given, _slurm(environment), _kubernetes(environment)):
        found = {name: known.get(name) if v is None else v for name, v in found.items()}
    missing = [name for name, value in found.items() if value is None]
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ValueError(
            f"This process does not know its place in the training: give {options}, or "
            "start it with SLURM (srun) or as an indexed job of Kubernetes."
        )
    numbers = {}
    for name in ("processes", "process_id"):
        text = str(found[name])
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"{name}={text!r} must be a number.")
        numbers[name] = int(text)
    place = Place(str(found["coordinator"]), **numbers)
    if not 0 <= place.process_id < place.processes:
        raise ValueError(
            f"process_id={place.process_id} must be from 0 to {place.processes - 1}: "
            f"there are {place.processes} processes."
        )
    host, _, port = place.coordinator.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(
            f"coordinator={place.coordinator!r} must be HOST:PORT of process 0, such "
            "as 10.0.0.5:7000."
        )
    return place


def number_of_processes() -> int:
    """Returns how many processes `textgen launch` started with this one."""
    return int(os.environ.get("TEXTGEN_PROCESSES") or 1)


def is_first() -> bool:
    """Whether this process, which `textgen launch` started, writes files."""
    return int(os.environ.get("TEXTGEN_PROCESS_ID") or 0) == 0


def _slurm(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the place of a task of SLURM."""
    if "SLURM_PROCID" not in environment:
        return {}
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST")
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS")
    result: dict[str, Any] = {
        "process_id": environment["SLURM_PROCID"],
        "processes": tasks,
    }
    # The first node of a list such as node[003-007,9],other1.
    first = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes or "")
    if first:
        host = "".join(part or "" for part in first.groups())
        # Two jobs that share a node need two ports.
        port = 20_000 + int(environment.get("SLURM_JOB_ID") or 0) % 10_000
        result["coordinator"] = f"{host}:{port}"
    return result


def _kubernetes(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the place of a pod of an indexed job."""
    if "JOB_COMPLETION_INDEX" not in environment:
        return {}
    index = environment["JOB_COMPLETION_INDEX"]
    # The host name of a pod is that of the job, then "-" and the index; its full name
    # has the service after it.
    name = environment.get("TEXTGEN_HOST") or socket.getfqdn()
    first = re.sub(rf"^([^.]*)-{re.escape(index)}(?=\.|$)", r"\1-0", name)
    return {"process_id": index, "coordinator": f"{first}:7000"}
