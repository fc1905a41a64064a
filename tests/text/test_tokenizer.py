"""What the base class gives every tokenizer."""

import numpy as np
import pytest

from textgen import Vocabulary
from textgen.text.tokenizer import Decoder, Tokenizer


class Bytes(Tokenizer):
    """UTF-8 bytes: a character can be several tokens."""

    def __init__(self):
        self.symbols = tuple(map(chr, range(256)))
        self.ids = {symbol: index for index, symbol in enumerate(self.symbols)}

    class ByteDecoder(Decoder):
        held = b""

        def feed(self, ids):
            data = self.held + bytes(index for index in ids.tolist() if index >= 0)
            for end in range(len(data), -1, -1):
                try:
                    text = data[:end].decode()
                except UnicodeDecodeError:
                    continue
                self.held = data[end:]
                return text
            return ""

        def flush(self):
            held, self.held = self.held, b""
            return "\ufffd" * bool(held)

    def encode(self, text, unknown=None, match_case=True):
        return np.frombuffer(text.encode(), np.uint8).astype(self.dtype)

    def decoder(self):
        return self.ByteDecoder()

    def get_config(self):
        return {"level": "byte"}


TEXT = "aé床🦕\n"


def test_text_and_its_pieces():
    tokenizer = Bytes()
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    decoder = tokenizer.decoder()
    pieces = [decoder.feed(ids[at : at + 1]) for at in range(len(ids))]
    expected = [*"a", *("", "é"), *("", "", "床"), *("", "", "", "🦕"), *"\n"]
    assert pieces == expected
    assert tokenizer.text_lengths(ids).tolist() == list(map(len, expected))
    assert tokenizer.decode(ids[:-2]) == "aé床\ufffd"


def test_lengths_of_symbols():
    words = Vocabulary.from_text("to be, or", level="word")
    ids = words.encode("be, to")
    assert words.text_lengths(ids).tolist() == [2, 1, 1, 2]
    assert words.text_lengths(np.array([-1, 0, -1])).tolist() == [0, 1, 0]
    assert words.text_lengths(np.zeros(0, np.int32)).tolist() == []


def test_size_equality_and_ids():
    tokenizer = Bytes()
    assert len(tokenizer) == 256
    assert tokenizer.dtype == np.int16
    assert "a" in tokenizer
    assert "床" not in tokenizer
    assert tokenizer == Bytes()
    assert tokenizer != Vocabulary(tokenizer.symbols)
    assert tokenizer.one_hot([97, -1]).sum(axis=-1).tolist() == [1, 0]
    assert tokenizer.decode([97, -1, 98]) == "ab"
    for bad, message in (
        ([256], "Id 256 is not in this vocabulary of 256 symbols"),
        ([-2], "Id -2 is not"),
        ([0.5], "Ids must be integers"),
        (np.zeros((1, 2), int), r"\(tokens,\), not \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(bad)
