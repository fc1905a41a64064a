"""What protects a long run: a lock, answers to signals, a place for the model."""

import argparse
import contextlib
import os
import shlex
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textgen import files, quiet
from textgen.place import is_first, number_of_processes


class Guard:
    """Locks the output of a training or of `generate`, and answers signals.

    During `fit`, `textgen.Checkpoints` answers them.

    Args:
        output: path. The model file.

    Attributes:
        saving: bool. Whether the model is being saved: the first signal then waits.
        message: str. What is printed after a signal.
        trained: bool. Whether the training is complete.

    Raises:
        BlockingIOError: Another training has the same output.
    """

    message = "Stopped before the first training step: nothing was saved."
    saving = False
    trained = False

    def __init__(self, output: Path) -> None:
        # Of the file that a symbolic link refers to: it has one lock.
        target = Path(os.path.realpath(output))
        self._lock: files.Lock | None = None
        if is_first():
            self._lock = files.Lock(
                target.with_name(f".{target.name}.lock"), f"--output {output}"
            )
        self._before: dict[int, Any] = {}
        self._waiting: int | None = None

    def __enter__(self) -> "Guard":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread gets signals
        for number in quiet.SIGNALS:
            before = signal.getsignal(number)
            # An ignored signal stays ignored: `nohup` works so.
            if before not in (None, signal.SIG_IGN):
                self._before[number] = before
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def callback(self, keras: Any, message: str) -> Any:
        """Returns a callback that changes the message when the training starts."""

        def begin(_: Any) -> None:
            self.message = message

        def end(_: Any) -> None:
            self.trained = True

        return keras.callbacks.LambdaCallback(on_train_begin=begin, on_train_end=end)

    def finish(self) -> None:
        """Exits if a signal waited for the model to be saved."""
        if self._waiting is not None:
            raise SystemExit(128 + self._waiting)

    def _stop(self, number: int, _: Any) -> None:
        if self.saving and self._waiting is None:
            self._waiting = number
            return
        with contextlib.suppress(OSError):
            self._release()
        quiet.leave(number, self.message)


def command_of(words: Sequence[str], *more: str) -> str:
    """Returns a command of textgen with further options, quoted for a shell.

    Args:
        words: Sequence of str. The arguments of the program `textgen`.
        *more: str. Options to add. `--resume` is added only once.
    """
    # Everything after a "--" is a file name.
    end = words.index("--") if "--" in words else len(words)
    added = [word for word in more if word != "--resume" or word not in words[:end]]
    processes = number_of_processes()
    launch = ["launch", "--processes", str(processes)] if processes > 1 else []
    return shlex.join(["textgen", *launch, *words[:end], *added, *words[end:]])


def diverged(error: Any, arguments: argparse.Namespace) -> ValueError:
    """Returns the error of a training that diverged, with the command to try next."""
    rate = ["--learning-rate", f"{arguments.learning_rate / 10:g}"]
    if error.kept is not None:
        rate.append("--resume")
    return ValueError(f"{error} For example: {command_of(arguments.argv, *rate)}")


def save(model: Any, output: Path, checkpoints: Any) -> None:
    """Saves the model, in another folder if the output cannot be written.

    Raises:
        OSError: The output cannot be written; the message says where the model is.
    """
    try:
        model.save(output)
        return
    except OSError as error:
        failed = error
    places: list[Callable[[], Path]] = [
        lambda: checkpoints.folder,
        lambda: Path(tempfile.mkdtemp(prefix="textgen-")),
        lambda: Path(tempfile.mkdtemp(prefix="textgen-", dir=Path.home())),
    ]
    for place in places:
        try:
            saved = place() / "final.keras"
            model.save(saved)
        except (OSError, RuntimeError):  # no home folder
            continue
        raise _as(
            failed,
            f"{failed} The model was saved as {saved.resolve()} instead: move it to "
            "another place.",
        )
    raise _as(
        failed,
        f"{failed} No other folder could be written either. The last checkpoint is "
        f"{checkpoints.last}: when there is space, continue with --resume.",
    )


def _as(error: OSError, message: str) -> OSError:
    changed = type(error)(message)
    changed.errno = error.errno
    return changed
