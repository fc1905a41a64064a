"""Many texts of `textgen generate`: in batches, with progress, and with `--resume`."""

import argparse
import contextlib
import itertools
import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from textgen import files
from textgen.cli import common, options, train_safety
from textgen.cli.progress import Progress
from textgen.decoding.defaults import BATCH_SIZE
from textgen.messages import without_controls
from textgen.models import catalogue
from textgen.text import corpora

SEPARATOR = "-" * 20  # between texts of several lines

FORMAT = "textgen generate, unfinished, version 1"

# The texts depend on these options and on the files of the models. Each text depends on
# its number, and not on --count.
SAME = (
    *(
        "weights",
        "label",
        "prompt",
        "temperature",
        "max_new_tokens",
        "max_lines",
        "stop",
    ),
    *("seed", "unknown", "no_echo", "forbid", "top_k", "top_p", "min_p", "typical_p"),
    "repetition_penalty",
)

_HEADER_BYTES = 1 << 24  # longer first lines are not those of textgen


def pieces_of(texts: Callable[[], Iterable[str]]) -> Iterator[str]:
    """Yields the output of several texts: each with the newline or line after it.

    Args:
        texts: Callable. Returns the texts from the first one on; it is called twice.
    """
    several = any("\n" in text.strip("\n") for text in texts())
    between = f"\n{SEPARATOR}\n" if several else "\n"
    ends = itertools.chain([""], itertools.repeat(between))
    last = ""
    for text, end in zip(texts(), ends, strict=False):
        yield end + text
        last = "\n"
    yield last


def write(
    generate: Callable[[int], Iterator[str]], arguments: argparse.Namespace
) -> None:
    """Writes the texts to `--output`, or prints them, in the memory of one batch.

    Texts of an `--output` are kept in the file `OUTPUT.part` until all are there.

    Args:
        generate: Callable. Takes a number, and yields the texts from this number on,
            with `arguments.seed`. It raises errors when it is called.
        arguments: The parsed arguments. `seed` is set if it was not given.

    Raises:
        OSError: A file exists, does not exist, or cannot be written.
        ValueError: An interrupted run had other options.
    """
    if arguments.output:
        _write_file(generate, arguments)
        return
    # Whether there are lines between the texts is known after the last text.
    with tempfile.TemporaryFile() as file:
        records = Records(file)
        _fill(records, generate(0), arguments.count)
        shows = without_controls if sys.stdout.isatty() else str
        for piece in pieces_of(lambda: records.texts(arguments.count)):
            print(shows(piece), end="")


def _write_file(
    generate: Callable[[int], Iterator[str]], arguments: argparse.Namespace
) -> None:
    output, count = Path(arguments.output), arguments.count
    part = Path(f"{output}.part")
    _check_files(output, part, arguments)
    command = train_safety.command_of(arguments.argv, "--resume")
    with train_safety.Guard(output) as guard, contextlib.ExitStack() as stack:
        guard.message = "Stopped before the first text."
        header = _header(arguments)
        if arguments.resume:
            guard.message = f"Stopped. To continue: {command}"
            records = stack.enter_context(_resumed(part, header, arguments))
            texts = generate(records.count) if records.count < count else iter(())
        else:
            texts = generate(0)
            records = stack.enter_context(_started(part, header))

        def note() -> None:
            guard.message = (
                f"Stopped after {records.count:,} of {count:,} texts. To continue: "
                f"{command}"
            )

        try:
            _fill(records, texts, count, note)
            guard.saving = True
            if output.exists() and not (arguments.overwrite or arguments.resume):
                raise FileExistsError(f"{output} has just been created: move it.")
            with files.replacing(output) as file:
                for piece in pieces_of(lambda: records.texts(count)):
                    file.write(piece.encode("utf-8", "replace"))
        except OSError as error:
            what = f"{part} cannot be written: {error.strerror}."
            raise OSError(
                f"{what if error.strerror else error} The first {records.count:,} "
                f"texts are in {part}. To continue: {command}"
            ) from error
        stack.close()  # Windows does not remove an open file
        part.unlink()
        guard.finish()


def _check_files(output: Path, part: Path, arguments: argparse.Namespace) -> None:
    """Raises OSError if an output cannot be started or continued."""
    replace = arguments.overwrite or arguments.resume
    if arguments.resume and not part.exists():
        raise FileNotFoundError(
            f"--resume: {part} does not exist, so there is nothing to continue. Start "
            "without --resume."
        )
    if part.exists() and not replace:
        raise FileExistsError(
            f"{part} has the texts of a run that was interrupted: use --resume to "
            "continue it, --overwrite to start again, or another --output."
        )
    common.check_new_file(output, "--output", replace)
    if part.exists() and not arguments.resume:
        with files.open_regular(part) as file:
            _read_header(file, part)  # not a file of another program


