"""The report for everyone: what axe-core finds in it, in light and dark, narrow and wide; and the keyboard alone."""

import time

import pytest
from axe import look_as, violations
from browser import browser_at, focused, needs_chromium, press
from reports import CASES, add_a_false_lesion, make_cohort, note_certainty, note_training_cases

from nnunet_resunet_ds.report import ReportSettings, write_report

selenium = pytest.importorskip("selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = needs_chromium
LOOKS = [("light", 1400), ("light", 390), ("dark", 1400), ("dark", 390)]
SIDEWAYS = "const box = document.getElementById('viewer'); return box.scrollWidth - box.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A report with everything that it can have: reference, before, lesions, flags, a warning and maps of entropy."""
    folder = make_cohort(tmp_path_factory.mktemp("cohort"))
    add_a_false_lesion(folder, CASES[1])
    note_certainty(folder, {CASES[0]: 0.9, CASES[1]: 0.5, CASES[2]: 0.8}, with_maps=(CASES[1],))
    note_training_cases(folder, CASES[:1])
    page = folder / "report.html"
    write_report(
        ReportSettings([folder / "raw"], folder / "labels", page, reference=folder / "raw", before=folder / "before")
    )
    with browser_at(page) as driver:
        yield driver


@pytest.fixture
def fresh(browser):
    look_as(browser, "light", 1400)
    browser.refresh()
    return browser


def tab_to(browser, text, by="text"):
    """Press the tab key until what has the focus has that text or attribute."""
    for _ in range(60):
        press(browser, Keys.TAB)
        element = focused(browser)
        if text == (element.text if by == "text" else element.get_attribute(by)):
            return
    pytest.fail(f"sixty times the tab key, and no {text}")


def wait_for(browser, condition):
    for _ in range(200):
        if browser.execute_script(f"return {condition}"):
            return
        time.sleep(0.05)
    pytest.fail(f"waited ten seconds for {condition}")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_overview_can_be_read_by_everyone(fresh, scheme, width):
    look_as(fresh, scheme, width)
    assert violations(fresh) == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_a_case_can_be_read_by_everyone(fresh, scheme, width):
    look_as(fresh, scheme, width)
    fresh.execute_script("viewer.open(1, [0, 1, 2])")
    wait_for(fresh, "!!viewer.volumes")
    assert violations(fresh) == []
    assert fresh.execute_script(SIDEWAYS) == 0


def test_what_cannot_be_read_is_found(fresh):
    fresh.execute_script(
        "document.body.insertAdjacentHTML('beforeend', arguments[0])",
        '<p style="color: #999; background: #fff">pale</p><button></button>',
    )
    found = "\n".join(violations(fresh))
    assert "color-contrast" in found and "button-name" in found


def test_figures_and_planes_are_told_in_words(fresh):
    figures = [svg.get_attribute("aria-label") for svg in fresh.find_elements(By.CSS_SELECTOR, "figure svg")]
    medians = fresh.execute_script(
        """return page.regions.map(({ name }) => {
          const sorted = page.cases.map(({ values }) => values[name].dice).sort((a, b) => a - b);
          return [name, sorted[1]];
        })"""
    )
    assert figures[0] == "Dice, median: " + ", ".join(f"{name} {value:.3g}" for name, value in medians)
    assert figures[-1] == f"Volume (ml), prediction over reference, {3 * len(CASES)} points"
    fresh.execute_script("viewer.open(1, [0, 1, 2])")
    wait_for(fresh, "!!viewer.volumes")
    plane = fresh.find_element(By.ID, "plane-axial")
    assert plane.get_attribute("aria-label").startswith("FLAIR, axial slice ")
    fresh.find_element(By.ID, "slice-axial").send_keys(Keys.HOME)
    assert plane.get_attribute("aria-label") == "FLAIR, axial slice 1 of 21"


def test_the_keyboard_alone_finds_sorts_opens_and_comes_back(fresh):
    press(fresh, Keys.TAB)
    assert focused(fresh).get_attribute("id") == "filter"
    press(fresh, CASES[2][-3:])
    assert fresh.find_element(By.ID, "count").text.startswith("1 of 3")
    press(fresh, *[Keys.BACKSPACE] * 3)
    tab_to(fresh, "Case")
    press(fresh, Keys.ENTER)
    tab_to(fresh, CASES[1])
    press(fresh, Keys.ENTER)
    wait_for(fresh, "viewer.dialog.open && !!viewer.volumes")
    tab_to(fresh, "T1ce")
    press(fresh, Keys.SPACE)
    assert focused(fresh).get_attribute("aria-pressed") == "true"
    tab_to(fresh, "show-ET", by="id")
    press(fresh, Keys.SPACE)
    assert not fresh.execute_script("return document.getElementById('show-ET').checked")
    tab_to(fresh, "slice-coronal", by="id")
    before = int(focused(fresh).get_attribute("value"))
    press(fresh, Keys.ARROW_UP)
    assert int(focused(fresh).get_attribute("value")) == before + 1
    press(fresh, Keys.ESCAPE)
    wait_for(fresh, "!viewer.dialog.open")
    assert focused(fresh).text == CASES[1]  # where it was
