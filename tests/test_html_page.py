import base64
import hashlib
import json
import re

import pytest

from textgen import html_page


def test_the_policy_has_the_hashes_of_script_and_style():
    policy = html_page.policy("let a = 1 < 2;", "p { color: red }")
    rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name, code in (("script", "let a = 1 < 2;"), ("style", "p { color: red }")):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "a&b>", "\0", "\ud800", "é", "{{a}}"]
)
def test_json_cannot_end_an_element(text):
    shown = html_page.as_json({text: [text]})
    assert shown.isascii()
    assert not re.search("[<>&]", shown)
    assert json.loads(shown) == {text: [text]}


def test_a_part_is_not_searched_for_names():
    parts = {"a": "{{b}}", "b": "1"}
    assert html_page.filled("{{a}} {{b}} {c}", parts) == "{{b}} 1 {c}"
