"""Functions that several commands use: read and write files, split texts."""

import argparse
import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import options
from textgen.cli.progress import Progress
from textgen.messages import printable
from textgen.models import catalogue
from textgen.text import sources
from textgen.text.prepared import PreparedCorpus, is_prepared
from textgen.text.preparing import prepare_or_reuse
from textgen.text.reading import CorpusReader
from textgen.text.tokenizers import same_ids


def load(arguments: argparse.Namespace, models: Sequence[str] | None = None) -> Any:
    """Loads a model, or a blend of several.

    Args:
        arguments: The parsed arguments.
        models: Sequence of str, or `None` for `arguments.models`.

    Raises:
        FileNotFoundError: A model does not exist. This is checked before Keras is
            imported, so that the error is fast.
        ValueError: `--weights` or `--unknown` do not fit the models.
    """
    names = arguments.models if models is None else models
    paths = [catalogue.find(name) for name in names]
    weights = getattr(arguments, "weights", None)
    if weights and len(weights) != len(paths):
        raise ValueError(
            f"--weights needs one number per model: there are {len(weights)} numbers "
            f"for {len(paths)} models."
        )
    loaded = [textgen.load(path) for path in paths]
    model = loaded[0] if len(loaded) == 1 else textgen.Blend(loaded, weights)
    unknown = getattr(arguments, "unknown", None)
    if unknown not in (None, "error", "skip") and unknown not in model.vocabulary:
        raise ValueError(
            f"--unknown {unknown} must be error, skip, or a symbol of the vocabulary."
        )
    return model


# The options of a text, and the arguments of `textgen.prepare`.
TEXT_OPTIONS = {
    "encoding": "encoding",
    "lowercase": "lowercase",
    "normalization": "normalization",
    "replace_invalid": "replace",
    "keep_line_ends": "newlines",
    "field": "field",
    "label_field": "label_field",
    "level": "level",
    "vocabulary_size": "vocabulary_size",
    "min_count": "min_count",
}
_VOCABULARY = ("level", "vocabulary_size", "min_count")
READING = tuple(option for option in TEXT_OPTIONS if option not in _VOCABULARY)


def text_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns how a text is read, as arguments of `textgen.prepare`."""
    values = {TEXT_OPTIONS[option]: getattr(arguments, option) for option in READING}
    return {**values, "newlines": not values["newlines"]}


def vocabulary_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of a vocabulary, as arguments of `textgen.prepare`."""
    return {name: getattr(arguments, name) for name in _VOCABULARY if name in arguments}


def prepared_corpus(
    arguments: argparse.Namespace, tokenizer: Any = None
) -> PreparedCorpus:
    """Returns the corpus of a command as ids, and says how far the reading is.

    Args:
        arguments: The parsed arguments. For a file of `textgen prepare`, they get its
            options.
        tokenizer: `Tokenizer` of a model, or `None` for a new vocabulary.

    Raises:
        OSError, ValueError: As for `textgen.prepare`. Or a file of `textgen prepare`
            has another vocabulary or other options.
    """
    names = sources.names_of(arguments.corpus)
    title = f"Reading {sources.shortened(names)}"
    with short_warnings(arguments.parser), Progress(title) as progress:
        if len(names) == 1 and is_prepared(names[0]):
            corpus = PreparedCorpus.load(names[0])
            _take_options(corpus, arguments, tokenizer)
            if tokenizer is not None:  # it reads prompts as the model does
                corpus = dataclasses.replace(corpus, tokenizer=tokenizer)
        elif tokenizer is None:
            corpus = prepare_or_reuse(
                names,
                progress,
                **text_options(arguments),
                **vocabulary_options(arguments),
            )
        else:
            corpus = textgen.prepare(
                names,
                tokenizer=tokenizer,
                unknown=getattr(arguments, "unknown", None),
                progress=progress,
                **text_options(arguments),
            )
    warn_replaced(corpus, arguments)
    return corpus


