"""The choice of a model and its training for a text, a machine and a time."""
