"""How a report opens in Chromium: one case at once, a case by its name in the address; and what the viewer says."""

import re
import time

import pytest
from browser import browser_at, needs_chromium
from reports import CASES, add_a_false_lesion, make_cohort, note_certainty

from nnunet_resunet_ds.report import ReportSettings, write_report

selenium = pytest.importorskip("selenium")
from axe import violations  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

pytestmark = needs_chromium
LOADED = "return viewer.dialog.open && !!viewer.volumes"


@pytest.fixture(scope="module")
def one_case(tmp_path_factory):
    """A report of one case with a reference, and no more."""
    folder = make_cohort(tmp_path_factory.mktemp("one"), CASES[1:2])
    add_a_false_lesion(folder, CASES[1])
    write_report(ReportSettings([folder / "raw"], folder / "labels", folder / "one.html", reference=folder / "raw"))
    with browser_at(folder / "one.html") as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_cohort(tmp_path_factory.mktemp("cohort"))
    note_certainty(folder, {CASES[0]: 0.9, CASES[1]: 0.5}, with_maps=(CASES[1],))
    write_report(
        ReportSettings(
            [folder / "raw"], folder / "labels", folder / "page.html", before=folder / "before", max_viewers=2
        )
    )
    return folder / "page.html"


@pytest.fixture(scope="module")
def several(page):
    with browser_at(page) as driver:
        yield driver


@pytest.fixture
def fresh(several, page):
    several.get("about:blank")
    several.get(page.as_uri())
    return several


def text_of(browser, name):
    return browser.find_element(By.ID, name).get_attribute("textContent")


def is_shown(browser, name):
    return browser.find_element(By.ID, name).is_displayed()


def wait(browser, condition=LOADED):
    for _ in range(200):
        if browser.execute_script(condition):
            return
        time.sleep(0.05)
    pytest.fail(f"waited for ten seconds: {condition}")


def test_one_case_opens_at_once_and_can_be_closed(one_case):
    one_case.refresh()
    wait(one_case)
    assert text_of(one_case, "viewer-title") == CASES[1]
    assert not is_shown(one_case, "previous") and not is_shown(one_case, "next")
    assert text_of(one_case, "help") == (
        "Wheel or ↑ ↓: slice · click: go there in all planes · 1 to 4: modality · p: prediction · r: reference · "
        "l: largest tumour · Esc: close"
    )
    assert violations(one_case) == []
    ActionChains(one_case).send_keys(Keys.ESCAPE).perform()
    wait(one_case, "return !viewer.dialog.open")
    assert len(one_case.find_elements(By.CSS_SELECTOR, "figure")) == 1  # volumes; no quartiles of one case
    assert not one_case.find_elements(By.ID, "how") and text_of(one_case, "count") == ""
    assert violations(one_case) == []


def test_keys_of_what_a_case_has_not_do_nothing(one_case):
    one_case.refresh()
    wait(one_case)
    for key, name in (("c", "show-changes"), ("r", "show-reference")):
        before = one_case.find_element(By.ID, name).is_selected()
        ActionChains(one_case).send_keys(key).perform()
        assert (one_case.find_element(By.ID, name).is_selected() == before) == (key == "c")


def test_places_of_lesions_are_explained(one_case):
    one_case.refresh()
    wait(one_case)
    about = text_of(one_case, "about")
    assert re.search(r"false WT: 0\.01 ml, at x \d+, y -?\d+, z \d+ mm", about)
    assert "x grows to the patient's left, y to the back, z upwards" in about


def test_several_cases_open_as_a_table_that_says_what_to_do(fresh):
    assert not fresh.execute_script("return viewer.dialog.open")
    assert text_of(fresh, "how") == "Click a case to see its images." and is_shown(fresh, "how")
    assert not fresh.find_elements(By.CSS_SELECTOR, ".notice")


def test_the_case_that_the_address_names_opens(several, page):
    several.get("about:blank")
    several.get(f"{page.as_uri()}#{CASES[1]}")
    wait(several)
    assert text_of(several, "viewer-title") == CASES[1]
    several.execute_script(f"location.hash = '{CASES[0]}'")
    wait(several, f"return document.getElementById('viewer-title').textContent === '{CASES[0]}' && !!viewer.volumes")
    several.get("about:blank")
    several.get(f"{page.as_uri()}#nobody%")
    assert not several.execute_script("return viewer.dialog.open")


def test_it_says_that_it_is_loading_until_the_planes_can_be_seen(fresh):
    said, opacity = fresh.execute_script(
        """viewer.open(0, [0, 1, 2]);
        const planes = document.getElementById("planes");
        return [document.getElementById("loading").textContent, getComputedStyle(planes).opacity];"""
    )
    assert (said, opacity) == ("loading …", "0")
    wait(fresh)
    wait(fresh, "return document.getElementById('loading').textContent === ''")
    assert fresh.execute_script("return getComputedStyle(document.getElementById('planes')).opacity") == "1"
    assert fresh.find_element(By.ID, "loading").get_attribute("role") == "status"


def test_pictures_that_cannot_be_decoded_are_named(fresh):
    fresh.execute_script(
        """const element = document.getElementById("pictures-0"), pictures = JSON.parse(element.textContent);
        pictures.images = { T1: "data:image/webp;base64,AAAA" };
        element.textContent = JSON.stringify(pictures);
        viewer.open(0, [0, 1, 2]);"""
    )
    wait(fresh, "return document.getElementById('message').textContent.startsWith('The pictures of this case cannot')")
    assert text_of(fresh, "loading") == ""


def test_keys_are_listed_as_each_case_has_them(fresh):
    numbers = {name: number for number, name in enumerate(fresh.execute_script("return page.cases.map((c) => c.name)"))}
    fresh.execute_script(f"viewer.open({numbers[CASES[1]]}, [0, 1, 2])")
    wait(fresh)
    assert "c: changes · u: uncertainty · l:" in text_of(fresh, "help") and "r: ref" not in text_of(fresh, "help")
    fresh.execute_script(f"viewer.open({numbers[CASES[0]]}, [0, 1, 2])")
    wait(fresh)
    assert "uncertainty" not in text_of(fresh, "help") and "b, n: previous, next case" in text_of(fresh, "help")
    fresh.execute_script(f"viewer.open({numbers[CASES[2]]}, [0, 1, 2])")
    assert text_of(fresh, "help") == "b, n: previous, next case · Esc: close"  # it has no pictures


def test_numbers_are_explained_where_they_are_chosen_and_shown(fresh):
    choice = Select(fresh.find_element(By.ID, "metric"))
    for title, told in (
        ("Mean entropy in the region (bits)", "1 bit where all are 0.5"),
        ("Expected Dice", "without a ref"),
    ):
        choice.select_by_visible_text(title)
        assert told in text_of(fresh, "explanation")
        assert told in choice.first_selected_option.get_attribute("title")
    choice.select_by_visible_text("Predicted volume (ml)")
    assert text_of(fresh, "explanation") == "" and not is_shown(fresh, "explanation")
    fresh.execute_script("viewer.open(0, [0, 1, 2])")
    titles = {cell.text: cell.get_attribute("title") for cell in fresh.find_elements(By.CSS_SELECTOR, "#about [title]")}
    assert "probability of 0.75 or more" in titles["Volume at least (ml)"]
    assert "probability of 0.25 or more" in titles["Volume at most (ml)"]
