import html.parser
import json

import pytest

from textgen.analysis.samples_page import read_samples, samples_page

HOSTILE = "a</script><script>alert(1)</script><b onclick='x'>&amp;\"{{title}}\x00\ud800"


def sample(epoch=1, temperature=0.5, text="a text", **more):
    return {"epoch": epoch, "temperature": temperature, "text": text, **more}


@pytest.fixture
def written(tmp_path):
    def write(*samples, name="samples.jsonl", end="\n"):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, samples)) + end)
        return path

    return write


class Page(html.parser.HTMLParser):
    """The elements of a page, and the text of each `p` with the class `text`."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.headings, self.logs = [], [], [], []
        self._into = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        kinds = {"text": self.texts, "logs": self.logs}
        into = kinds.get(dict(attributes).get("class"))
        into = self.headings if tag in ("h2", "h3") else into
        if into is not None:
            into.append("")
            self._into = into

    def handle_endtag(self, tag):
        if tag in ("p", "h2", "h3"):
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data


def test_a_section_for_each_epoch_and_a_column_for_each_temperature(written):
    logs = {"loss": 1.25, "val_loss": 1.5, "accuracy": 0.5}
    page = Page(
        samples_page(
            written(
                sample(2, 1.0, "late wild"),
                sample(1, 0.5, "early", logs=logs),
                sample(2, 0.5, "late"),
                sample(2, 0.5, "late, other prompt"),
            )
        )
    )
    assert page.headings == [
        *["After epoch 1", "temperature 0.5"],
        *["After epoch 2", "temperature 0.5", "temperature 1"],
    ]
    assert page.texts == ["early", "late", "late, other prompt", "late wild"]
    assert page.logs == ["loss 1.250, held-out loss 1.500", ""]
    assert page.tags.count("section") == 2


def test_samples_between_epochs_are_in_order(written):
    samples = [sample(n // 3, batch=n) for n in (10, 2, 6)]
    page = Page(samples_page(written(*samples)))
    assert page.headings[::2] == ["After batch 2", "After batch 6", "After batch 10"]


def test_the_prompt_is_marked(written):
    page = samples_page(written(sample(text="ab<c", prompt="ab<")))
    assert "<b>ab&lt;</b>c" in page


def test_hostile_text_stays_text(written):
    plain = samples_page(written(sample(), name="plain.jsonl"))
    path = written(sample(text=HOSTILE, prompt="<i>"), name="<u>{{sections}}.jsonl")
    page = samples_page(path)
    assert Page(page).tags == Page(plain).tags
    shown = HOSTILE.replace("\x00", "\u2400").replace("\ud800", "?")
    assert Page(page).texts == [shown]
    assert "default-src 'none'" in page
    assert page.encode()


def test_the_policy_allows_the_script_and_the_style_of_the_page(written):
    import base64
    import hashlib
    import re

    page = samples_page(written(sample()))
    for kind in ("script", "style"):
        [code] = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in page


def test_curve_of_the_loss(written):
    samples = [sample(n, logs={"loss": 3.0 - n}) for n in (1, 2, 3)]
    page = samples_page(written(*samples))
    assert 'points="0,4 500,32 1000,60"' in page
    assert "polyline class" not in samples_page(written(*samples[:1]))


def test_a_line_that_is_not_complete(written):
    path = written(sample(), sample(2), end='\n{"epoch": 3')
    assert [each["epoch"] for each in read_samples(path)] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "samples.jsonl has no sample yet"),
        (b"epoch,loss\n1,2\n", "line 1 is no JSON value"),
        (b"\xff\n", "line 1 is no JSON value"),
        (b"[" * 100_000 + b"\n", "line 1 is no JSON value"),
        (b"{}\n", "line 1 is no sample of a training"),
        (b"[1]\n", "line 1 is no sample"),
        (b'{"epoch": "1", "temperature": 1, "text": ""}\n', "line 1 is no sample"),
        (b'{"epoch": true, "temperature": 1, "text": ""}\n', "line 1 is no sample"),
        (b'{"epoch": 1, "temperature": NaN, "text": ""}\n', "line 1 is no sample"),
        (b'{"epoch": 1, "temperature": 1, "text": 5}\n', "line 1 is no sample"),
        (b'{"epoch": 1, "temperature": 1, "text": "", "logs": 1}\n', "is no sample"),
        (b'{"epoch": 1, "temperature": 1, "text": "", "batch": "x"}\n', "is no sample"),
    ],
)
def test_a_file_of_something_else(tmp_path, content, message):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        samples_page(path)
