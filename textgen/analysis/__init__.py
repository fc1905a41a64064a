"""What a model has learned: activations of cells, surprisal, learning curves."""
