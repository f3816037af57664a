"""The report in headless Chromium: it shows what it should, and answers mouse and keyboard."""

import time

import pytest
from browser import browser_at, needs_chromium, press
from reports import CASES, add_a_false_lesion, make_cohort, note_certainty

from nnunet_resunet_ds.report import ReportSettings, write_report

selenium = pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

pytestmark = needs_chromium
WINDOW = "--window-size=1400,900"
ODD_NAME = "a<b>&c"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = make_cohort(tmp_path_factory.mktemp("cohort"))
    add_a_false_lesion(folder, CASES[1])
    page = folder / "report.html"
    write_report(
        ReportSettings(
            [folder / "raw"],
            folder / "labels",
            page,
            reference=folder / "raw",
            before=folder / "before",
            title=ODD_NAME,
            max_viewers=2,
        )
    )
    with browser_at(page, WINDOW) as driver:
        yield driver


def by_id(browser, name):
    return browser.find_element(By.ID, name)


def wait(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("waited for ten seconds")


def rows(browser):
    return [row.text.split()[0] for row in browser.find_elements(By.CSS_SELECTOR, "#cases tbody tr")]


def pixels(browser, plane="axial"):
    return browser.execute_script(f"return document.getElementById('plane-{plane}').toDataURL()")


@pytest.fixture
def viewer(browser):
    browser.find_element(By.CSS_SELECTOR, "#cases td button").click()
    wait(lambda: browser.execute_script("return !!viewer.volumes"))
    yield browser
    press(browser, Keys.ESCAPE)
    wait(lambda: not browser.execute_script("return viewer.dialog.open"))
    browser.execute_script("viewer.toggles.forEach((toggle, number) => (toggle.checked = number < 2))")


def test_the_title_is_text(browser):
    assert browser.title == ODD_NAME and browser.find_element(By.TAG_NAME, "h1").text == ODD_NAME


def test_the_worst_is_first_and_columns_sort_both_ways(browser):
    assert rows(browser)[0] == CASES[1]
    heading = "//th/button[text()='{}']"
    browser.find_element(By.XPATH, heading.format("Case")).click()
    assert rows(browser) == sorted(CASES)
    browser.find_element(By.XPATH, heading.format("Case")).click()
    assert rows(browser) == sorted(CASES, reverse=True)
    assert browser.find_element(By.XPATH, heading.format("Case") + "/..").get_attribute("aria-sort") == "descending"
    browser.find_element(By.XPATH, heading.format("WT")).click()
    values = [float(cell.text) for cell in browser.find_elements(By.CSS_SELECTOR, "#cases tbody td:nth-child(2)")]
    assert values == sorted(values) and len(set(values)) == 3
    browser.find_element(By.XPATH, heading.format("WT")).send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.ENTER)  # it keeps the focus
    assert rows(browser)[0] == CASES[1] and "the worst first" in by_id(browser, "count").text


def test_the_metric_can_be_chosen(browser):
    def cells():
        return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#cases tbody td:nth-child(2)")]

    before = cells()
    Select(by_id(browser, "metric")).select_by_visible_text("HD95 (mm)")
    assert cells() != before
    Select(by_id(browser, "metric")).select_by_visible_text("Lesions found")
    assert cells() == ["1"] * 3
    Select(by_id(browser, "metric")).select_by_visible_text("Lesion-wise Dice")
    assert cells() == before


def test_cases_can_be_found_by_name_and_flag(browser):
    by_id(browser, "filter").send_keys(CASES[2][-3:])
    assert rows(browser) == [CASES[2]] and by_id(browser, "count").text.startswith("1 of 3 cases")
    by_id(browser, "filter").clear()
    by_id(browser, "filter").send_keys("enhancing")
    assert len(rows(browser)) == 3
    by_id(browser, "filter").send_keys("xyz", Keys.TAB)
    assert rows(browser) == []
    by_id(browser, "filter").clear()
    by_id(browser, "filter").send_keys(" ")


def test_figures_have_a_mark_a_case_and_region(browser):
    assert len(browser.find_elements(By.CSS_SELECTOR, "figure")) == 4
    assert len(browser.find_elements(By.CSS_SELECTOR, ".mark")) == 4 * 3 * len(CASES)


def test_a_mark_opens_its_case(browser):
    mark = browser.find_element(By.CSS_SELECTOR, f".mark[data-case='{CASES[1]}']")
    ActionChains(browser).move_to_element(mark).click().perform()
    assert by_id(browser, "viewer-title").text == CASES[1]
    press(browser, Keys.ESCAPE)


