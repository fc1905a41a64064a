"""`textgen launch`: starts the processes of a training, and says how they ended."""

import argparse
import contextlib
import importlib.util
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from textgen.cli import options
from textgen.place import VARIABLES, Place, find_place

LOST = 75  # exit code after a lost process: EX_TEMPFAIL, "try again", of sysexits.h

# Seconds in which the others end after the first process: they notice a lost one within
# half a minute, but a mistake of the script concerns all. After a signal, process 0
# writes the state, however long it takes.
_AFTER_LOSS, _AFTER_ERROR = 45.0, 5.0

_KEPT = 30  # lines of an error message

_WORKER = ("-m", "textgen.cli.worker")

# The allocator of glibc keeps most of the memory that XLA needed to compile a step, in
# an area for each thread. With these settings it gives it back: 4 processes that train
# on lines (eight shapes) take 290 MB each in place of 360.
_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}

# Lines of the native libraries; those after a fatal one are its stack.
_NATIVE = re.compile(rb"[IWEF]\d{4} \d\d:\d\d:\d\d|WARNING: All log messages|\[Gloo\]")
_FATAL = re.compile(rb"F\d{4} \d\d:\d\d:\d\d")


def add_launch(commands: Any) -> None:
    """Adds the command `launch` to the parser."""
    parser = commands.add_parser(
        "launch",
        help="train with several processes, on one machine or several",
        usage="%(prog)s [options] SCRIPT.py [ARGUMENTS]\n"
        "       %(prog)s [options] train CORPUS [OPTIONS]",
        description="Run a training script, or `textgen train`, in several processes "
        "that train one model together (with the JAX backend). The batches and the "
        "weights are those of one process. If a process is lost, all end with status "
        f"{LOST}; start them again with --resume, in any number.",
        epilog="With --processes alone, all processes run on this machine. On several "
        "machines, start this command once on each, with the same coordinator; SLURM "
        "and indexed jobs of Kubernetes say the rest. docs/scaling.md explains it.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_launch, parser=parser)
    add_place(parser)
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT.py | train",
        help="the script, or `train`, and its arguments",
    )


def add_place(parser: Any) -> Any:
    """Adds the options for the place of a process to a parser; returns their group."""
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of the first process, as seen by the others",
    )
    group.add_argument("--processes", type=int, metavar="N", help="number of processes")
    group.add_argument(
        "--process-id",
        type=int,
        metavar="I",
        help="number of this process, from 0 to N-1",
    )
    return group


def without_place(words: list[str]) -> list[str]:
    """Returns the arguments of `textgen train` without those of `add_place`."""
    kept: list[str] = []
    skip = False
    for at, word in enumerate(words):
        if word == "--":
            return kept + words[at:]
        name, equals, _ = word.partition("=")
        if skip or name in ("--coordinator", "--processes", "--process-id"):
            skip = not skip and not equals
        elif word != "--distribute":
            kept.append(word)
    return kept


def _launch(arguments: argparse.Namespace) -> int:
    words = [word for at, word in enumerate(arguments.words) if at or word != "--"]
    if not words:
        raise ValueError("Give the script to run, or `train` and its arguments.")
    if words[0] != "train" and not os.path.isfile(words[0]):
        raise ValueError(
            f"{words[0]} is no file: give a Python script, or `train` and its "
            "arguments."
        )
    return launch(words, arguments)


def launch(words: list[str], arguments: argparse.Namespace) -> int:
    """Runs a command in the processes of this machine; returns the exit code.

    Args:
        words: The script, or `train`, and its arguments.
        arguments: `coordinator`, `processes` and `process_id`, each may be `None`.

    Raises:
        ValueError: The place of the process is not known.
    """
    backend = os.environ.get("KERAS_BACKEND") or "jax"
    if backend != "jax":
        raise ValueError(
            f"KERAS_BACKEND={backend}: several processes train with JAX only. Set "
            "KERAS_BACKEND=jax, or leave it out."
        )
    places = _places(arguments)
    check_jax("Several processes need")
    return _Group(words, places).run()


def check_jax(what: str) -> None:
    """Raises ValueError if JAX is not installed; `what` needs it."""
    if importlib.util.find_spec("jax") is None:
        raise ValueError(
            f"{what} JAX: install the extra, pip install 'keras-textgen[jax]'."
        )


