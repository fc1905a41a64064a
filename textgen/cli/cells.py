"""`textgen cells` and `textgen surprise`: what a model has learned from a text."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import textgen
from textgen import files
from textgen.cli import common, options
from textgen.cli.writing import keyboard_interrupts
from textgen.messages import printable
from textgen.text import sources
from textgen.text.normalization import normalized
from textgen.text.prepared import PreparedCorpus, is_prepared
from textgen.text.reading import CorpusReader

MAX_CHARACTERS = 20_000

MINIMUMS = {"max_characters": 1, "start": 0}

MORE = " (--max-characters N reads more)"

_SHOWN = 10  # surprising places


def add_cells(commands: Any) -> None:
    """Adds the command `cells` to the parser."""
    parser = commands.add_parser(
        "cells",
        help="find out what the cells of a model have learned",
        usage="%(prog)s MODEL CORPUS [options]",
        description="Compare each cell of a model with readable features of a text, "
        "such as the position in the line or the names of speakers, and print the "
        "cells that follow them best, with their correlation r, over the whole text "
        "and in its halves. With --output, write a page that shows the text coloured "
        "by the activation of any cell. Open it in a browser; it needs no network.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_cells, parser=parser)
    _add_reading(parser, "write this page, FILE.html")


def add_surprise(commands: Any) -> None:
    """Adds the command `surprise` to the parser."""
    parser = commands.add_parser(
        "surprise",
        help="show how surprising each character of a text is for a model",
        usage="%(prog)s MODEL CORPUS [options]",
        description="Measure the surprisal of each character of a text: the negative "
        "logarithm of the probability that the model gave it, in bits. Print the mean "
        "and the most surprising places. With --output, write the text coloured by "
        "its surprisal.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_surprise, parser=parser)
    parser.add_argument(
        "--with",
        dest="second",
        metavar="MODEL2",
        help="compare with a second model: by how many bits it is more surprised than "
        "the first one. If their tokens differ, the bits of a token are spread evenly "
        "over its characters",
    )
    _add_reading(
        parser,
        "write the coloured text: a page, FILE.html, or a picture of its first lines, "
        "FILE.png (needs matplotlib: pip install 'keras-textgen[plot]')",
    )


def _add_reading(parser: argparse.ArgumentParser, output: str) -> None:
    """Adds model, text and output."""
    add = parser.add_argument
    add(
        "models",
        nargs=1,
        metavar="MODEL",
        help="a .keras file, or the name of a pretrained model (see `textgen list`)",
    )
    add("corpus", metavar="CORPUS", help=f"the text to read: {options.CORPUS}")
    add("-o", "--output", metavar="FILE", help=output)
    add("--overwrite", action="store_true", help="replace an existing --output")
    add(
        "--max-characters",
        type=int,
        default=MAX_CHARACTERS,
        metavar="N",
        help="read at most N characters of the text",
    )
    add(
        "--start",
        type=int,
        default=0,
        metavar="N",
        help="leave out the first N characters of the text",
    )
    add(
        "--lines",
        action="store_true",
        help="read each line as a separate text, as a model of lines always does",
    )
    options.add_encoding(parser)
    options.add_unknown(parser, "text")


def _cells(arguments: argparse.Namespace) -> None:
    output = _checked_output(arguments, (".html",))
    with keyboard_interrupts():
        common.check_corpus(arguments)
        model = common.load(arguments)
        text, cut, about = _read(arguments, [model])
    # They import Keras.
    from textgen.analysis import cells_page, ranking

    texts, apart = _separate(text, cut, arguments, [model])
    activations = textgen.cell_activations(model, texts, arguments.unknown)
    measured = ranking.measure(activations)
    baseline = _baseline(model, texts, arguments.unknown)
    about += apart
    shown = cells_page.tokens_shown(activations)
    fewer = shown < len(activations.tokens)
    if output is not None:
        title = f"What the cells of {_name(arguments.models[0])} have learned"
        part = f"; the page shows the first {shown:,} of them" if fewer else ""
        page = cells_page.cells_page(
            activations, measured, title, f"{about}{part}.", baseline
        )
        _write(output, page.encode())
    sizes = ", ".join(
        f"{size} of {printable(name)}" for name, size in activations.layers
    )
    cells = activations.values.shape[1]
    print(f"{about}{MORE * cut}; {cells:,} cells: {sizes}\n")
    matches = ranking.best_of(measured, activations, 1)
    _print_matches(matches, baseline, len(activations.tokens))
    if output is not None and fewer:
        print(f"\nThe page shows the first {shown:,} tokens, so that it stays small.")


def _baseline(model: Any, texts: Any, unknown: str | None) -> dict[str, float]:
    """Returns the best correlations of the same network with random weights."""
    from textgen.analysis import activations, ranking

    textgen.import_keras().utils.set_random_seed(0)
    other = activations.untrained(model)
    found = activations.cell_activations(other, texts, unknown)
    return ranking.best_sizes(ranking.measure(found))


def _print_matches(matches: list, baseline: dict[str, float], count: int) -> None:
    """Prints a table of the cells that follow a feature best."""
    if not matches:
        print("No feature of this text varies enough to be compared.")
        return
    places = [f"{printable(each.layer)} {each.number}" for each in matches]
    names = max(len("feature"), *(len(each.feature) for each in matches))
    width = max(len("best cell"), *map(len, places))
    print(
        f"{'feature':{names}}  {'best cell':{width}}       r  in the halves   untrained"
    )
    for each, place in zip(matches, places, strict=True):
        first, second = each.halves
        print(
            f"{each.feature:{names}}  {place:{width}}  {each.r:+.3f}  "
            f"{first:+.3f} {second:+.3f}  {baseline[each.feature]:.3f}"
        )
    print(
        f"\nr: correlation over {count:,} tokens of this text. The best of many cells "
        "follows many features\neven without training: the last column is the best "
        "|r| of the same network with random weights."
    )


def _surprise(arguments: argparse.Namespace) -> None:
    output = _checked_output(arguments, (".html", ".png"))
    if output and output.suffix == ".png":
        from textgen.analysis.picture import check_matplotlib

        check_matplotlib()
    with keyboard_interrupts():
        common.check_corpus(arguments)
        names = [arguments.models[0], arguments.second][: 1 + bool(arguments.second)]
        models = [common.load(arguments, [name]) for name in names]
        text, cut, about = _read(arguments, models)
    texts, apart = _separate(text, cut, arguments, models)
    found = [textgen.surprisal(each, texts, arguments.unknown) for each in models]
    from textgen.analysis import surprise_page

    shown = [_name(name) for name in names]
    second = found[1] if arguments.second else None
    pieces, channels = surprise_page.channels_of(found[0], second, shown)
    means = [
        f"{each.bits_per_character:.4f} bits per character for {name}"
        for name, each in zip(shown, found, strict=True)
    ]
    about += apart
    note, text_name = "", _name(arguments.corpus)
    if output is not None and output.suffix == ".html":
        title = f"How surprising {text_name} is for {' and '.join(shown)}"
        line = f"{about}. {'; '.join(means)}."
        page = surprise_page.surprise_page(pieces, channels, title, line)
        _write(output, page.encode())
    elif output is not None:
        mean = surprise_page.mean_per_character(pieces, channels[0].values)
        sign = "+" if channels[0].signed else ""
        title = f"{text_name}: {mean:{sign}.2f} bits per character"
        note = _write_picture(output, pieces, channels[0], title)
    print(f"{about}{MORE * cut}\n", *means, sep="\n")
    _print_places(pieces, channels[0], shown)
    print(note, end="")


def _print_places(pieces: Any, channel: Any, names: list[str]) -> None:
    """Prints the mean of a difference, and the most surprising places."""
    from textgen.analysis import surprise_page

    values = channel.values
    lists = [("The most surprising places, in bits:", values, _SHOWN)]
    if channel.signed:
        mean = surprise_page.mean_per_character(pieces, values)
        print(f"{mean:+.4f} bits per character: {names[1]} minus {names[0]}")
        lists = [
            (f"Where {names[1]} is more surprised, in bits:", values, _SHOWN // 2),
            (f"Where {names[0]} is more surprised, in bits:", -values, _SHOWN // 2),
        ]
    for heading, numbers, count in lists:
        print(f"\n{heading}\n")
        for place in surprise_page.most_surprising(numbers, count):
            before, token, after = (
                printable(f"|{each}|".replace("\n", "↵"))[1:-1]
                for each in surprise_page.context(pieces, place)
            )
            sign = "+" if channel.signed else ""
            print(f"{numbers[place]:{sign}7.2f}  {before}[{token}]{after}")


def _write_picture(output: Path, pieces: Any, channel: Any, title: str) -> str:
    """Writes a picture; returns what it does not show, in words."""
    from textgen.analysis import picture

    data, missing = picture.picture(pieces, channel, title)
    _write(output, data)
    if missing:
        print(
            f"textgen surprise: warning: no installed font has these {len(missing):,} "
            f"characters, which are not drawn: {printable(missing, 60)}",
            file=sys.stderr,
        )
    drawn, total = len(picture.layout(pieces)[0]), sum(map(len, pieces))
    if drawn == total:
        return ""
    page = printable(output.with_suffix(".html"))
    return (
        f"\nThe picture has {picture.MAX_LINES} lines, the first {drawn:,} characters; "
        f"{page} would have all {total:,}.\n"
    )


def _checked_output(
    arguments: argparse.Namespace, suffixes: tuple[str, ...]
) -> Path | None:
    """Checks options before any work is done; returns the path of the output."""
    options.check_minimums(arguments, MINIMUMS)
    if arguments.label_field:
        raise ValueError(
            "--label-field: this command reads a text without labels. Leave it out."
        )
    if arguments.output is None:
        return None
    output = Path(arguments.output)
    if output.suffix not in suffixes:
        raise ValueError(
            f"--output {printable(output)} must end in {' or '.join(suffixes)}."
        )
    common.check_new_file(output, "--output", arguments.overwrite)
    return output


def _read(arguments: argparse.Namespace, models: list) -> tuple[str, bool, str]:
    """Returns the part of the text to read, whether it was cut, and what it is."""
    start, most = arguments.start, arguments.max_characters
    names = sources.names_of(arguments.corpus)
    with common.short_warnings(arguments.parser):
        text = "".join(_first(_pieces(names, arguments), start + most + 1))
    cut = len(text) > start + most
    part = text[start : start + most]
    if any(each.vocabulary.level == "word" for each in models):
        start, part = _whole_words(text, start, start + most)
    if not part:
        raise ValueError(
            f"--start {arguments.start}: the text has only {len(text):,} characters."
        )
    name = _name(sources.shortened(names))
    about = f"{len(part):,} characters of {name}"
    if start:
        about += f", from character {start + 1:,} on"
    return part, cut, about


def _whole_words(text: str, start: int, end: int) -> tuple[int, str]:
    """Returns a part of a text without the pieces of words at its ends.

    Returns:
        Where the part starts, and the part; all of it, if it has no space.
    """
    part = text[start:end]
    spaces = [at for at, each in enumerate(part) if each.isspace()]
    first, last = 0, len(part)
    if spaces and start and not text[start - 1].isspace():
        first = spaces[0]
    if spaces and end < len(text) and not text[end].isspace():
        last = spaces[-1] + 1
    return start + first, part[first:last]


def _pieces(names: list[str], arguments: argparse.Namespace) -> Iterator[str]:
    """Yields the text of a corpus in pieces, as the options say."""
    if len(names) == 1 and is_prepared(names[0]):
        corpus = PreparedCorpus.load(names[0])
        decoder = corpus.tokenizer.decoder()
        for at in range(0, len(corpus.ids), 1 << 16):
            yield decoder.feed(corpus.ids[at : at + (1 << 16)])
        yield decoder.flush()
        return
    values = common.text_options(arguments)
    reader = CorpusReader(
        names,
        values["encoding"],
        values["replace"],
        values["newlines"],
        values["field"],
    )
    yield from normalized(reader, values["lowercase"], values["normalization"])


def _first(pieces: Iterator[str], count: int) -> Iterator[str]:
    """Yields pieces of a text, until they have `count` characters."""
    for piece in pieces:
        yield piece[:count]
        count -= len(piece)
        if count <= 0:
            break


def _separate(
    text: str, cut: bool, arguments: argparse.Namespace, models: list
) -> tuple[str | list[str], str]:
    """Returns a text, or its lines for models of lines, and this in words.

    As for `textgen evaluate --lines`, blank lines do not count, and each line ends with
    a newline, but not in the middle of a line that was cut.
    """
    if not arguments.lines and not any(each.start_step for each in models):
        return text, ""
    lines = [f"{line}\n" for line in text.split("\n") if line]
    if lines and cut and not text.endswith("\n"):
        lines[-1] = lines[-1][:-1]
    if not lines:
        raise ValueError("The text has only blank lines: there is no line to read.")
    for model in models:
        if "\n" not in model.vocabulary:
            raise ValueError("--lines: the vocabulary of a model has no newline.")
    return lines, ", each line as a separate text"


def _name(text: str) -> str:
    """Returns the name of a model or text for a heading."""
    if text == sources.STANDARD_INPUT:
        return "standard input"
    return printable(Path(text).name or text, 60)


def _write(output: Path, data: bytes) -> None:
    with keyboard_interrupts(), files.replacing(output) as file:
        file.write(data)
