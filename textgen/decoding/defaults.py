"""The defaults of generation and adaptation, in Python and on the command line alike.

This module imports nothing, so that `textgen --help` can show them without Keras.
"""

TEMPERATURE = 0.7  # the text is varied, and words are still spelt as in the corpus

MAX_NEW_TOKENS = 400

TOKENS_PER_LINE = 100  # enough for one line of verse or prose

BATCH_SIZE = 64  # texts that are generated together

# The best of some values on the held-out text of the pretrained models.
LEARNING_RATE = 0.002  # of `Adaptation`

DECAY = 0.002

STRETCH = 20  # tokens


def default_length(max_lines: int | None) -> int:
    """Returns the number of new tokens, at most, if `max_new_tokens` is not given."""
    return max(MAX_NEW_TOKENS, TOKENS_PER_LINE * (max_lines or 0))
