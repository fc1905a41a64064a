"""Training: what `fit` and `evaluate` add to Keras's, for every model."""
