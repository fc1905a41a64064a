"""The command line: parses arguments, calls the library, prints.

Keras and TensorFlow are imported by the commands that need them, so that `--help` and
a mistyped argument answer at once.
"""

import argparse
import contextlib
import itertools
import math
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import numpy as np

import textgen
from textgen import catalogue, completion, corpus

WINDOW = 40  # symbols, unless --sequence-length says otherwise
LONG_LINE = 64  # symbols; a line up to this length is never cut by default
# The smallest values that make sense for options of `train`.
LEAST = {
    "units": 1,
    "sequence_length": 1,
    "sequence_stride": 1,
    "epochs": 1,
    "batch_size": 1,
    "max_new_tokens": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "gradient_accumulation_steps": 1,
    "early_stopping": 1,
}
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments, without the program's name. Defaults to `sys.argv[1:]`.

    Returns:
        int. The exit code: 0; 1 for an error of the program's own; 2 for bad input;
        130 after Ctrl-C.
    """
    # What cannot be shown (a lone surrogate, an old terminal) is shown escaped.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has seen enough; nothing more may be written, not at exit either.
        _discard(sys.stdout)
        return 0
    except (ValueError, OSError) as error:
        return _fail(arguments, str(error), 2)
    except Exception as error:
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        message = f"{type(error).__name__}: {error} (TEXTGEN_DEBUG=1 shows where)"
        return _fail(arguments, message, 1)
    return code


def _fail(arguments: argparse.Namespace, message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"textgen {arguments.command}: error: {line}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="textgen",
        description="Train a recurrent language model on a text, and write with it.",
        epilog="`textgen list` shows the models and corpora that are known by name.",
    )
    parser.add_argument(
        "--version", action="version", version=f"textgen {textgen.__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_generate(commands)
    _add_complete(commands)
    _add_evaluate(commands)
    _add_list(commands)
    _add_info(commands)
    _add_convert(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model on a text file or a named corpus",
        description="Train a model on a text, print samples after each epoch, and "
        "save it. Ctrl-C ends the training and saves what was learned.",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=_train)
    add = parser.add_argument
    add("corpus", metavar="CORPUS", help="text file, known name, or - for stdin")
    add("-o", "--output", metavar="FILE", default="model.keras", help="model file")
    add("--overwrite", action="store_true", help="replace existing files")
    add("--log", metavar="CSV", help="write the training curve to this file")

    text = parser.add_argument_group("text")
    add = text.add_argument
    add("--encoding", default="utf-8", help="encoding of the file")
    add("--lowercase", action="store_true", help="lower-case the text")
    add("--level", choices=("character", "word"), default="character", help="symbols")
    add(
        "--vocabulary-size",
        type=int,
        metavar="N",
        help="keep the N most frequent symbols; � stands for the others",
    )
    add("--validation", type=float, default=0.1, help="share kept for validation")

    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--cell", choices=("simple_rnn", "gru", "lstm"), default="lstm", help="kind")
    add("--units", type=int, nargs="+", default=[128], help="units of each layer")
    add("--dropout", type=float, default=0.0, help="after each layer")
    add("--recurrent-dropout", type=float, default=0.0, help="from step to step")
    add("--weight-dropout", type=float, default=0.0, help="of the recurrent weights")
    add("--embedding", type=int, metavar="SIZE", help="vectors in place of one-hot")
    add("--layer-norm", action="store_true", help="normalise each layer's output")
    add("--tie-weights", action="store_true", help="output = transposed embedding")
    kind = model.add_mutually_exclusive_group()
    kind.add_argument(
        "--many-to-many",
        action="store_true",
        help="predict at every step of a sequence, not only after a window",
    )
    kind.add_argument(
        "--lines",
        action="store_true",
        help="each line is a text of its own (names, couplets); many-to-many",
    )

    training = parser.add_argument_group("training")
    add = training.add_argument
    add(
        "--sequence-length",
        type=int,
        help="symbols of a window (default: 40); with --lines, the length at which "
        "longer lines are cut (default: twice the length that 99 %% of the lines do "
        "not exceed, and at least 64)",
    )
    add("--sequence-stride", type=int, default=3, help="from window to window")
    add("--epochs", type=int, default=10, help="passes over the text")
    add("--batch-size", type=int, default=128, help="examples in a step")
    add("--learning-rate", type=float, default=1e-3, help="of Adam")
    add("--schedule", choices=("constant", "cosine"), default="constant", help="of it")
    add("--warmup-steps", type=int, default=0, help="steps in which it rises from 0")
    add("--clip-value", type=float, default=5.0, help="clip each gradient value")
    add("--weight-decay", type=float, default=0.0, help="a step, times the rate")
    add(
        "--gradient-accumulation-steps",
        type=int,
        default=1,
        metavar="N",
        help="batches whose gradients make one step",
    )
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help="stop after N epochs without a lower validation loss; keep the best",
    )
    add("--precision", choices=PRECISIONS, default="float32", help="of the computation")
    add(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile the whole step with XLA (default: where Keras does)",
    )
    add("--seed", type=int, default=0, help="same seed, same weights")

    samples = parser.add_argument_group("samples after each epoch")
    add = samples.add_argument
    add("--prompt", help="what they begin with (default: the first line of the text)")
    add("--temperatures", type=float, nargs="+", default=[0.5, 1.0], help="one each")
    add("--max-new-tokens", type=int, default=200, help="length of a sample")


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="write text with a trained model",
        description="Write text with a trained model; one text appears as it is made.",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=_generate)
    add = parser.add_argument
    _add_models(parser)
    _add_writing(parser)
    add("--prompt", default="", help="what the text begins with")
    add("--stop", nargs="+", metavar="TEXT", help=r"end before any of these; \n works")
    add("--count", type=int, default=1, help="number of texts")
    add("--novel", metavar="CORPUS", help="no text that is a line of it, none twice")
    add("--no-echo", action="store_true", help="leave the prompt out")
    add("-o", "--output", metavar="FILE", help="write to this new file")

    choice = parser.add_argument_group("how each symbol is chosen")
    add = choice.add_argument
    add("--top-k", type=int, help="only the so many most probable symbols")
    add("--top-p", type=float, help="only the most probable of this share together")
    add("--min-p", type=float, help="at least this share of the most probable")
    add("--typical-p", type=float, help="only the most typical of this share together")
    add("--repetition-penalty", type=float, help="above 1, less is said again")
    add("--forbid", default="", metavar="SYMBOLS", help="symbols never to write")
    add("--num-beams", type=int, help="search for the most probable text instead")
    add("--length-penalty", type=float, default=1.0, help="of the search; more: longer")


def _add_complete(commands: Any) -> None:
    parser = commands.add_parser(
        "complete",
        help="ask for beginnings, and write on",
        description="Asks for the beginning of a poem, writes the rest, and asks "
        "again; /help lists what else can be typed. Ctrl-C stops the poem, Ctrl-D "
        "leaves. In a pipe: a beginning on each line, poems out.",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=_complete)
    _add_models(parser)
    _add_writing(parser)


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="say how well a model predicts a text",
        description="Say how well a model predicts a text, in nats and bits a symbol.",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=_evaluate)
    add = parser.add_argument
    _add_models(parser)
    add("corpus", metavar="CORPUS", help="text file, known name, or - for stdin")
    add("--encoding", default="utf-8", help="encoding of the file")
    add("--lowercase", action="store_true", help="lower-case the text")
    add(
        "--last",
        type=float,
        metavar="SHARE",
        help="only the share of the text that train --validation SHARE holds out",
    )
    add("--lines", action="store_true", help="each line is a text of its own")
    add("--seed", type=int, default=0, help="with --lines --last: the seed of train")
    add("--unknown", help="for unknown symbols: error, skip, or a stand-in")


def _add_models(parser: argparse.ArgumentParser) -> None:
    """Adds what `_load` needs."""
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a .keras file, or a name that `textgen list` shows; several are blended",
    )
    add("--weights", type=float, nargs="+", help="shares of blended models")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    """Adds what every way of writing takes."""
    add = parser.add_argument
    add(
        "--temperature",
        type=float,
        nargs="+",
        default=[0.7],
        help="0 is the most probable symbol; several take turns",
    )
    add("--max-new-tokens", type=int, default=400, help="symbols to write")
    add("--max-lines", type=int, help="end after so many lines")
    add("--seed", type=int, help="same seed, same text (default: a new text)")
    add("--unknown", help="for unknown prompt symbols: error, skip, or a stand-in")


def _add_list(commands: Any) -> None:
    parser = commands.add_parser(
        "list",
        help="show the pretrained models and the named corpora",
        description="Show the models that come with textgen, which the other commands "
        "take by name, and the corpora that `train` and `evaluate` take by name.",
    )
    parser.set_defaults(run=_list)


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="say what a model is, and how it computes here",
        description="Say what a model is: its network, its vocabulary, and how it "
        "computes on this machine.",
    )
    parser.set_defaults(run=_info)
    parser.add_argument(
        "models",
        nargs=1,
        metavar="MODEL",
        help="a .keras file, or a name that `textgen list` shows",
    )


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert",
        help="make a .keras file of an old Keras 2 model (.h5)",
        description="Make a .keras file of a model that Keras 2 saved as .h5, with the "
        "vocabulary of the text it was trained on.",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=_convert)
    add = parser.add_argument
    add("model", metavar="OLD.h5", help="a file that model.save of Keras 2 wrote")
    add("output", metavar="NEW.keras", help="the file to write")
    add("--overwrite", action="store_true", help="replace an existing file")
    add("--corpus", required=True, help="the text that the model was trained on")
    add("--encoding", default="utf-8", help="encoding of the text")
    add("--lowercase", action="store_true", help="lower-case the text")
    add("--level", choices=("character", "word"), default="character", help="symbols")


class _LastingStream:
    """A text stream that goes on, into nothing, when its reader has gone away.

    Without it, `textgen train … | head` would end the training at the first line that
    nobody reads, and lose what was learned.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or drops it."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            _discard(self._stream)


