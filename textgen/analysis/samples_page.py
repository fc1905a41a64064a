"""The samples of a training as one page: `samples_page`."""

import html
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

from textgen import files, html_page
from textgen.messages import printable

_LOSSES = {"loss": "loss", "val_loss": "held-out loss"}


def samples_page(path: str | os.PathLike[str]) -> str:
    """Returns a page that shows the samples of a training, epoch by epoch.

    The page needs no other file and no network. The samples are text in it, whatever
    they contain.

    Args:
        path: The JSON Lines file of `textgen train --samples` or
            `textgen.SampleText(file=…)`.

    Returns:
        str, HTML.

    Raises:
        OSError: The file cannot be read, or is no regular file.
        ValueError: It is no file of samples. The message says why.
    """
    places = _places(read_samples(path))
    template = resources.files("textgen.analysis").joinpath("samples.html")
    page = template.read_text(encoding="utf-8")
    script, style = (
        re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)[1]  # type: ignore[index]
        for kind in ("script", "style")
    )
    parts = {
        "policy": html_page.policy(script, style),
        "title": html.escape(_shown(Path(path).stem)),
        "summary": html.escape(_summary(places)),
        "curve": _curve(places),
        "last": str(len(places) - 1),
        "sections": "\n".join(map(_section, places)),
    }
    return html_page.filled(page, parts)


def read_samples(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the samples of a file, one dict for each line.

    A last line that is not complete is left out: the training may be writing it.

    Raises:
        OSError, ValueError: As for `samples_page`.
    """
    name = printable(path)
    with files.open_regular(path) as file:
        *lines, _ = file.read().split(b"\n")
    samples = []
    for number, line in enumerate(lines, 1):
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{name} is no JSON Lines file: line {number} is no JSON value."
            ) from error
        if not _is_sample(sample):
            raise ValueError(
                f"{name}: line {number} is no sample of a training. `textgen train "
                "--samples` writes them, and so does SampleText(file=…)."
            )
        samples.append(sample)
    if not samples:
        raise ValueError(f"{name} has no sample yet.")
    return samples


def _is_sample(sample: Any) -> bool:
    if not isinstance(sample, dict):
        return False
    epoch, batch = sample.get("epoch"), sample.get("batch")
    logs = sample.get("logs", {})
    return (
        type(epoch) is int
        and type(batch) in (int, type(None))
        and _is_number(sample.get("temperature"))
        and isinstance(sample.get("text"), str)
        and isinstance(sample.get("prompt", ""), str)
        and isinstance(logs, dict)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9


def _places(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the moments of the training: epoch, batch, logs and samples of each."""
    places: dict[tuple, dict[str, Any]] = {}
    for sample in samples:
        epoch, batch = sample["epoch"], sample.get("batch")
        place = places.setdefault(
            (epoch, batch),
            {"epoch": epoch, "batch": batch, "logs": {}, "samples": {}},
        )
        place["logs"] = sample.get("logs", {})
        place["samples"].setdefault(sample["temperature"], []).append(sample)
    return [
        places[key] for key in sorted(places, key=lambda key: (key[0], key[1] or 0))
    ]


def _shown(text: str) -> str:
    """Returns a text as UTF-8 has it: half of a surrogate pair becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def _title(place: dict[str, Any]) -> str:
    if place["batch"] is None:
        return f"After epoch {place['epoch']:,}"
    return f"After batch {place['batch']:,}"


def _summary(places: list[dict[str, Any]]) -> str:
    number = sum(len(each) for place in places for each in place["samples"].values())
    if len(places) == 1:
        return f"{number} samples, {_title(places[0]).lower()}."
    first, last = (_title(places[at]) for at in (0, -1))
    number_of_last = last.split()[-1]
    return f"{number} samples, {first.lower()} to {number_of_last}."


def _section(place: dict[str, Any]) -> str:
    """Returns the HTML of a moment, with a column for each temperature."""
    logs = [
        f"{label} {place['logs'][name]:.3f}"
        for name, label in _LOSSES.items()
        if _is_number(place["logs"].get(name))
    ]
    columns = []
    for temperature in sorted(place["samples"]):
        texts = "\n".join(map(_text, place["samples"][temperature]))
        heading = f"<h3>temperature {temperature:g}</h3>"
        columns.append(f'<article class="sample">{heading}\n{texts}</article>')
    return (
        f'<section class="place"><h2>{_title(place)}</h2>\n'
        f'<p class="logs">{", ".join(logs)}</p>\n'
        f'<div class="columns">{"".join(columns)}</div></section>'
    )


def _text(sample: dict[str, Any]) -> str:
    text, prompt = _shown(sample["text"]), _shown(sample.get("prompt", ""))
    # HTML has no null character, and a browser would drop the other controls.
    start = prompt if prompt and text.startswith(prompt) else ""
    rest = html.escape(_visible(text[len(start) :]))
    start = f"<b>{html.escape(_visible(start))}</b>" if start else ""
    return f'<p class="text" dir="auto">{start}{rest}</p>'


def _visible(text: str) -> str:
    """Returns a text with symbols in place of control characters."""
    return re.sub(
        "[\x00-\x08\x0b-\x1f\x7f]",
        lambda found: chr(0x2421 if found[0] == "\x7f" else 0x2400 + ord(found[0])),
        text,
    )


def _curve(places: list[dict[str, Any]]) -> str:
    """Returns a small curve of the loss, as SVG; nothing if there are too few."""
    lines = []
    for name in _LOSSES:
        known = [
            (at / max(1, len(places) - 1), place["logs"][name])
            for at, place in enumerate(places)
            if _is_number(place["logs"].get(name))
        ]
        if len(known) > 1:
            lines.append((name, known))
    if not lines:
        return ""
    values = [value for _, known in lines for _, value in known]
    least, span = min(values), max(values) - min(values) or 1.0
    paths = []
    for name, known in lines:
        points = " ".join(
            f"{1000 * x:.4g},{4 + 56 * (1 - (y - least) / span):.4g}" for x, y in known
        )
        paths.append(f'<polyline class="{name}" points="{points}"/>')
    return (
        f'<svg class="curve" viewBox="0 0 1000 64" preserveAspectRatio="none" '
        f'role="img" aria-label="The loss over the training">{"".join(paths)}</svg>'
    )
