"""Texts that a reader calls lists of names, verse, prose or logs."""

import random

import pytest

from textgen.advice.facts import SAMPLE, look

WORDS = ["the", "of", "and", "to", "in", "that", "is", "was", "he", "for", "on"]


def sentences(generator, count):
    for _ in range(count):
        words = generator.choices(WORDS, k=generator.randint(6, 20))
        yield " ".join(words).capitalize() + "."


def names(generator, count):
    for _ in range(count):
        letters = generator.choices("abcdefghijklmnopqrstuvwxyz", k=99)
        yield "".join(letters[: generator.randint(3, 12)])


def wrapped(text, width):
    lines = [[]]
    for word in text.split():
        if len(" ".join([*lines[-1], word])) > width:
            lines.append([])
        lines[-1].append(word)
    return "\n".join(map(" ".join, lines))


G = random.Random(0)
NAMES = list(names(G, 500))
PROSE = " ".join(sentences(G, 400))
HEADLINES = [sentence.strip(".") for sentence in sentences(G, 500)]
VERSE = [f"{line}," for line in names(G, 300)]


@pytest.mark.parametrize(
    ("text", "separate", "reason"),
    [
        ("\n".join(NAMES), True, "complete"),
        ("\n".join(name.capitalize() for name in NAMES) + "\n", True, "complete"),
        ("\n".join(HEADLINES), True, "complete"),
        ("\n".join(NAMES[:19]), False, "only 19 lines"),
        ("\n\n".join(NAMES), False, "blank lines"),
        (wrapped(PROSE, 70), False, "continue in the next line"),
        (wrapped(PROSE.lower(), 70), False, "about the same length"),
        ("\n".join(VERSE), False, "commas"),
        ("\n".join(["x" * 300] * 2 + NAMES[:50]), False, "long lines"),
        ("春眠不觉晓处处闻啼鸟\n" * 50, False, "about the same length"),
        (PROSE, False, "only 1 lines"),
    ],
)
def test_separate_lines(text, separate, reason):
    facts = look(text)
    assert facts.separate_lines == separate
    assert reason in facts.reason


def test_numbers():
    facts = look("ab\n\nabcd\nabcdef\n")
    assert (facts.characters, facts.lines) == (16, 3)
    assert (facts.median_line, facts.longest_line) == (4, 6)


def test_long_text_is_sampled_at_three_places():
    # Only the middle has blank lines; all lines have 8 characters with their newline.
    lines = ["abcdefg\n"] * (SAMPLE // 2)
    facts = look("".join(lines))
    assert facts.lines == pytest.approx(len(lines), rel=0.01)
    middle = "".join(lines) + "ab\n\n" * SAMPLE + "".join(lines)
    assert "blank lines" in look(middle).reason


@pytest.mark.parametrize("text", ["", "\n\n", " \n"])
def test_text_without_lines(text):
    assert look(text).lines == 0
    assert not look(text).separate_lines
