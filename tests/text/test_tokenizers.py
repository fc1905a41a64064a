"""All tokenizers by their level, and learning one."""

import pytest

from textgen import ByteTokenizer, SubwordTokenizer, Vocabulary
from textgen.text import tokenizers

TEXT = "to be or not to be\n" * 3
EXPECTED = {
    "character": Vocabulary.from_text(TEXT),
    "word": Vocabulary.from_text(TEXT, "word"),
    "byte": ByteTokenizer(),
    "bpe": SubwordTokenizer.train(TEXT),
    "unigram": SubwordTokenizer.train(TEXT, model="unigram"),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_kind(kind):
    found = tokenizers.learn(kind, TEXT)
    assert type(found) is type(EXPECTED[kind])
    assert found == EXPECTED[kind]
    tokenizers.check_tokenizer(found)
    copy = tokenizers.from_config(found.get_config())
    assert type(copy) is type(found)
    assert copy == found
    level = found.level
    assert level == {"bpe": "subword", "unigram": "subword"}.get(kind, kind)
    assert "".join(found.tokens(TEXT)) == TEXT
    # Pieces have whole tokens: a text can be cut between them.
    pieces = list(found.tokens(TEXT))
    for at in range(len(pieces)):
        head, tail = "".join(pieces[:at]), "".join(pieces[at:])
        ids = [*found.encode(head), *found.encode(tail)]
        assert ids == found.encode(TEXT).tolist()


def test_options():
    assert set(EXPECTED) == set(tokenizers.KINDS)
    small = tokenizers.learn("word", [TEXT, "more"], 3, unknown="\ufffd")
    assert small == Vocabulary.from_text(TEXT + "more", "word", 3, "\ufffd")
    assert len(tokenizers.learn("bpe", TEXT, 258)) == 258
    with pytest.raises(ValueError, match="kind='letter' must be one of character, "):
        tokenizers.learn("letter", TEXT)
    with pytest.raises(ValueError, match="size=9: bytes have no size"):
        tokenizers.learn("byte", TEXT, 9)


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_form_of_prompts(kind):
    form = {"lowercase": True, "normalization": "nfc"}
    plain, found = EXPECTED[kind], tokenizers.learn(kind, TEXT, **form)
    assert found.get_config() == {**plain.get_config(), **form}
    assert tokenizers.from_config(found.get_config()) == found != plain
    assert tokenizers.same_ids(found, plain)
    for other in {"byte", "bpe", "unigram"} - {kind}:
        assert not tokenizers.same_ids(found, EXPECTED[other])


def test_a_vocabulary_has_no_form():
    assert tokenizers.learn("word", TEXT, lowercase=True) == EXPECTED["word"]
    assert not tokenizers.same_ids(EXPECTED["word"], EXPECTED["character"])
    assert tokenizers.same_ids(EXPECTED["word"], Vocabulary.from_text(TEXT, "word"))


def test_what_is_no_tokenizer():
    for wrong in (None, [], {}, {"level": ["byte"]}, {"level": "letter"}):
        with pytest.raises(ValueError, match="is not a tokenizer: its level must be"):
            tokenizers.from_config(wrong)
    for wrong in ("abc", None, ByteTokenizer):
        with pytest.raises(ValueError, match=r"must be a textgen\.Vocabulary, Byte"):
            tokenizers.check_tokenizer(wrong)