@contextlib.contextmanager
def _lasting_output() -> Iterator[None]:
    """Lets a command finish its work when the reader of its output has gone away."""
    out, errors = (
        cast(TextIO, _LastingStream(stream)) for stream in (sys.stdout, sys.stderr)
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


def _discard(stream: TextIO) -> None:
    """Sends what a stream still holds, and all that follows, to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@_lasting_output()
def _train(arguments: argparse.Namespace) -> None:
    output = _output(arguments)
    for name in ("learning_rate", "clip_value"):
        if not 0 < getattr(arguments, name) < float("inf"):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} {getattr(arguments, name)} must be positive.")
    for name, least in LEAST.items():
        values = getattr(arguments, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not least <= value < float("inf"):
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} {value} must be at least {least}.")
    if arguments.early_stopping and not arguments.validation:
        raise ValueError("--early-stopping needs a --validation above 0.")
    if arguments.log:
        _check_new_file(arguments.log, arguments.overwrite)
    print(f"Reading {arguments.corpus}", flush=True)
    text = corpus.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    keras = _import_keras()
    keras.utils.set_random_seed(arguments.seed)

    size = arguments.vocabulary_size
    vocabulary = textgen.Vocabulary.from_text(
        text, arguments.level, size, unknown="error" if size is None else "\ufffd"
    )
    train_ids, validation_ids = (
        vocabulary.encode(part if isinstance(part, str) else "\n".join(part))
        for part in _split(text, arguments.validation, vocabulary, arguments)
    )
    length = arguments.sequence_length
    if length is None:
        length = _line_limit(train_ids, vocabulary) if arguments.lines else WINDOW
    train = _dataset(train_ids, vocabulary, arguments, length)
    validation = None
    if arguments.validation:
        validation = _dataset(validation_ids, vocabulary, arguments, length, train)
    model = textgen.LanguageModel(
        vocabulary,
        cell=arguments.cell,
        units=arguments.units,
        dropout=arguments.dropout,
        recurrent_dropout=arguments.recurrent_dropout,
        weight_dropout=arguments.weight_dropout,
        embedding=arguments.embedding,
        layer_norm=arguments.layer_norm,
        tie_weights=arguments.tie_weights,
        return_sequences=arguments.many_to_many or arguments.lines,
        sequence_length=length,
        dtype=arguments.precision,
    )
    model.compile(
        _optimizer(keras, arguments, len(train)),
        jit_compile="auto" if arguments.jit is None else arguments.jit,
    )
    if arguments.prompt is not None:
        prompt = completion.unescape(arguments.prompt)
    else:
        first_line = text[:10_000].lstrip().split("\n")[0]
        symbols = list(vocabulary.tokens(first_line))[:WINDOW]
        prompt = "" if arguments.lines else "".join(symbols)
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        textgen.SampleText(
            prompt,
            arguments.temperatures,
            max_new_tokens=arguments.max_new_tokens,
            stop="\n" if arguments.lines else None,
        ),
    ]
    if arguments.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                patience=arguments.early_stopping, restore_best_weights=True
            )
        )
    if arguments.log:
        callbacks.append(keras.callbacks.CSVLogger(arguments.log))
    print(
        f"{len(text):,} characters, {len(vocabulary):,} symbols, "
        f"{len(train):,} batches an epoch, {model.count_params():,} weights"
    )
    with _interruptible(model):
        history = model.fit(
            train,
            epochs=arguments.epochs,
            validation_data=validation,
            callbacks=callbacks,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if not all(map(math.isfinite, history.history.get("loss", []))):
        raise ValueError(
            "The loss became infinite or NaN, and nothing was saved: use a smaller "
            f"--learning-rate than {arguments.learning_rate}."
        )
    if not int(model.optimizer.iterations):
        print("Nothing was learned yet, and nothing is saved.")
        return
    model.save(output)
    more = ["textgen", "generate", str(output)]
    more += (
        ["--count", "10", "--stop", r"\n"] if arguments.lines else ["--prompt", prompt]
    )
    print(f"Saved {output}. To write with it:\n  {shlex.join(more)}")


def _optimizer(keras: Any, arguments: argparse.Namespace, batches: int) -> Any:
    """Adam as the options say; `batches` is the number of them in an epoch."""
    accumulated = arguments.gradient_accumulation_steps
    rate = arguments.learning_rate
    if arguments.schedule == "cosine" or arguments.warmup_steps:
        # The rate goes by the batches that were seen, with accumulation too.
        steps = arguments.epochs * batches - arguments.warmup_steps
        if steps < 1:
            raise ValueError(
                f"--warmup-steps {arguments.warmup_steps} must be less than the "
                f"{arguments.epochs * batches} steps of this training."
            )
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if arguments.warmup_steps else rate,
            steps,
            alpha=0.0 if arguments.schedule == "cosine" else 1.0,
            warmup_target=rate if arguments.warmup_steps else None,
            warmup_steps=arguments.warmup_steps,
        )
    return keras.optimizers.Adam(
        rate,
        clipvalue=arguments.clip_value,
        weight_decay=arguments.weight_decay or None,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
    )


@contextlib.contextmanager
def _interruptible(model: Any) -> Iterator[None]:
    """Lets Ctrl-C end a training after its step, with the model whole.

    A KeyboardInterrupt could be raised, and lost, anywhere in Keras or TensorFlow. A
    second Ctrl-C raises it all the same.
    """

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        model.stop_training = True
        print("\nStopping; what was learned will be saved.", flush=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _convert(arguments: argparse.Namespace) -> None:
    output = _output(arguments)
    text = corpus.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    _import_keras()
    from textgen import legacy

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        vocabulary = textgen.Vocabulary.from_text(text, arguments.level)
        model = legacy.convert(arguments.model, vocabulary)
    for warning in caught:
        print(f"textgen convert: warning: {warning.message}", file=sys.stderr)
    model.save(output)
    more = shlex.join(["textgen", "generate", str(output)])
    print(f"Saved {output}. To write with it:\n  {more}")


def _output(arguments: argparse.Namespace) -> Path:
    """Checks where a model is to be saved, before any work is done for it."""
    output = Path(arguments.output)
    if output.suffix != ".keras":
        raise ValueError(f"The output {output} must end in .keras.")
    _check_new_file(output, arguments.overwrite)
    return output


def _check_new_file(path: str | Path, overwrite: bool | None = None) -> None:
    """Checks that a file can be written, before any work is done for it.

    Args:
        path: str or path.
        overwrite: bool or `None`. Whether `--overwrite` was given; `None` for a command
            that has no such option.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write into.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"No file {path} can be written here.")
    if path.exists() and not overwrite:
        option = "" if overwrite is None else "--overwrite, or "
        raise FileExistsError(f"{path} exists; give {option}another name.")


