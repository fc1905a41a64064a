"""Models: networks with a vocabulary, their files, and their catalogue."""
