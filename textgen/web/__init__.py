"""The page and the HTTP API of `textgen serve`."""