def test_it_opens_at_the_largest_tumour_and_slices_can_be_moved(viewer):
    start = pixels(viewer)
    slider = by_id(viewer, "slice-axial")
    assert 4 < int(slider.get_attribute("value")) < 18
    slider.send_keys(Keys.ARROW_RIGHT)
    moved = pixels(viewer)
    assert moved != start
    viewer.execute_script(
        "document.getElementById('plane-axial').dispatchEvent(new WheelEvent('wheel', {deltaY: 100, cancelable: true}))"
    )
    assert pixels(viewer) not in (start, moved)
    by_id(viewer, "largest").click()
    assert pixels(viewer) == start


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_plane_shows_image_and_contours(viewer, plane):
    colours = viewer.execute_script(
        f"""const canvas = document.getElementById('plane-{plane}');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let [grey, coloured] = [0, 0];
        for (let at = 0; at < data.length; at += 4) {{
          const spread = Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3));
          if (spread > 60) coloured++; else if (data[at] > 60) grey++;
        }}
        return [grey, coloured, canvas.width / canvas.height];"""
    )
    assert colours[0] > 5000 and colours[1] > 500
    shape, spacing = viewer.execute_script("return [viewer.shape, viewer.spacing]")
    extent = [length * mm for length, mm in zip(shape, spacing, strict=True)]
    ratio = {"axial": extent[2] / extent[1], "coronal": extent[2] / extent[0], "sagittal": extent[1] / extent[0]}
    assert colours[2] == pytest.approx(ratio[plane], rel=0.02)


def test_a_click_goes_there_in_all_planes(viewer):
    before = [pixels(viewer, plane) for plane in ("coronal", "sagittal")]
    ActionChains(viewer).move_to_element_with_offset(by_id(viewer, "plane-axial"), 60, 40).click().perform()
    assert all(
        a != b for a, b in zip(before, (pixels(viewer, plane) for plane in ("coronal", "sagittal")), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "key"), [("show-prediction", "p"), ("show-reference", "r"), ("show-changes", "c"), ("show-ET", None)]
)
def test_toggles_change_the_picture_by_mouse_and_key(viewer, name, key):
    where_it_shows = 3 if name == "show-changes" else 11
    viewer.execute_script(f"viewer.move(0, {where_it_shows})")
    start = pixels(viewer)
    by_id(viewer, name).click()
    assert pixels(viewer) != start
    press(viewer, key) if key else by_id(viewer, name).click()
    assert pixels(viewer) == start


def test_a_click_on_a_lesion_goes_there(viewer):
    start = pixels(viewer)
    (button,) = viewer.find_elements(By.CSS_SELECTOR, "#about li button")
    assert button.text.startswith("false WT: 0.01 ml")
    button.click()
    assert pixels(viewer) != start
    label = """const [z, y, x] = viewer.position, [, height, width] = viewer.shape;
        return viewer.labels.prediction[(z * height + y) * width + x];"""
    assert viewer.execute_script(label) == 2  # ED in BraTS 2023
    press(viewer, "l")
    assert pixels(viewer) == start


def test_modalities_by_mouse_and_key(viewer):
    start = pixels(viewer)
    buttons = viewer.find_elements(By.CSS_SELECTOR, "#modalities button")
    assert [button.text for button in buttons] == ["T1", "T1ce", "T2", "FLAIR"]
    buttons[1].click()
    second = pixels(viewer)
    press(viewer, "3")
    assert len({start, second, pixels(viewer)}) == 3
    press(viewer, "4")
    assert pixels(viewer) == start


def test_keys_step_through_slices_and_cases(viewer):
    start = pixels(viewer)
    press(viewer, Keys.ARROW_UP)
    assert pixels(viewer) != start
    press(viewer, "l")
    assert pixels(viewer) == start
    first = by_id(viewer, "viewer-title").text
    press(viewer, "n")
    assert by_id(viewer, "viewer-title").text != first
    press(viewer, "b")
    wait(lambda: viewer.execute_script("return !!viewer.volumes"))
    assert by_id(viewer, "viewer-title").text == first and pixels(viewer) == start


def test_keys_work_after_a_click_on_a_button_that_another_case_replaces(viewer):
    viewer.find_elements(By.CSS_SELECTOR, "#modalities button")[1].click()
    first = by_id(viewer, "viewer-title").text
    press(viewer, "n")
    wait(lambda: viewer.execute_script("return !!viewer.volumes"))
    press(viewer, "b")
    assert by_id(viewer, "viewer-title").text == first
    wait(lambda: viewer.execute_script("return !!viewer.volumes"))
    press(viewer, "4")