def _split(
    text: str, validation: float, vocabulary: Any, arguments: argparse.Namespace
) -> tuple[Any, Any]:
    """Cuts a text into what `train` learns from and what it holds out.

    Returns:
        Two str, or, with `--lines`, two lists of lines.
    """
    if arguments.lines:
        return corpus.split_lines(text, validation, arguments.seed)
    if vocabulary.level == "character":
        return corpus.split(text, validation)
    # A word is not cut in two.
    ends = np.fromiter(map(len, vocabulary.tokens(text)), np.int64).cumsum()
    train_ends, _ = corpus.split(ends, validation)
    cut = int(train_ends[-1]) if len(train_ends) else 0
    return text[:cut], text[cut:]


def _line_limit(ids: Any, vocabulary: Any) -> int:
    """The length in symbols at which lines are cut, unless an option says otherwise.

    Each line takes as many steps as the longest, so one stray line of a megabyte would
    make every batch a megabyte wide.
    """
    newlines = np.flatnonzero(ids == vocabulary.ids.get("\n", -1))
    lengths = np.diff(newlines, prepend=-1, append=len(ids)) - 1
    usual = np.percentile(lengths[lengths > 0], 99) if lengths.any() else 0
    return max(LONG_LINE, math.ceil(2 * usual))


def _dataset(
    ids: Any,
    vocabulary: Any,
    arguments: argparse.Namespace,
    length: int,
    train: Any = None,
) -> Any:
    """Makes the dataset to train on; given that, the one to validate on."""
    rows, seed = arguments.batch_size, arguments.seed
    try:
        if arguments.lines:
            return _lines(ids, vocabulary, length, rows, seed)
        if arguments.many_to_many:
            if train is not None:  # it may be short, and is still to make a batch
                rows = max(1, min(rows, len(ids) // (2 * length)))
            return textgen.SequenceDataset(ids, length, rows, seed=seed)
        return textgen.WindowDataset(
            ids, length, arguments.sequence_stride, rows, seed=seed
        )
    except ValueError as error:
        part = "training" if train is None else "validation"
        raise ValueError(f"The {part} part of the text: {error}") from error


def _lines(ids: Any, vocabulary: Any, length: int, rows: int, seed: int) -> Any:
    """Makes a dataset of lines, with a warning if some are cut."""
    if "\n" not in vocabulary:
        raise ValueError("--lines needs a text of several lines.")

    def cut_at(steps: int | None) -> Any:
        return textgen.LineDataset(
            ids, vocabulary.ids["\n"], steps, batch_size=rows, seed=seed
        )

    dataset = cut_at(None)
    if dataset.sequence_length <= length:
        return dataset
    dataset = cut_at(length)
    if dataset.num_cut:
        print(
            f"textgen train: warning: {dataset.num_cut:,} of {dataset.num_examples:,} "
            f"lines are longer than {length:,} symbols and are cut there "
            "(--sequence-length sets another length)",
            file=sys.stderr,
        )
    return dataset


def _generate(arguments: argparse.Namespace) -> None:
    if arguments.count < 1:
        raise ValueError(f"--count {arguments.count} must be at least 1.")
    if arguments.output:
        _check_new_file(arguments.output)
    known = None
    if arguments.novel:
        known = corpus.load_corpus(arguments.novel).split("\n")
    model = _load(arguments)
    filters = ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    options = {
        "max_new_tokens": arguments.max_new_tokens,
        "max_lines": arguments.max_lines,
        "temperature": arguments.temperature,
        "stop": [completion.unescape(text) for text in arguments.stop or []] or None,
        "seed": arguments.seed,
        "unknown": arguments.unknown,
        "echo": not arguments.no_echo,
        "forbidden": completion.unescape(arguments.forbid),
        **{name: getattr(arguments, name) for name in filters},
    }
    prompt = completion.unescape(arguments.prompt)
    pieces: Iterable[str]
    if arguments.count == 1 and known is None and arguments.num_beams is None:
        pieces = itertools.chain(model.stream(prompt, **options), ["\n"])
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            texts = model.generate(
                prompt,
                count=arguments.count,
                exclude=known,
                num_beams=arguments.num_beams,
                length_penalty=arguments.length_penalty,
                **options,
            )
        for warning in caught:
            print(f"textgen generate: {warning.message}", file=sys.stderr)
        pieces = [text + "\n" for text in texts]
    with contextlib.ExitStack() as stack:
        out = sys.stdout
        if arguments.output:
            out = stack.enter_context(open(arguments.output, "x", encoding="utf-8"))
        for piece in pieces:
            print(piece, end="", file=out, flush=True)


def _complete(arguments: argparse.Namespace) -> int:
    return completion.complete(
        _load(arguments),
        temperature=arguments.temperature,
        max_new_tokens=arguments.max_new_tokens,
        max_lines=arguments.max_lines,
        seed=arguments.seed,
        unknown=arguments.unknown,
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    last = arguments.last
    if last is not None and not 0 < last < 1:
        raise ValueError(f"--last {last} must be between 0 and 1.")
    text: Any = corpus.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    model = _load(arguments)
    if last is not None or arguments.lines:
        parts = _split(text, last or 0.0, model.vocabulary, arguments)
        text = parts[0] if last is None else parts[1]
    if arguments.lines:
        text = [line + "\n" for line in text]
    score = model.score(text, unknown=arguments.unknown)
    lines = {
        "symbols": f"{score.count:,}",
        "nats": f"{score.nats:.4f} a symbol",
        "bits": f"{score.bits:.4f} a symbol",
        "perplexity": f"{score.perplexity:.4g}",
    }
    for name, value in lines.items():
        print(f"{name + ':':12}{value}")


def _list(arguments: argparse.Namespace) -> None:
    print("Pretrained models, with the loss on held-out text:\n")
    for name, model in catalogue.PRETRAINED.items():
        path = catalogue.path_of(name)
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "missing"
        bits = model.nats / math.log(2)
        print(f"  {name}: {model.description}")
        print(f"    {size}, {model.nats:.3f} nats, {bits:.3f} bits a character")
        print(f"    {shlex.join(['textgen', 'generate', name, *model.options])}")
    print("\nCorpora:\n")
    for name, known in corpus.CORPORA.items():
        where = "downloaded when first used" if known.url else "part of textgen"
        print(f"  {name}: {known.description}")
        print(f"    {known.characters:,} characters, {where}; {known.license}")


def _info(arguments: argparse.Namespace) -> None:
    model = _load(arguments)
    vocabulary = model.vocabulary
    shown = "".join(vocabulary.symbols[:60]) if vocabulary.level == "character" else ""
    if isinstance(model, textgen.LanguageModel):
        kind = "many-to-many" if model.return_sequences else "many-to-one"
        if not model.return_sequences:
            kind += f", windows of {model.sequence_length}"
        elif model.start_step:
            kind += ", begins with a start step"
        lines = {
            "network": f"{model.cell}, units {' '.join(map(str, model.units))}, {kind}",
            "input": f"vectors of {model.embedding}" if model.embedding else "one-hot",
            "computation": model.computation(),
        }
    else:
        names = [type(layer).__name__ for layer in model.network.layers]
        lines = {
            "network": f"of one's own: {', '.join(names)}",
            "input": model.input_kind,
        }
    if entry := catalogue.PRETRAINED.get(arguments.models[0]):
        lines |= {
            "corpus": entry.corpus,
            "held-out": f"{entry.nats:.4f} nats a character",
        }
    lines |= {
        "weights": f"{model.count_params():,}",
        "steps": f"{int(model.optimizer.iterations):,}" if model.compiled else "none",
        "vocabulary": f"{len(vocabulary):,} {vocabulary.level}s {shown!r}",
    }
    for name, value in lines.items():
        print(f"{name + ':':13}{value}")


def _load(arguments: argparse.Namespace) -> Any:
    """Loads a model, or several as one; tells of a mistyped name at once."""
    paths = [catalogue.find(model) for model in arguments.models]
    weights = getattr(arguments, "weights", None)
    if weights and len(weights) != len(paths):
        raise ValueError(
            f"--weights has {len(weights)} numbers for {len(paths)} models."
        )
    _import_keras()
    models = [textgen.load(path) for path in paths]
    return models[0] if len(models) == 1 else textgen.Blend(models, weights)


def _import_keras() -> Any:
    """Imports Keras without the lines that TensorFlow prints as it starts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_descriptor(2):
        import keras

        # The first operation looks for a GPU, and says so when there is none.
        keras.ops.zeros(())
    return keras


@contextlib.contextmanager
def _silent_descriptor(descriptor: int) -> Iterator[None]:
    """Sends a file descriptor nowhere: native code does not use `sys.stderr`."""
    saved, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(nowhere)
