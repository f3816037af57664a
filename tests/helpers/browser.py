"""A page in Chromium, for the tests of what people look at."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver are not here"
)


def press(browser, *keys):
    """Press keys, one after the other, wherever the focus is."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def focused(browser):
    return browser.switch_to.active_element


@contextmanager
def browser_at(page, *arguments):
    """Open a page in Chromium; at the end, nothing may have gone wrong in it.

    Args:
        page: the file.
        arguments: of Chromium, beyond those that it needs here.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as driver:
        driver.get(page.as_uri())
        yield driver
        assert driver.get_log("browser") == []
