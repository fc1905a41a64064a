"""`textgen evaluate`, `textgen info` and `textgen list`."""

import argparse
import contextlib
import itertools
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import textgen
from textgen.cli import common, options
from textgen.cli.progress import Progress
from textgen.cli.writing import keyboard_interrupts
from textgen.decoding.defaults import LEARNING_RATE, STRETCH
from textgen.messages import printable
from textgen.models import catalogue
from textgen.text import corpora, splits
from textgen.text.prepared import PreparedCorpus
from textgen.text.unknown import UnknownSymbolsError

MAX_SHOWN = 60  # characters of the vocabulary that `info` shows
INDENT = 16  # columns of the names of the lines, at least
MAX_NOTE = 10_000  # characters of a line of a note
MAX_LINES = 100  # of a note
# What `info` calls notes of `textgen train`.
NAMES = {
    "lowercase": "lower-cased",
    "lines": "single lines",
    "corpus_sha256": "corpus SHA-256",
}


def add_evaluate(commands: Any) -> None:
    """Adds the command `evaluate` to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure how well a model predicts a text",
        usage="%(prog)s MODEL [MODEL ...] CORPUS [options]",
        description="Measure how well a model predicts a text: the mean negative log "
        "probability of a token, in nats and in bits, and the perplexity. Lower is "
        "better. If tokens are not characters, the nats per character compare models "
        f"with different tokens. {options.TOKEN}",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_evaluate, parser=parser)
    add = parser.add_argument
    options.add_models(parser)
    add(
        "corpus",
        metavar="CORPUS",
        help=f"the text to predict: {options.CORPUS}",
    )
    options.add_encoding(parser)
    add(
        "--last",
        type=float,
        metavar="SHARE",
        help="evaluate only the part of the text that `textgen train --validation "
        "SHARE` holds out: the end of the text, or random lines with --lines",
    )
    add(
        "--held-out",
        action="store_true",
        help="evaluate the part of the text that the training of the model held out; "
        "the model file says which one, and how the text was read",
    )
    add("--lines", action="store_true", help="score each line as a separate text")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the --seed of `textgen train`; with --lines, it decides which lines are "
        "held out",
    )
    options.add_unknown(parser, "text")
    add(
        "--adapt",
        action="store_true",
        help="print the numbers of dynamic evaluation too: the model learns from each "
        f"{STRETCH} tokens after they were scored; its file does not change",
    )
    add(
        "--adapt-learning-rate",
        type=float,
        metavar="X",
        help=f"learning rate of --adapt (default: {LEARNING_RATE})",
    )


def add_list(commands: Any) -> None:
    """Adds the command `list` to the parser."""
    parser = commands.add_parser(
        "list",
        help="list the pretrained models and the named corpora",
        description="List the pretrained models and the corpora that other commands "
        "take by name: MODEL and CORPUS in their help.",
    )
    parser.set_defaults(run=_list, parser=parser)


def add_info(commands: Any) -> None:
    """Adds the command `info` to the parser."""
    parser = commands.add_parser(
        "info",
        help="describe a model",
        usage="%(prog)s MODEL",
        description="Describe a model: its network, the text that it was trained on, "
        "the loss on the part of this text that was held out, what is needed to repeat "
        "the training (seed, versions, the SHA-256 of the text, the command), and its "
        "vocabulary.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_info, parser=parser)
    parser.add_argument(
        "models",
        nargs=1,
        metavar="MODEL",
        help="a .keras file, or the name of a pretrained model (see `textgen list`)",
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    last = arguments.last
    if last is not None and not 0 < last < 1:
        raise ValueError(f"--last {last} must be between 0 and 1.")
    adaptation = _adaptation(arguments)
    with keyboard_interrupts():  # a download ends in order
        common.check_corpus(arguments)
        model = common.load(arguments)
        if arguments.held_out:
            corpus = _text_of_training(model, arguments)
        else:
            corpus = common.prepared_corpus(arguments, model.vocabulary)
    text = _part(corpus, model.labels, arguments)
    with Progress("Evaluating", "tokens") as progress:
        score = model.score(text, progress=progress)
    whole = model.vocabulary.level == "character"  # then a token is a character
    indent = (12 if whole else 15) + len("adapted ") * bool(adaptation)
    print(f"{'tokens:':{indent}}{score.count:,}")
    _print_score(score, "", indent, whole)
    if adaptation:
        with Progress("Adapting", "tokens") as progress:
            score = model.score(text, adapt=adaptation, progress=progress)
        _print_score(score, "adapted ", indent, whole)


def _text_of_training(model: Any, arguments: argparse.Namespace) -> PreparedCorpus:
    """Returns the text that a model was trained on, for `--held-out`.

    The options get the values that the model notes.

    Raises:
        ValueError: The model does not note them, or was trained on another text.
    """
    names = " ".join(arguments.models)
    if arguments.last is not None:
        raise ValueError(f"--held-out and --last {arguments.last}: give one of them.")
    notes = getattr(model, "notes", {}) if len(arguments.models) == 1 else {}
    share = notes.get("held_out")
    if not isinstance(share, float) or not 0 < share < 1:
        raise ValueError(
            f"--held-out: {names} does not say which part of a text its training held "
            "out. Give --last SHARE."
        )
    arguments.last = share
    arguments.lines = notes.get("lines") is True
    arguments.seed = int(notes.get("seed", 0))
    for option in common.READING:
        default = arguments.parser.get_default(option)
        value = notes.get(option, default)
        words = isinstance(value, list) and all(type(each) is str for each in value)
        if words or type(value) in (type(default), str):
            setattr(arguments, option, value)
    with contextlib.suppress(UnknownSymbolsError):
        corpus = common.prepared_corpus(arguments, model.vocabulary)
        if corpus.sha256 == notes.get("corpus_sha256"):
            return corpus
    raise ValueError(
        f"--held-out: {arguments.corpus} is not the text that {names} was trained on: "
        "its SHA-256 is another one. Give that text, or --last SHARE."
    )


def _part(
    corpus: PreparedCorpus, labels: Sequence[str], arguments: argparse.Namespace
) -> Any:
    """Returns the ids to score, or the ids of each line.

    Args:
        corpus: `PreparedCorpus`.
        labels: Sequence of str. Those of the model.
        arguments: The parsed arguments.
    """
    share = arguments.last or 0.0
    if not arguments.lines and corpus.labels is None:
        parts = splits.split(corpus.ids, share)
        return parts[1] if share else corpus.ids
    from textgen.lines import lines_of_corpus  # imports Keras

    if "\n" not in corpus.tokenizer:
        raise ValueError("--lines: the vocabulary of the model has no newline.")
    lines = lines_of_corpus(corpus, labels)
    numbers = splits.split_line_numbers(len(lines), share, arguments.seed)
    return list(lines.take(numbers[1] if share else np.sort(numbers[0])))


def _adaptation(arguments: argparse.Namespace) -> Any:
    """Returns the `Adaptation` of the options, or `None`."""
    rate = arguments.adapt_learning_rate
    if rate is not None and not arguments.adapt:
        raise ValueError(f"--adapt-learning-rate {rate:g} needs --adapt.")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"--adapt-learning-rate {rate:g} must be above 0.")
    if not arguments.adapt:
        return None
    return textgen.Adaptation(**({} if rate is None else {"learning_rate": rate}))


def _print_score(score: Any, kind: str, indent: int, whole: bool) -> None:
    """Prints a score in lines whose names begin with its kind.

    Args:
        score: `Score`.
        kind: str.
        indent: int. Columns of the names.
        whole: bool. Whether each token is a character.
    """
    lines = {
        "nats": f"{score.nats:.4f} per token",
        "bits": f"{score.bits:.4f} per token",
        "perplexity": f"{score.perplexity:.4g}",
    }
    if not whole:
        lines["per character"] = f"{score.nats_per_character:.4f} nats"
    for name, value in lines.items():
        print(f"{kind + name + ':':{indent}}{value}")


def _list(arguments: argparse.Namespace) -> None:
    pretrained = catalogue.PRETRAINED  # an error comes before the first line
    print("Pretrained models, with the loss on held-out text:\n")
    for name, model in pretrained.items():
        path = catalogue.path_of(name)
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "missing"
        bits = model.nats / math.log(2)
        print(f"  {printable(name)}: {printable(model.description)}")
        print(f"    {size}, {model.nats:.3f} nats, {bits:.3f} bits per character")
        command = shlex.join(["textgen", "generate", name, *model.options])
        print(f"    {printable(command)}")
    print("\nCorpora:\n")
    for name, known in corpora.CORPORA.items():
        where = "downloaded when first used" if known.url else "part of textgen"
        print(f"  {name}: {known.description}")
        print(f"    {known.characters:,} characters, {where}; {known.license}")


def _info(arguments: argparse.Namespace) -> None:
    model = common.load(arguments)
    vocabulary = model.vocabulary
    lines = [*_network(model).items(), *_training(model).items()]
    if entry := catalogue.PRETRAINED.get(arguments.models[0]):
        loss = f"{entry.nats:.4f} nats per character"
        lines += [("corpus", entry.corpus), ("held-out loss", loss)]
    lines.append(("vocabulary", _vocabulary(vocabulary)))
    # Names and values of notes come from a file that a stranger may have written.
    lines = [(printable(name, MAX_SHOWN), value) for name, value in lines]
    indent = max(INDENT, *(len(name) + 2 for name, _ in lines))
    for name, value in lines:
        shown = [printable(line, MAX_NOTE) for line in value.split("\n")]
        if len(shown) > MAX_LINES:
            others = len(shown) - MAX_LINES
            shown[MAX_LINES:] = [f"… and {others:,} more lines"]
        between = "\n" + " " * indent
        print(f"{name + ':':{indent - 1}} {between.join(shown)}")


def _network(model: Any) -> dict[str, str]:
    """Returns lines about the network and its computation."""
    if not isinstance(model, textgen.LanguageModel):
        names = [type(layer).__name__ for layer in model.network.layers]
        return {
            "network": f"custom Keras network: {', '.join(names)}",
            "input": model.input_kind,
            "weights": f"{model.count_params():,}",
        }
    kind = "many-to-many" if model.return_sequences else "many-to-one"
    if not model.return_sequences:
        kind += f", windows of {model.sequence_length}"
    elif model.start_step:
        kind += ", begins with a start step"
    if model.end_token is not None:
        kind += f", ends with {model.vocabulary.symbols[model.end_token]!r}"
    labels = {}
    if model.labels:
        more = len(model.labels) - MAX_SHOWN
        labels["labels"] = ", ".join(map(printable, model.labels[:MAX_SHOWN]))
        labels["labels"] += f" and {more:,} more" if more > 0 else ""
    return {
        "network": f"{model.cell}, units {' '.join(map(str, model.units))}, {kind}",
        "input": f"embedding of size {model.embedding}"
        if model.embedding
        else "one-hot",
        "weights": f"{model.count_params():,}",
        **labels,
        "computation": model.computation(),
    }


def _training(model: Any) -> dict[str, str]:
    """Returns lines about the training: the notes of the model, and its steps."""
    notes: dict[str, Any] = dict(model.notes)
    steps = f"{int(model.optimizer.iterations):,}" if model.compiled else "not compiled"
    if notes.get("level") == model.vocabulary.level:
        del notes["level"]  # the line about the vocabulary says it
    if model.compiled and notes.get("steps") == int(model.optimizer.iterations):
        del notes["steps"]
    loss, share = notes.get("held_out_nats"), notes.get("held_out")
    if isinstance(loss, float) and isinstance(share, float):
        unit = "character" if model.vocabulary.level == "character" else "token"
        part = f"{100 * share:.4g} % of the"
        part = f"{part} lines" if notes.get("lines") else f"the last {part} text"
        notes["held-out loss"] = (
            f"{loss:.4f} nats ({loss / math.log(2):.4f} bits) per {unit}, on {part}"
        )
        del notes["held_out_nats"], notes["held_out"]
    elif loss is None and share == 0:
        notes["held-out loss"] = "not measured: no text was held out"
        del notes["held_out"]
    lines = {NAMES.get(key, key): _shown(value) for key, value in notes.items()}
    return {**lines, "training steps": steps}


def _shown(value: Any) -> str:
    """Returns a note as text, complete."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and all(
        isinstance(each, str | int | float) for each in value.values()
    ):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _vocabulary(vocabulary: Any) -> str:
    """Returns the size of a vocabulary, its first tokens, and the number of others."""
    if vocabulary.level == "character":
        shown = vocabulary.symbols[:MAX_SHOWN]
        text, kind = repr("".join(shown)), "characters"
    elif vocabulary.level == "byte":
        return f"{len(vocabulary):,} bytes of UTF-8"
    elif vocabulary.level == "subword":
        shown = list(_first_words(vocabulary.symbols[256:]))
        text, kind = ", ".join(map(repr, shown)), f"subwords ({vocabulary.model})"
    else:
        shown = list(_first_words(vocabulary.symbols))
        text, kind = ", ".join(map(repr, shown)), "tokens (words and single characters)"
    others = len(vocabulary) - len(shown)
    more = f" and {others:,} more" if others else ""
    return f"{len(vocabulary):,} {kind}: {text}{more}"


def _first_words(symbols: tuple[str, ...]) -> Iterator[str]:
    """Yields the first words of a vocabulary, about `MAX_SHOWN` characters in all."""
    words = [each for each in symbols if each.strip()[:1].isalpha()] or symbols
    lengths = itertools.accumulate(len(word) + 4 for word in words)  # quotes and comma
    for word, length in zip(words, lengths, strict=False):
        yield word
        if length >= MAX_SHOWN:
            break
