"""Layers of the language model that Keras does not have, or not as fast."""
