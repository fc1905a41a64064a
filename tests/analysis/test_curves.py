import io
import sys
import warnings

import numpy as np
import pytest

import textgen

OWN = (
    "epoch,step,seconds,loss,val_loss,learning_rate,gradient_norm\n"
    "0,10,60.5,2.5,2.75,0.001,1.5\n1,20,120.5,2.0,2.25,0.002,1.25\n"
    "2,30,180.5,1.5,2.5,0.001,1.0\n"
)
KERAS = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.25,2,0.125,3\n1,0.5,1,0.25,2\n"


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def lines(axis):
    """The curves with more than one point: `(dashed, x, y)`."""
    return [
        (line.get_linestyle() == "--", *(each.tolist() for each in line.get_data()))
        for line in axis.lines
        if len(line.get_xdata()) > 1
    ]


def test_panels_of_a_run(written):
    figure = textgen.plot_curves(written("run.csv", OWN))
    assert titles(figure) == ["Loss", "Learning rate", "Gradient norm"]
    loss, rate, norm = figure.axes
    assert lines(loss) == [
        (True, [1, 2, 3], [2.5, 2.0, 1.5]),
        (False, [1, 2, 3], [2.75, 2.25, 2.5]),
    ]
    assert lines(rate) == [(False, [1, 2, 3], [0.001, 0.002, 0.001])]
    assert lines(norm) == [(False, [1, 2, 3], [1.5, 1.25, 1.0])]
    [best] = [line for line in loss.lines if len(line.get_xdata()) == 1]
    assert figure._repr_png_().startswith(b"\x89PNG")  # in a notebook
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 2.25)
    assert [text.get_text() for text in loss.texts] == ["2.250"]
    assert loss.get_ylabel() == "nats per token"
    assert loss.get_xlabel() == "epoch"
    assert [each.get_text() for each in loss.get_legend().get_texts()] == [
        "training",
        "validation",
    ]


@pytest.mark.parametrize(
    ("x", "expected", "label"),
    [
        ("steps", [10, 20, 30], "step"),
        ("seconds", [60.5 / 60, 120.5 / 60, 180.5 / 60], "minutes"),
    ],
)
def test_other_axes(written, x, expected, label):
    figure = textgen.plot_curves(written("run.csv", OWN), x=x)
    [(_, found, _)] = lines(figure.axes[1])
    np.testing.assert_allclose(found, expected)
    assert figure.axes[0].get_xlabel() == label


@pytest.mark.parametrize(
    ("longest", "label"), [(100, "seconds"), (130, "minutes"), (8000, "hours")]
)
def test_unit_of_the_time(written, longest, label):
    text = f"epoch,seconds,loss\n0,5,1\n1,{longest},1\n"
    figure = textgen.plot_curves([written("run.csv", text)], x="seconds")
    assert figure.axes[0].get_xlabel() == label


def test_log_of_keras(written):
    figure = textgen.plot_curves(written("run.csv", KERAS))
    assert titles(figure) == ["Loss", "Accuracy"]
    assert lines(figure.axes[1]) == [
        (True, [1, 2], [0.25, 0.5]),
        (False, [1, 2], [0.125, 0.25]),
    ]
    assert figure.axes[0].get_ylabel() == ""


def test_several_runs(written):
    names = ["a.csv", "_b$x$.csv", "c/a.csv"]
    paths = [
        written(name, text) for name, text in zip(names, (OWN, KERAS, OWN), strict=True)
    ]
    figure = textgen.plot_curves(paths)
    assert titles(figure) == ["Loss", "Accuracy", "Learning rate", "Gradient norm"]
    assert [len(lines(axis)) for axis in figure.axes] == [6, 2, 2, 2]
    [legend] = figure.legends
    shown = [each.get_text().lstrip("\u200b") for each in legend.get_texts()]
    assert shown == [
        f"{paths[0].parent.name}/a",
        rf"{paths[0].parent.name}/_b\$x\$",
        "c/a",
    ]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert len(set(colours)) == 3
    many = textgen.plot_curves([paths[0]] * 9)
    assert len({tuple(np.ravel(line.get_color())) for line in many.axes[1].lines}) == 9


@pytest.mark.parametrize(
    "text", [OWN, KERAS, "epoch,loss\n0,1\n", "epoch,lr\n0,nan\n1,2\n"]
)
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_drawing_gives_no_warning_and_needs_no_pyplot(written, text, kind):
    pyplot = "matplotlib.pyplot" in sys.modules
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = io.BytesIO()
        textgen.plot_curves([written("_$.csv", text)] * 2).savefig(file, format=kind)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert file.getvalue().startswith(start)
    assert ("matplotlib.pyplot" in sys.modules) == pyplot


def test_errors(written, monkeypatch):
    path = written("run.csv", KERAS)
    for arguments, message in (
        ((path, "hours"), "x='hours' must be 'epochs', 'steps' or 'seconds'"),
        ((path, "seconds"), "has no column 'seconds'"),
        (([],), "at least one file"),
        ((written("e.csv", "epoch\n0\n"),), "e.csv has no column with a curve"),
    ):
        with pytest.raises(ValueError, match=message):
            textgen.plot_curves(*arguments)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-textgen\[plot\]'"):
        textgen.plot_curves(path)