def _places(arguments: argparse.Namespace) -> list[Place]:
    """Returns the places of the processes to start."""
    given = (arguments.coordinator, arguments.processes, arguments.process_id)
    scheduled = {*VARIABLES.values(), "SLURM_PROCID", "JOB_COMPLETION_INDEX"}
    alone = given[0] is None and given[2] is None and not scheduled & set(os.environ)
    if not alone or given[1] is None:
        return [find_place(*given)]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{found.getsockname()[1]}"
    number = given[1]
    return [find_place(coordinator, number, each) for each in range(max(1, number))]


class _Process:
    """A process, and the lines that it writes to its standard error."""

    def __init__(self, words: list[str], place: Place) -> None:
        self.place = place
        variables = dict(zip(VARIABLES.values(), map(str, place), strict=True))
        self._process = subprocess.Popen(
            [sys.executable, *_WORKER, *words],
            stdin=subprocess.DEVNULL,
            stdout=None if place.process_id == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**_ALLOCATOR, **os.environ, **variables, "KERAS_BACKEND": "jax"},
            start_new_session=True,  # signals come from this process only
        )
        self.kept: deque[bytes] = deque(maxlen=_KEPT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.poll, self.send_signal = self._process.poll, self._process.send_signal
        self.kill = self._process.kill

    def _read(self) -> None:
        fatal = False
        assert self._process.stderr is not None
        for line in self._process.stderr:
            fatal |= bool(_FATAL.match(line))
            if fatal or _NATIVE.match(line):
                continue
            self.kept.append(line)
            if self.place.process_id == 0:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(line)
                    sys.stderr.flush()


class _Group:
    """The processes of this machine."""

    def __init__(self, words: list[str], places: list[Place]) -> None:
        self._before: dict[int, Any] = {}
        self._processes: list[_Process] = []
        try:
            for place in places:
                self._processes.append(_Process(words, place))
        except OSError:
            self._kill()
            raise

    def run(self) -> int:
        """Waits for the processes; returns the exit code."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._forward)
        try:
            first = self._wait()
        finally:
            self._kill()
            for number, before in self._before.items():
                signal.signal(number, before)
        for each in self._processes:
            each.reader.join(timeout=5)
        return self._report(first)

    def _wait(self) -> _Process | None:
        """Returns the process whose failure ended the training, or `None`."""
        end = None
        while any(each.poll() is None for each in self._processes):
            if end is None and self._failed():
                code = self._failed()[0].poll() or 0
                grace = _AFTER_LOSS if code < 0 or code == LOST else _AFTER_ERROR
                end = time.monotonic() + (grace if code < 128 else math.inf)
            if end is not None and time.monotonic() > end:
                break
            time.sleep(0.1)
        # Of several, one that another process did not end is the cause.
        causes = sorted(self._failed(), key=lambda each: _is_loss(each.poll()))
        return causes[0] if causes else None

    def _failed(self) -> list[_Process]:
        return [each for each in self._processes if each.poll()]

    def _report(self, first: _Process | None) -> int:
        """Says which process ended the training; returns the exit code."""
        if first is None:
            return 0
        code, (_, number, place) = first.poll(), first.place
        code = LOST if code is None else code
        if 0 < code != LOST:
            if place:
                sys.stderr.buffer.write(b"".join(first.kept))
                print(f"textgen: error: process {place} failed.", file=sys.stderr)
            return code
        what = f"Another of the {number} processes ended"
        if code < 0 and code != -signal.SIGABRT:
            what = f"Process {place} of {number} ended by {signal.Signals(-code).name}"
        print(
            f"textgen: error: {what}, so the others stopped. Continue from the last "
            "checkpoint with --resume, with any number of processes.",
            file=sys.stderr,
        )
        return LOST

    def _forward(self, number: int, _: Any) -> None:
        for each in self._processes:
            with contextlib.suppress(OSError):
                each.send_signal(number)

    def _kill(self) -> None:
        for each in self._processes:
            if each.poll() is None:
                with contextlib.suppress(OSError):
                    each.kill()


def _is_loss(code: int | None) -> bool:
    """Whether a process ended because of another one."""
    return code in (LOST, -signal.SIGABRT)
