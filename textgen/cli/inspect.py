"""`textgen evaluate`, `textgen info` and `textgen list`."""

import argparse
import math
import shlex
from typing import Any

import textgen
from textgen.cli import common, options
from textgen.models import catalogue
from textgen.text import corpora


def add_evaluate(commands: Any) -> None:
    """Adds the command `evaluate` to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure how well a model predicts a text",
        description="Measure how well a model predicts a text: the mean negative log "
        "probability of a symbol, in nats and bits, and the perplexity.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_evaluate, parser=parser)
    add = parser.add_argument
    options.add_models(parser)
    add(
        "corpus",
        metavar="CORPUS",
        help="text file, corpus name, or - for standard input",
    )
    add("--encoding", default="utf-8", help="text encoding of the file")
    add("--lowercase", action="store_true", help="convert the text to lower case")
    add(
        "--last",
        type=float,
        metavar="SHARE",
        help="evaluate only the part of the text that `train --validation SHARE` holds "
        "out",
    )
    add("--lines", action="store_true", help="score each line as a separate text")
    add(
        "--seed",
        type=int,
        default=0,
        help="the seed of `train`, for --lines with --last",
    )
    add(
        "--unknown",
        help="what to do with symbols that the model does not know: error, skip, or a "
        "symbol that replaces them",
    )


def add_list(commands: Any) -> None:
    """Adds the command `list` to the parser."""
    parser = commands.add_parser(
        "list",
        help="list the pretrained models and the named corpora",
        description="List the pretrained models and the corpora that other commands "
        "take by name.",
    )
    parser.set_defaults(run=_list, parser=parser)


def add_info(commands: Any) -> None:
    """Adds the command `info` to the parser."""
    parser = commands.add_parser(
        "info",
        help="describe a model",
        description="Describe a model: its network, its vocabulary, and the device "
        "that it runs on here.",
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
    text: Any = corpora.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    model = common.load(arguments)
    if last is not None or arguments.lines:
        parts = common.split(text, last or 0.0, model.vocabulary, arguments)
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
    for name, known in corpora.CORPORA.items():
        where = "downloaded when first used" if known.url else "part of textgen"
        print(f"  {name}: {known.description}")
        print(f"    {known.characters:,} characters, {where}; {known.license}")


def _info(arguments: argparse.Namespace) -> None:
    model = common.load(arguments)
    vocabulary = model.vocabulary
    shown = "".join(vocabulary.symbols[:60]) if vocabulary.level == "character" else ""
    if isinstance(model, textgen.LanguageModel):
        kind = "many-to-many" if model.return_sequences else "many-to-one"
        if not model.return_sequences:
            kind += f", windows of {model.sequence_length}"
        elif model.start_step:
            kind += ", begins with a start step"
        if model.end_token is not None:
            kind += f", ends with {vocabulary.symbols[model.end_token]!r}"
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
