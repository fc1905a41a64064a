import json

import pytest

from textgen.analysis.samples_page import samples_page

HOSTILE = (
    "</script><script>document.title = 'broken'</script><img src=x onerror=alert(1)>"
)


@pytest.fixture
def opened(page, tmp_path):
    """The page of three epochs, with two temperatures each."""
    lines = [
        {
            "epoch": epoch,
            "temperature": temperature,
            "prompt": "shall i ",
            "text": f"shall i {epoch} {HOSTILE}\n" + "寒随穷律变" * 30 + "x" * 300,
            "logs": {"loss": 3 - epoch / 2, "val_loss": 3 - epoch / 3},
        }
        for epoch in (1, 2, 3)
        for temperature in (0.5, 1.0)
    ]
    path = tmp_path / "poet.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (tmp_path / "samples.html").write_text(samples_page(path), encoding="utf-8")
    page.goto(f"file://{tmp_path}/samples.html")
    return page


def shown(page):
    headings = page.locator("h2").all()
    return [each.text_content() for each in headings if each.is_visible()]


def test_the_newest_epoch_is_shown_first(opened):
    assert shown(opened) == ["After epoch 3"]
    assert opened.title() == "Samples: poet"
    texts = [each for each in opened.locator(".text").all() if each.is_visible()]
    assert len(texts) == 2
    assert HOSTILE in texts[0].text_content()


def test_keys_move_through_the_epochs(opened):
    opened.keyboard.press("Tab")
    slider = opened.get_by_role("slider", name="Moment of the training")
    assert slider.evaluate("element => element === document.activeElement")
    opened.keyboard.press("ArrowLeft")
    assert shown(opened) == ["After epoch 2"]
    assert slider.get_attribute("aria-valuetext") == "After epoch 2"
    opened.keyboard.press("Home")
    assert shown(opened) == ["After epoch 1"]
    opened.keyboard.press("End")
    assert shown(opened) == ["After epoch 3"]


def test_all_epochs_at_once(opened):
    opened.get_by_label("show all").check()
    assert shown(opened) == ["After epoch 1", "After epoch 2", "After epoch 3"]


def test_play(opened):
    opened.clock.install()
    opened.get_by_role("button", name="Play").click()
    assert shown(opened) == ["After epoch 1"]
    opened.clock.run_for(1300)
    assert shown(opened) == ["After epoch 2"]
    opened.get_by_role("button", name="Pause").click()
    opened.clock.run_for(5000)
    assert shown(opened) == ["After epoch 2"]
    opened.get_by_role("button", name="Play").click()
    opened.clock.run_for(5000)
    assert shown(opened) == ["After epoch 3"]
    assert opened.get_by_role("button", name="Play").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_page_is_accessible_and_fits(opened, serious_problems, scheme, width):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 800})
    opened.get_by_label("show all").check()
    assert serious_problems(opened) == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_everything_is_shown(browser, opened):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(opened.url)
        assert page.locator("h2:visible").count() == 3
        assert page.locator("#bar:visible").count() == 0
