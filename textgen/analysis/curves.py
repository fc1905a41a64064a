"""`plot_curves`: the curves of one or several trainings, with matplotlib."""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.analysis.training_logs import Run, read_run
from textgen.messages import printable

# Okabe and Ito, "Color Universal Design", 2008, without yellow, which is pale on white.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
)
_GREY = "#5f5f5f"

_AXES = {"epochs": "epoch", "steps": "step", "seconds": "seconds"}
_LAST = ("learning_rate", "lr", "gradient_norm")
_TITLES = {
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "lr": "Learning rate",
    "gradient_norm": "Gradient norm",
}
_PANELS_PER_ROW = 3
_MARKED = 12  # epochs up to which each has a dot


def plot_curves(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    x: str = "epochs",
) -> Any:
    """Plots the curves of one or several trainings.

    There is a panel for the loss, for each metric, the learning rate and the norm of
    the gradient, as far as the files have them. Values of the training are dashed,
    those of the validation are solid, with a dot at the lowest validation loss. It
    needs no display.

    Args:
        paths: A CSV file of `textgen train --log`, `textgen.TrainingLog` or
            `keras.callbacks.CSVLogger`, or several.
        x: `"epochs"`, `"steps"` or `"seconds"`: the horizontal axis. Keras's logs have
            epochs only. Defaults to `"epochs"`.

    Returns:
        `matplotlib.figure.Figure`, which a notebook shows. Its method
        `savefig("curves.png")` writes a file.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: A file cannot be read.
        ValueError: A file is no log of a training, or has no column for `x`.
    """
    if x not in _AXES:
        raise ValueError(f"x={x!r} must be 'epochs', 'steps' or 'seconds'.")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ValueError("paths must have at least one file.")
    runs = [read_run(path) for path in given]
    for run in runs:
        if _AXES[x] not in run.columns:
            raise ValueError(
                f"{printable(run.path)} has no column {_AXES[x]!r}, so its horizontal "
                "axis can only be that of the epochs."
            )
    panels = _panels(runs)
    if not panels:
        raise ValueError(f"{printable(runs[0].path)} has no column with a curve.")
    figure = _figure(len(panels), len(runs))
    colours = _colours(len(runs))
    unit, label = _unit(runs, x)
    axes = list(figure.axes)
    for axis, panel in zip(axes, panels, strict=True):
        for run, colour in zip(runs, colours, strict=True):
            _draw(axis, run, panel, _positions(run, x) / unit, colour, len(runs) == 1)
        _decorate(axis, panel, label, x == "epochs")
    if all("seconds" in run.columns for run in runs) and panels[0] == "loss":
        axes[0].set_ylabel("nats per token", color=_GREY)
    _explain(figure, axes, runs, colours)
    return figure


def _panels(runs: list[Run]) -> list[str]:
    """Returns the names of the values that are plotted, without the prefix `val_`."""
    names: dict[str, None] = {"loss": None}
    for run in runs:
        for name, values in run.columns.items():
            if name not in _AXES.values() and not np.isnan(values).all():
                names[name.removeprefix("val_")] = None
    if not any({"loss", "val_loss"} & set(run.columns) for run in runs):
        del names["loss"]
    return sorted(names, key=lambda name: (name in _LAST, name != "loss"))


def _figure(panels: int, runs: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'keras-textgen[plot]'"
        ) from error

    class Curves(Figure):
        """A figure that a notebook shows, as it shows those of pyplot."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=100)
            return file.getvalue()

    columns = min(panels, _PANELS_PER_ROW)
    rows = -(-panels // columns)
    # Not of pyplot, which would keep it, and could ask for a display.
    size = (1.0 + 3.7 * columns, 0.4 + 3.0 * rows)
    figure = Curves(figsize=size, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.12, h_pad=0.12)  # inches
    for number in range(panels):
        figure.add_subplot(rows, columns, number + 1)
    return figure


def _colours(number: int) -> list:
    if number <= len(_COLOURS):
        return list(_COLOURS[:number])
    from matplotlib import colormaps

    return [colormaps["viridis"](each) for each in np.linspace(0, 0.92, number)]


def _positions(run: Run, x: str) -> np.ndarray:
    values = run.columns[_AXES[x]]
    return values + 1 if x == "epochs" else values  # the end of the epoch


def _unit(runs: list[Run], x: str) -> tuple[float, str]:
    """Returns what the positions are divided by, and the label of the axis."""
    if x != "seconds":
        return 1.0, _AXES[x]
    longest = max(np.nanmax(run.columns["seconds"]) for run in runs)
    if longest >= 2 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest >= 120 else (1.0, "seconds")


def _draw(
    axis: Any, run: Run, panel: str, x: np.ndarray, colour: Any, alone: bool
) -> None:
    """Draws the curves of a run in a panel."""
    marker = "o" if len(x) <= _MARKED else ""
    only = f"val_{panel}" not in run.columns  # then there is nothing to distinguish
    for name, line in ((panel, "-" if only else (0, (4, 2))), (f"val_{panel}", "-")):
        if name not in run.columns:
            continue
        known = ~(np.isnan(run.columns[name]) | np.isnan(x))
        if not known.any():
            continue
        at, values = x[known], run.columns[name][known]
        style = {"color": colour, "marker": marker, "markersize": 3}
        axis.plot(at, values, linestyle=line, linewidth=1.5, **style)
        if name == "val_loss":
            best = int(np.argmin(values))
            axis.plot(at[best], values[best], "o", color=colour, markersize=6)
            if alone:
                axis.annotate(
                    f"{values[best]:.3f}",
                    (at[best], values[best]),
                    xytext=(0, -13),
                    textcoords="offset points",
                    ha="center",
                    color=colour,
                    fontsize=9,
                )


def _decorate(axis: Any, panel: str, label: str, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    title = _TITLES.get(panel, _plain(panel.replace("_", " ").capitalize()))
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10)
    axis.set_xlabel(label, color=_GREY)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=whole, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.margins(x=0.03, y=0.12)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color("#b0b0b0")
    axis.tick_params(colors=_GREY, length=0, labelsize=9)
    if panel in _LAST:
        axis.set_ylim(bottom=0)


def _explain(figure: Any, axes: list, runs: list[Run], colours: list) -> None:
    """Adds the legends: which line is which part, and which colour which run."""
    from matplotlib.lines import Line2D

    both = any({"loss", "val_loss"} <= set(run.columns) for run in runs)
    if both:
        colour = colours[0] if len(runs) == 1 else _GREY
        lines = [
            Line2D([], [], color=colour, linestyle=style, linewidth=1.5)
            for style in ((0, (4, 2)), "-")
        ]
        axes[0].legend(lines, ["training", "validation"], frameon=False, fontsize=9)
    if len(runs) > 1:
        lines = [Line2D([], [], color=each, linewidth=3) for each in colours]
        figure.legend(
            lines,
            [_plain(name) for name in _names(runs)],
            loc="outside upper left",
            ncols=min(len(runs), 4),
            frameon=False,
            fontsize=9,
        )


def _names(runs: list[Run]) -> list[str]:
    """Returns the ends of the paths, as long as they need to be to differ."""
    paths = [run.path.with_suffix("") for run in runs]
    names: list[str] = []
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _plain(text: str) -> str:
    """Returns a text that matplotlib shows as it is."""
    shown = printable(text, 40).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown
