import numpy as np
import pytest

import textgen
from textgen import Vocabulary, distribution
from textgen.batches import ArrayDataset, Dataset
from textgen.distribution import Share

IDS = Vocabulary("\nabcdefgh").encode("abc\nde\nfgh\na\nbcdefgha\ncc\nhgfedcba\n" * 9)


class OwnDataset(Dataset):
    """A dataset of a user, which has the method `batch` only."""

    steps = 4

    def __len__(self):
        return len(self.ids) // 20

    def batch(self, index, epoch):
        rows = self.ids[20 * index : 20 * index + 20].astype(np.int32).reshape(5, 4)
        return rows, rows + 1


def datasets():
    labels = np.arange(63)[:, np.newaxis] % 3 + 9
    yield textgen.WindowDataset(IDS, 7, 3, batch_size=9)
    yield textgen.SequenceDataset(IDS, 7, 6)
    yield textgen.SequenceDataset(IDS, 7, 6, sampling="consecutive")
    yield textgen.LineDataset(IDS, 0, batch_size=9)
    yield textgen.LineDataset(IDS, 0, batch_size=5, stateful=True)
    yield textgen.LineDataset(IDS, 0, batch_size=9, labels=labels, label_dropout=0.5)
    yield OwnDataset(IDS, 5, 0)
    yield ArrayDataset([np.arange(40).reshape(20, 2), np.arange(20)], 7, True, 0)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_read_the_batches_of_one(processes, devices):
    """Together, they read the rows in order, then rows that do not count."""
    for dataset in datasets():
        for index in range(len(dataset)):
            whole = dataset.batch(index, 3)
            shares = [
                Share(i, processes, processes * devices) for i in range(processes)
            ]
            parts = [dataset.part(index, 3, share) for share in shares]
            sizes = {len(array) for part in parts for array in part}
            assert len(sizes) == 1
            assert sizes.pop() % devices == 0
            for array, *pieces in zip(whole, *parts, strict=True):
                joined = np.concatenate(pieces)
                np.testing.assert_array_equal(joined[: len(array)], array)
                assert (joined[len(array) :] == -1).all()
                assert len(joined) < len(array) + processes * devices
                assert joined.dtype == array.dtype


def test_a_process_reads_its_rows_only():
    class Ids(np.ndarray):
        read = 0

        def __getitem__(self, index):
            Ids.read += np.size(index)
            return super().__getitem__(index)

    dataset = textgen.WindowDataset(IDS, 7, 3, batch_size=8)
    dataset.ids = dataset.ids.view(Ids)
    dataset.part(0, 0, Share(1, 4, 4))
    assert Ids.read == 2 * 8  # two windows of 7 tokens, and the token after each


def test_arrays_that_cannot_be_filled_up():
    x = np.zeros((10, 3, 5), "float32")
    dataset = ArrayDataset([x, x[:, 0]], 5, False, 0)
    with pytest.raises(ValueError, match="5 examples cannot be divided among 2 dev"):
        dataset.part(0, 0, Share(0, 2, 2))
    divisible = ArrayDataset([x, x[:, 0]], 10, False, 0)
    assert len(divisible.part(0, 0, Share(0, 2, 2))[0]) == 5


def test_one_process(monkeypatch):
    assert distribution.share() is None
    assert distribution.processes() == 1
    assert distribution.is_first()
    assert distribution.largest(3) == 3
    assert distribution.of_first(0.1) == 0.1
    distribution.wait_for_all()
    error = ValueError("Gloo all-reduce failed")
    with pytest.raises(ValueError, match="Gloo") as caught:  # noqa: SIM117
        with distribution.noticing_losses():
            raise error
    assert caught.value is error
    monkeypatch.setattr(distribution, "processes", lambda: 2)
    with pytest.raises(textgen.LostProcessError, match="last checkpoint"):  # noqa: SIM117
        with distribution.noticing_losses():
            raise error
    with pytest.raises(KeyError):  # noqa: SIM117
        with distribution.noticing_losses():
            raise KeyError("another mistake")


@pytest.mark.tensorflow("is a backend that is refused")
def test_other_backends_are_refused():
    with pytest.raises(ValueError, match=r"MultiWorkerMirroredStrategy.*KERAS_BACK"):
        textgen.distribute("127.0.0.1:7000", 2, 0)
    with pytest.raises(ValueError, match="'tensorflow' cannot train with several"):
        textgen.use_all_devices()


@pytest.mark.tensorflow("has replicas")
def test_several_replicas_are_refused(monkeypatch):
    class MirroredStrategy:  # the tests have one device
        num_replicas_in_sync = 2

    vocabulary = textgen.Vocabulary("abc")
    model = textgen.LanguageModel(vocabulary, units=2, return_sequences=True)
    model.compile("sgd")
    data = textgen.SequenceDataset(vocabulary.encode("abc" * 50), 4)
    monkeypatch.setattr(type(model), "distribute_strategy", MirroredStrategy())
    message = r"MirroredStrategy of 2 replicas.*textgen.use_all_devices"
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)


@pytest.mark.jax("lists its devices")
@pytest.mark.parametrize("divide", [0, -1, 2])
def test_devices_that_cannot_be_divided(divide):
    with pytest.raises(ValueError, match=f"divide={divide} must be a divisor of 1"):
        textgen.use_all_devices(divide)