def _take_options(
    corpus: PreparedCorpus, arguments: argparse.Namespace, tokenizer: Any
) -> None:
    """Gives a command the options of the corpus that it reads."""
    if tokenizer is not None and not same_ids(corpus.tokenizer, tokenizer):
        raise ValueError(
            f"{corpus.path} has another vocabulary than the model: give the text "
            "itself."
        )
    for option, name in TEXT_OPTIONS.items():
        value = corpus.options.get(name)
        value = not value if option == "keep_line_ends" else value
        given = getattr(arguments, option, value)
        if given not in (value, arguments.parser.get_default(option)):
            raise ValueError(
                f"{options.option_name(option)}: {corpus.path} was prepared without "
                "this option. Prepare it again, or leave the option out."
            )
        setattr(arguments, option, value)


def warn_replaced(corpus: PreparedCorpus, arguments: argparse.Namespace) -> None:
    """Says how many invalid bytes were replaced."""
    if number := corpus.options.get("replaced"):
        print(
            f"{arguments.parser.prog}: warning: \ufffd replaces invalid bytes in "
            f"{number:,} places",
            file=sys.stderr,
        )


def check_corpus(arguments: argparse.Namespace) -> None:
    """Raises an error if the corpus does not exist; Keras is not imported for that."""
    CorpusReader(sources.names_of(arguments.corpus))


@contextlib.contextmanager
def short_warnings(parser: Any) -> Iterator[None]:
    """Prints each warning in one line, without the line of the program.

    Args:
        parser: `options.Parser`. The options that a warning names.
    """

    def show(message: Any, *_: Any) -> None:
        line = printable(parser.name_options(str(message)), options.MESSAGE_LIMIT)
        print(f"{parser.prog}: warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def corpus_notes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the notes that a model keeps about its corpus, see `model.notes`."""
    return {
        "corpus": sources.title(arguments.corpus),
        "encoding": arguments.encoding,
        "lowercase": arguments.lowercase,
        "level": arguments.level,
        **{
            option: getattr(arguments, option)
            for option in READING
            if getattr(arguments, option)
        },
    }


def check_new_file(
    path: str | Path, option: str, overwrite: bool | None = None
) -> None:
    """Checks that a file can be written, before any work is done for it.

    Args:
        path: str or path.
        option: str. The option that gives the path; empty for a positional argument.
        overwrite: bool or `None`. Whether `--overwrite` was given; `None` for a command
            without this option.

    Raises:
        OSError: The file cannot be written. The subclass says why.
    """
    path = Path(path)
    start = f"{option} {path}".strip()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{start}: the folder {path.parent} does not exist.")
    if path.is_dir():
        raise IsADirectoryError(f"{start} is a folder: give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{start}: the folder {path.parent} is not writable.")
    if path.exists() and not overwrite:
        remedy = "" if overwrite is None else "use --overwrite to replace it, or "
        raise FileExistsError(f"{start} exists: {remedy}give another name.")
    _check_replaceable(path, start)


def _check_replaceable(path: Path, start: str) -> None:
    """Raises OSError if an existing file cannot be replaced by a new one."""
    target = Path(os.path.realpath(path))  # a symbolic link stays; its target changes
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{start}: {target.parent} does not exist.")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{start}: {target.parent} is not writable.")
    if target.exists() and not target.is_file():
        raise OSError(f"{start} is a device or a named pipe: give the name of a file.")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{start} is read-only.")


def check_folder(folder: Path, option: str) -> None:
    """Raises OSError if files cannot be written to a folder, which may be a new one."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"{option} {folder} is a file: give the name of a folder."
        )
    if not folder.exists() and not folder.parent.is_dir():
        raise FileNotFoundError(
            f"{option} {folder}: the folder {folder.parent} does not exist."
        )
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        raise PermissionError(f"{option} {folder} is not writable.")


def output_path(arguments: argparse.Namespace, option: str = "--output") -> Path:
    """Returns the path of the model to save, checked before any work is done for it."""
    output = Path(arguments.output)
    if output.suffix != ".keras":
        raise ValueError(f"{option} {output} must end in .keras.".strip())
    check_new_file(output, option, arguments.overwrite)
    return output
