"""The site for everyone: contrast, names and alternative text by axe-core; the keyboard alone; narrow and wide."""

import re
import time

import pytest
from axe import WCAG, look_as, violations
from browser import browser_at, focused, needs_chromium, press
from code_blocks import PAGES

pytestmark = [pytest.mark.long, needs_chromium]
selenium = pytest.importorskip("selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
A_MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2"
"""Without one, the theme does not let the keyboard into code that scrolls."""
SCHEMES = {"light": "default", "dark": "slate"}
SECONDS_OF_COLOURS = 0.3
"""How long the theme fades from one colour to another."""


@pytest.fixture(scope="module")
def browser(site):
    with browser_at(site / "index.html", NO_NETWORK, A_MOUSE) as driver:
        yield driver


def show_as(browser, scheme, width):
    """Let the next page be in these colours, whatever was chosen in those before, which the theme keeps."""
    look_as(browser, scheme, width)
    time.sleep(SECONDS_OF_COLOURS)  # the page that is open follows, and notes it
    browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_every_page_can_be_read_by_everyone(browser, site, scheme, width):
    show_as(browser, scheme, width)
    pages = [page for page in sorted(site.rglob("*.html")) if page.name != "404.html"]  # it is for a server
    found = {}
    for page in pages:
        browser.get(page.as_uri())
        time.sleep(SECONDS_OF_COLOURS)
        assert browser.execute_script("return document.body.dataset.mdColorScheme") == SCHEMES[scheme]
        if lines := violations(browser, WCAG):
            found[str(page.relative_to(site))] = lines
    assert len(pages) > 60 and found == {}


def test_what_cannot_be_read_is_found(browser, site):
    browser.get((site / "start" / "install.html").as_uri())
    browser.execute_script(
        "document.querySelector('article').insertAdjacentHTML('beforeend',"
        """'<p style="color: #999; background: #fff">pale</p><img src="x.png"><div style="width: 9000px">.</div>')"""
    )
    lines = "\n".join(violations(browser, WCAG))
    assert "color-contrast" in lines and "image-alt" in lines and "pixels wide" in lines
    browser.get_log("browser")  # x.png is not there, as it says


def test_the_keyboard_alone_leads_to_the_text_and_to_any_page(browser, site):
    show_as(browser, "light", 1400)
    browser.get((site / "index.html").as_uri())
    for _ in range(10):  # a page that has just come may not listen to its keys yet
        press(browser, Keys.TAB)
        time.sleep(SECONDS_OF_COLOURS)
        if focused(browser).tag_name != "body":
            break
    assert focused(browser).text == "Skip to content"
    press(browser, Keys.ENTER)
    assert "#" in browser.current_url
    time.sleep(SECONDS_OF_COLOURS)  # the theme closes the search when the address changes
    press(browser, "/")
    assert focused(browser).get_attribute("aria-label") == "Search"
    press(browser, "hysteresis")
    for _ in range(100):
        press(browser, Keys.ARROW_DOWN)  # from the box into its results, once there are some
        if "md-search-result__link" in (focused(browser).get_attribute("class") or ""):
            break
        time.sleep(0.1)
    wanted = focused(browser).get_attribute("href")
    press(browser, Keys.ENTER)
    for _ in range(100):
        if "index.html" not in browser.current_url:
            break
        time.sleep(0.1)
    assert wanted and browser.current_url == wanted


def test_the_keyboard_alone_turns_it_dark(browser, site):
    show_as(browser, "light", 1400)
    browser.get((site / "index.html").as_uri())
    body = browser.find_element(By.TAG_NAME, "body")
    assert body.get_attribute("data-md-color-scheme") == "default"
    for _ in range(12):
        press(browser, Keys.TAB)
        if focused(browser).get_attribute("name") == "__palette":
            break
    press(browser, Keys.ENTER)
    assert body.get_attribute("data-md-color-scheme") == "slate"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "![" in page.read_text(encoding="utf-8")], ids=lambda page: page.name
)
def test_every_picture_is_told_in_words(page):
    told = re.findall(r"!\[([^]]*)\]\(", page.read_text(encoding="utf-8"))
    assert told and [words for words in told if len(words.split()) < 8] == []
