"""Training: `compile`, `fit`, `evaluate` and `predict` of all models."""
