import importlib.util
import json

import pytest

import textgen
from textgen.training import sample_files


class Echo:
    """A model whose text says how often it was asked."""

    def __init__(self):
        self.asked = 0

    def generate(self, prompts, max_new_tokens, temperature, **_):
        self.asked += max_new_tokens > 0
        return [f"{prompt}{self.asked}\n\ud800</script>詩" for prompt in prompts]


def training(epochs, first=0, state=None, batches=3, **options):
    samples = textgen.SampleText("ab", 0.5, show=lambda _: None, **options)
    samples.set_model(Echo())
    samples.on_train_begin()
    if state is not None:
        samples.set_state(state)
    for epoch in range(first, epochs):
        samples.on_epoch_begin(epoch)
        for batch in range(batches):
            samples.on_train_batch_end(batch, {"loss": 2.0})
        samples.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1), "val_loss": nan})
    return samples


nan = float("nan")


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_line_for_each_sample(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("old\n")
    training(2, file=path)
    first, second = lines(path)
    assert first == {
        "epoch": 1,
        "temperature": 0.5,
        "prompt": "ab",
        "text": "ab1\n\ud800</script>詩",
        "logs": {"loss": 1.0, "val_loss": None},
    }
    assert (second["epoch"], second["text"][:3]) == (2, "ab2")
    assert "詩" in path.read_text("utf-8")


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("unit", ["epoch", "batch"])
def test_a_resumed_training_has_no_sample_twice(tmp_path, unit, every):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "samples.jsonl"
    options = {"unit": unit, "every": every}
    training(4, file=whole, **options)
    state = training(2, file=path, **options).get_state()
    training(3, file=path, **options)  # a crash after the state was written
    with open(path, "a") as file:
        file.write('{"epoch": 4')
    training(4, first=2, state=state, file=path, **options)

    def places(path):
        return [(line["epoch"], line.get("batch")) for line in lines(path)]

    assert places(path) == places(whole)
    training(2, file=path, **options)  # a new training
    assert (
        places(path)
        == [each for each in places(whole) if each[0] <= 2][: len(places(path))]
    )
    assert len(places(path)) == 2 // every if unit == "epoch" else 6 // every


def test_texts_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training(2, tensorboard=tmp_path)
    events = EventAccumulator(str(tmp_path / "samples"))
    events.Reload()
    [tag] = events.Tags()["tensors"]
    assert tag.startswith("temperature 0.5")
    found = events.Tensors(tag)
    assert [each.step for each in found] == [0, 1]
    text = found[1].tensor_proto.string_val[0].decode()
    assert text == "    ab2\n    ?</script>詩"


def test_tensorboard_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ImportError, match=r"pip install 'keras-textgen\[tensorboard\]'"
    ):
        sample_files.SampleBoard("folder")


def test_what_shows_the_samples():
    shown = []
    samples = textgen.SampleText(["a", "b"], (0.5, 1), show=shown.append)
    samples.set_model(Echo())
    samples.on_epoch_end(2, {})
    text = "\n\ud800</script>詩"
    assert shown == [
        f"--- temperature 0.5, after epoch 3\na1{text}\nb1{text}",
        f"--- temperature 1, after epoch 3\na2{text}\nb2{text}",
    ]
