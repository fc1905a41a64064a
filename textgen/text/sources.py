"""What a corpus can be: one name or several, a folder, a pattern of file names."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

STANDARD_INPUT = "-"

_SHOWN = 5  # names in a message or note


def names_of(source: object) -> list[str]:
    """Returns the names or paths of a corpus as a list.

    Args:
        source: str, path, or list or tuple of them.

    Raises:
        TypeError: It is something else.
        ValueError: The list is empty, or standard input is one of several names.
    """
    names = []
    for each in source if isinstance(source, list | tuple) else [source]:
        if not isinstance(each, str | os.PathLike):
            raise TypeError(
                f"name_or_path={source!r} must be a name, a path, or a list of them, "
                "such as sorted(folder.glob('*.txt'))."
            )
        names.append(os.fspath(each))
    if not names:
        raise ValueError(
            f"name_or_path={source!r} must have at least one name or path."
        )
    if STANDARD_INPUT in names[1:] or (names[0] == STANDARD_INPUT and names[1:]):
        raise ValueError(
            "Standard input, -, cannot be one of several corpora. Give it alone: "
            "cat a.txt b.txt | textgen ... -"
        )
    return names


def title(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    """Returns the name of a corpus for a reader: of each file, without its folder."""
    names = [
        "standard input"
        if name == STANDARD_INPUT
        else Path(name).name or Path(name).resolve().name or name
        for name in names_of(source)
    ]
    return shortened(names)


def shortened(names: Sequence[str]) -> str:
    """Returns names with commas between them; of many, the first ones."""
    if len(names) <= _SHOWN + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


def files_of_folder(folder: Path) -> list[Path]:
    """Returns the regular files in a folder and its subfolders, in sorted order.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        OSError: A folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error  # `os.walk` would leave the folder out

    found = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(parent, each) for each in names if not each.startswith(".")]
    return sorted(filter(Path.is_file, found))


def files_of_pattern(pattern: str) -> list[Path]:
    """Returns the regular files whose path fits a pattern of Python's `glob`, sorted.

    Folders that fit are left out, so that `**` gives no file twice.
    """
    if "\0" in pattern:  # no file has it in its path
        return []
    return sorted(filter(Path.is_file, map(Path, glob.glob(pattern, recursive=True))))


def is_pattern(name: str) -> bool:
    """Whether a name has a special character of `glob`: `*`, `?` or `[`."""
    return glob.has_magic(name)


def joined(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yields the pieces of several texts as those of one; each begins a new line.

    Args:
        texts: Iterable of the pieces of each text.

    Yields:
        str, not empty.
    """
    last = "\n"
    for text in texts:
        begins = True
        for piece in filter(None, text):
            if begins and not last.endswith("\n"):
                yield "\n"
            begins, last = False, piece
            yield piece