def _header(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what all texts of an output depend on."""
    models = [corpora.sha256_of(catalogue.find(name)) for name in arguments.models]
    if arguments.seed is None and not arguments.resume:
        arguments.seed = secrets.randbits(64)
    values = {name: getattr(arguments, name) for name in SAME}
    return {"format": FORMAT, "models": models, **values}


def _read_header(file: BinaryIO, part: Path) -> dict[str, Any]:
    """Reads the first line of an unfinished output."""
    line = file.readline(_HEADER_BYTES)
    with contextlib.suppress(ValueError, RecursionError):
        header = json.loads(line)
        if isinstance(header, dict) and header.get("format") == FORMAT:
            return header
    raise ValueError(
        f"{part} is not an unfinished output of this version of textgen: move it to "
        "another place, or give another --output."
    )


@contextlib.contextmanager
def _started(part: Path, header: dict[str, Any]) -> Iterator["Records"]:
    """Starts an unfinished output."""
    files.write_text(part, json.dumps(header) + "\n")
    with _opened(part) as file:
        file.readline()
        yield Records(file)


@contextlib.contextmanager
def _resumed(
    part: Path, header: dict[str, Any], arguments: argparse.Namespace
) -> Iterator["Records"]:
    """Opens an unfinished output, and takes the seed from it if none is given."""
    files.open_regular(part).close()  # a pipe is refused
    with _opened(part) as file:
        before = _read_header(file, part)
        if header["models"] != before.get("models"):
            raise ValueError(
                f"--resume: the texts in {part} are of another model file than "
                f"{' '.join(arguments.models)}: give the same model, or another "
                "--output."
            )
        if arguments.seed is None:
            arguments.seed = header["seed"] = before.get("seed")
        for name in SAME:
            if header[name] != before.get(name):
                raise ValueError(
                    f"--resume: the texts in {part} were generated with "
                    f"{_typed(name, before.get(name))}, and cannot continue with "
                    f"{_typed(name, header[name])}: repeat the options, or give "
                    "another --output."
                )
        yield Records(file)


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    file = open(part, "r+b")  # noqa: SIM115
    try:
        yield file
    finally:
        # After a full disk, it would write the last texts again, and fail again.
        with contextlib.suppress(OSError):
            file.close()


def _typed(name: str, value: Any) -> str:
    """Returns an option as the user types it."""
    option = options.option_name(name)
    if value in (None, False, ""):
        return f"no {option}"
    if value is True:
        return option
    return shlex.join(
        [option, *map(str, value if isinstance(value, list) else [value])]
    )


class Records:
    """Texts in a file: one JSON string in a line.

    A text whose line is not complete was not written. It is cut off, with all that
    follows.

    Args:
        file: Binary file, open for reading and writing; the texts begin at its
            position.

    Attributes:
        count: int. Number of texts.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start = end = file.tell()
        self.count = 0
        for line in file:
            if not _is_record(line):
                break
            end += len(line)
            self.count += 1
        file.seek(end)
        file.truncate()

    def append(self, texts: Iterable[str]) -> None:
        """Writes texts after those that are there; not to be called after `texts`."""
        texts = list(texts)
        lines = [json.dumps(text, ensure_ascii=False) + "\n" for text in texts]
        self._file.write("".join(lines).encode("utf-8", "surrogatepass"))
        self._file.flush()
        self.count += len(texts)

    def texts(self, count: int) -> Iterator[str]:
        """Yields the first `count` texts."""
        self._file.seek(self._start)
        for line in itertools.islice(self._file, count):
            yield json.loads(line)


def _is_record(line: bytes) -> bool:
    """Whether a line is a complete text."""
    with contextlib.suppress(ValueError, RecursionError):
        return line.endswith(b"\n") and isinstance(json.loads(line), str)
    return False


def _fill(
    records: Records,
    texts: Iterator[str],
    total: int,
    note: Callable[[], None] = lambda: None,
) -> None:
    """Writes texts in batches as they come, and shows the progress.

    Args:
        records: `Records`.
        texts: Iterator over the missing texts.
        total: int. Number of all texts.
        note: Callable. It is called before the first batch and after each.
    """
    note()
    with Progress("Generating", "texts", records.count) as progress:
        while batch := list(itertools.islice(texts, BATCH_SIZE)):
            records.append(batch)
            note()
            progress(records.count, total)
