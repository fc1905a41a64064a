"""Reads exported pages, as a browser does, for the tests."""

import base64
import html.parser
import json

import numpy as np


class Page(html.parser.HTMLParser):
    """The elements of a page: `(tag, attributes, text)` in `elements`."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, text):
        if self.inside:
            self.elements[-1][2] += text

    def all(self, tag):
        return [each for each in self.elements if each[0] == tag]

    def text(self, name):
        """The text of the element with this id, or of the first one with this tag."""
        return next(
            text
            for tag, attributes, text in self.elements
            if name in (tag, attributes.get("id"))
        )

    def model(self):
        return json.loads(self.text("model"))

    def weights(self):
        dtype = "<f2" if self.model()["half"] else "<f4"
        return np.frombuffer(
            base64.b64decode(self.text("weights"), validate=True), dtype
        )
