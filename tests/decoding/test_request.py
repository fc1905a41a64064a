"""The checked arguments of `generate`, and the text during generation."""

import math

import numpy as np
import pytest
from small_models import SIZE

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
    assert row.finish() == ""  # half a character is not text
    assert row.text == "a"


# === Arguments ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beams": 2, "count": 3}, "count=3"),
        ({"num_beams": 2, "length_penalty": math.inf}, "length_penalty=inf"),
        ({"num_beams": 2, "exclude": []}, "cannot be used"),
        ({"max_lines": 0}, "max_lines=0"),
        ({"temperature": []}, r"temperature=\[\]"),
        ({"temperature": [1.0, -1.0]}, "temperature="),
        ({"stop": SIZE}, f"stop={SIZE}"),
        ({"logit_bias": {"x": 1.0}}, "'x'"),
        ({"logit_bias": {"a": math.inf}}, "inf"),
        ({"forbidden": "abcdef \n"}, "forbidden"),
        ({"top_p": 2.0}, "top_p=2.0"),
    ],
    ids=str,
)
def test_bad_argument_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate("a", **{"max_new_tokens": 1, **options})


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("num_return_sequences", ": use count"),
        ("do_sample", r": use temperature \(0 takes"),
        ("max_length", ": use max_new_tokens"),
        ("stop_strings", ": use stop"),
        ("topp", r"\."),
    ],
)
def test_argument_of_another_library_is_named_as_ours(model, name, ours):
    for function in (model.generate, model.stream):
        with pytest.raises(TypeError, match=f"no argument '{name}'{ours}"):
            function("a", **{name: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": 5}, "prompt=5 must be a str or a list"),
        ({"prompt": ["a", 5]}, r"prompt=\['a', 5\] must be a str or a list"),
        ({"prompt": None}, "prompt=None must be"),
        ({"top_k": "5"}, "top_k='5' must be a number"),
        ({"top_p": [0.5]}, r"top_p=\[0.5\] must be a number"),
        ({"logit_bias": [1]}, r"logit_bias=\[1\] must be a dict"),
        ({"logit_bias": {"a": "b"}}, "logit_bias: 'b' for 'a' must be a finite number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens=2.5 must be an integer"),
        ({"max_new_tokens": "9"}, "max_new_tokens='9' must be an integer"),
        ({"seed": "x"}, "seed='x' must be an integer"),
        ({"temperature": "hot"}, "temperature='hot' must be a number"),
        ({"temperature": {}}, "temperature={} must be a number"),
    ],
    ids=str,
)
def test_argument_of_another_type_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"prompt": "a", "max_new_tokens": 1, **options})
