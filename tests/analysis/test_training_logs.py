import numpy as np
import pytest

from textgen.analysis.training_logs import read_run


@pytest.fixture
def written(tmp_path):
    """Writes a file; returns its path."""

    def write(content):
        path = tmp_path / "run.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def columns(path):
    return {name: each.tolist() for name, each in read_run(path).columns.items()}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns(written, newline, mark):
    text = newline.join(["epoch,loss,val_loss", "0,2.5,3", "1,1e-1,2", ""])
    assert columns(written(mark + text)) == {
        "epoch": [0, 1],
        "loss": [2.5, 0.1],
        "val_loss": [3, 2],
    }


def test_missing_values_and_columns_of_text(written):
    text = 'epoch,a,b,c,d\n0,1,NA,"[1, 2]",nan\n1,inf,,x,2\n'
    found = read_run(written(text)).columns
    assert list(found) == ["epoch", "a", "b", "d"]
    np.testing.assert_array_equal(found["a"], [1, np.nan])
    np.testing.assert_array_equal(found["b"], [np.nan, np.nan])
    np.testing.assert_array_equal(found["d"], [np.nan, 2])


@pytest.mark.parametrize("part", ["2", "2,1", "2,"])
def test_a_line_that_is_not_complete(written, part):
    found = columns(written(f"epoch,loss,x\n0,1,5\n1,2,6\n{part}"))
    assert found == {"epoch": [0, 1], "loss": [1, 2], "x": [5, 6]}


def test_a_last_line_without_an_end(written):
    assert columns(written("epoch,loss\n0,1\n1,2"))["loss"] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "run.csv is no log of a training: its first line has no column `epoch`"),
        ("loss\n1\n", "has no column `epoch`"),
        (b"PK\x03\x04\xff\xfe", "is no CSV file in UTF-8"),
        ("epoch,loss\n", "run.csv has no epoch yet"),
        ("epoch,loss\n0", "run.csv has no epoch yet"),
        ("epoch,loss\n0,1\n1,2,3\n", "row 2 has 3 fields, but there are 2 columns"),
        ("epoch,loss\n0,1\n1\n", "row 2 has 1 fields"),
        ("epoch,loss\nx,1\n", "the column `epoch` must have numbers only"),
        ("epoch,loss\n,1\n", "the column `epoch` must have numbers only"),
        (
            "epoch,loss\n0," + "1" * 200_000 + "\n",
            "is no CSV file in UTF-8: field larger",
        ),
    ],
)
def test_a_file_that_is_no_log(written, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_run(written(content))
    assert "\n" not in str(error.value)


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(OSError, match="is a folder"):
        read_run(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "missing.csv")
