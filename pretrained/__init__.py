"""The pretrained models."""
