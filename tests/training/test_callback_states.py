"""States of callbacks: what a resumed training restores in each of them."""

import csv

import keras
import numpy as np

import textgen
from textgen.training import callback_states, training_state


def through_a_file(states):
    arrays = {}
    return training_state.unpack(training_state.pack(states, arrays), arrays)


def test_callbacks_of_the_same_class_keep_their_order():
    def plateaus(waits):
        found = [keras.callbacks.ReduceLROnPlateau() for _ in waits]
        for callback, wait in zip(found, waits, strict=True):
            callback.wait = wait
        return found

    stopping = keras.callbacks.EarlyStopping()
    stopping.wait, stopping.best_weights = 9, [np.ones(2), np.zeros((2, 3))]
    states = callback_states.states_of([*plateaus([1, 2]), stopping])
    # Another order of the classes, one callback more, and one without a state.
    resumed = keras.callbacks.EarlyStopping()
    callbacks = [
        resumed,
        keras.callbacks.TerminateOnNaN(),
        *plateaus([0, 0, 0]),
        textgen.SampleText("a"),
    ]
    callback_states.restore(callbacks, through_a_file(states))
    assert resumed.wait == 9
    assert [array.shape for array in resumed.best_weights] == [(2,), (2, 3)]
    assert [each.wait for each in callbacks[2:5]] == [1, 2, 0]


def log_epochs(logger, epochs):
    logger.on_train_begin()
    for epoch in epochs:
        logger.on_epoch_end(epoch, {"loss": epoch / 3, "accuracy": 0.5})


def test_rows_after_the_state_disappear(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,accuracy,loss\r\n0,0.1,0.2\r\n")  # of another training
    logger = keras.callbacks.CSVLogger(str(path), append=True)
    log_epochs(logger, [0, 1])
    states = through_a_file(callback_states.states_of([logger]))
    log_epochs(logger, [2, 3])
    expected = path.read_bytes().rsplit(b"\r\n", 2)[0] + b"\r\n"
    logger.on_train_end()
    for append in (False, True):
        logger = keras.callbacks.CSVLogger(str(path), append=append)
        logger.on_train_begin()
        callback_states.restore([logger], states)
        logger.on_epoch_end(2, {"loss": 2 / 3, "accuracy": 0.5})
        logger.on_train_end()
        assert path.read_bytes() == expected
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["epoch"] for row in rows] == ["0", "0", "1", "2"]


def test_log_without_rows_gets_its_header(tmp_path):
    path = tmp_path / "log.csv"
    logger = keras.callbacks.CSVLogger(str(path))
    logger.on_train_begin()
    states = through_a_file(callback_states.states_of([logger]))
    logger = keras.callbacks.CSVLogger(str(path), append=True)
    path.write_text("epoch,loss\n0,1\n")
    logger.on_train_begin()
    callback_states.restore([logger], states)
    logger.on_epoch_end(0, {"loss": 2.0})
    logger.on_train_end()
    assert path.read_text() == "epoch,loss,val_loss\n0,2.0,NA\n"


def test_log_to_a_device_has_no_state():
    logger = keras.callbacks.CSVLogger("/dev/null")
    log_epochs(logger, [0])
    states = through_a_file(callback_states.states_of([logger]))
    callback_states.restore([logger], states)
    logger.on_epoch_end(1, {"loss": 2.0, "accuracy": 0.5})
    logger.on_train_end()
    assert states == [["CSVLogger", {"content": None, "keys": states[0][1]["keys"]}]]


def test_tensorboard_counts_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    states = []
    for batches in (3, 2):
        folder = str(tmp_path / str(batches))
        board = keras.callbacks.TensorBoard(folder, write_graph=False, update_freq=1)
        board.set_model(None)
        board.on_train_begin()
        callback_states.restore([board], states)
        for batch in range(batches):
            board.on_train_batch_begin(batch)
            board.on_train_batch_end(batch, {"loss": 1.0})
        states = through_a_file(callback_states.states_of([board]))
        board.on_train_end()
    events = EventAccumulator(str(tmp_path / "2" / "train"))
    events.Reload()
    assert [each.step for each in events.Tensors("batch_loss")] == [4, 5]