def test_a_trackpad_needs_several_small_steps_for_a_slice(viewer):
    def roll(delta):
        viewer.execute_script(
            "document.getElementById('plane-axial')"
            f".dispatchEvent(new WheelEvent('wheel', {{deltaY: {delta}, cancelable: true}}))"
        )
        return int(by_id(viewer, "slice-axial").get_attribute("value"))

    viewer.execute_script("viewer.wheel = 0")
    start = roll(30)
    assert roll(30) == start and roll(30) == start + 1
    assert roll(-200) == start - 1


def test_a_case_without_pictures_says_so(viewer):
    viewer.execute_script("viewer.open(2, [0, 1, 2])")
    assert "--max-viewers" in by_id(viewer, "message").text
    assert not by_id(viewer, "planes").is_displayed()
    viewer.execute_script("viewer.open(0, [0, 1, 2])")
    wait(lambda: viewer.execute_script("return !!viewer.volumes"))
    assert by_id(viewer, "planes").is_displayed() and not by_id(viewer, "message").is_displayed()


def test_it_prints_the_table_and_not_the_controls(browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not by_id(browser, "filter").is_displayed() and by_id(browser, "cases").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_light_and_dark_follow_the_system(browser):
    backgrounds = set()
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


# ---- how sure a prediction is ----


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    folder = make_cohort(tmp_path_factory.mktemp("doubtful"))
    note_certainty(folder, {CASES[0]: 0.9, CASES[1]: 0.5, CASES[2]: 0.8}, with_maps=(CASES[1],))
    page = folder / "report.html"
    write_report(ReportSettings([folder / "raw"], folder / "labels", page))
    with browser_at(page, WINDOW) as driver:
        yield driver


def overlay_at_the_tumour(browser):
    """Red, green and blue of the axial plane in the middle of the tumour of `CASES[1]`, and far from it."""
    return browser.execute_script(
        """
        viewer.position = [...arguments[0]];
        viewer.draw();
        const canvas = document.getElementById("plane-axial");
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const [height, width] = [canvas.height / viewer.shape[1], canvas.width / viewer.shape[2]];
        const at = (y, x) => [...copy.getImageData((x + 0.5) * width, (y + 0.5) * height, 1, 1).data].slice(0, 3);
        return [at(arguments[0][1], arguments[0][2]), at(3, arguments[0][2])];
        """,
        browser.execute_script(
            "return fullestSlices(viewer.maps.ET, viewer.shape, Array(256).fill(1).fill(0, 0, 200))"
        ),
    )


def test_without_a_reference_the_case_of_which_least_is_expected_comes_first(doubtful):
    assert rows(doubtful) == [CASES[1], CASES[2], CASES[0]]
    assert Select(by_id(doubtful, "metric")).first_selected_option.text == "Expected Dice"
    assert "the worst first" in by_id(doubtful, "count").text
    assert "expected Dice of WT 0.50" in doubtful.find_element(By.CSS_SELECTOR, "#cases tbody tr").text


def test_the_map_of_entropy_lies_over_the_images(doubtful):
    doubtful.find_element(By.CSS_SELECTOR, "#cases td button").click()
    wait(lambda: doubtful.execute_script("return !!viewer.volumes"))
    for name in ("prediction", "reference"):
        doubtful.execute_script(f"document.getElementById('show-{name}').checked = false")
    before = overlay_at_the_tumour(doubtful)
    assert all(max(colour) - min(colour) < 3 for colour in before)  # grey
    Select(by_id(doubtful, "overlay")).select_by_visible_text("ET")
    inside, outside = overlay_at_the_tumour(doubtful)
    assert inside[0] > 150 and inside[1] > 120 and inside[2] < inside[1] - 50  # yellow: a whole bit
    assert outside == before[1]
    press(doubtful, "u")  # from the last one to none
    assert by_id(doubtful, "overlay").get_attribute("value") == ""
    assert overlay_at_the_tumour(doubtful) == before
    press(doubtful, "n")
    wait(lambda: doubtful.execute_script("return viewer.volumes && viewer.number === 1"))
    assert not by_id(doubtful, "overlay-label").is_displayed()  # it has no maps
    press(doubtful, Keys.ESCAPE)
