"""The text during generation, with a tokenizer that holds text back."""

import numpy as np

from textgen.decoding.request import Request, Row
from textgen.text.tokenizer import Decoder, Tokenizer


class HexDigits(Tokenizer):
    """Two tokens are one character: the text is complete at every second id."""

    symbols = tuple("0123456789abcdef")

    class PairDecoder(Decoder):
        held = ""

        def feed(self, ids):
            digits = self.held + "".join("0123456789abcdef"[index] for index in ids)
            whole = len(digits) // 2 * 2
            self.held = digits[whole:]
            return bytes.fromhex(digits[:whole]).decode("latin-1")

        def flush(self):
            held, self.held = self.held, ""
            return "?" * len(held)

    def decoder(self):
        return self.PairDecoder()


def test_text_is_decoded_in_pieces():
    request = Request(HexDigits(), 9, 1.0, stop="d")
    row = Row("", request)
    ids = [int(digit, 16) for digit in b"abcde".hex()]
    added = [row.feed(np.array([index]), np.array([-1.0])) for index in ids]
    assert added == ["", "a", "", "b", "", "c", *[""] * 4]
    assert (row.text, row.done) == ("abc", True)
    # Both halves of each character count, and nothing of the stop string.
    assert row.kept_log_probs().tolist() == [-1.0] * 6
    row = Row("", Request(HexDigits(), 9, 1.0))
    row.feed(np.array(ids[:3]), np.zeros(3))
    assert row.text == "a"
    assert row.finish() == "?"
    assert row.text == "a?"
