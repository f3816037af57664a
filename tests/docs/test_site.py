"""The site: built without a warning, every command in it, nothing in it that comes from the network."""

import re
import shutil
import time

import pytest
from browser import browser_at, needs_chromium
from code_blocks import PROJECT
from documentation_site import build_site

from nnunet_resunet_ds.cli import COMMANDS, _parser

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytest.importorskip("material", reason="the extra docs is not installed")
pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
from command_pages import command_page, index_page

NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
IN_WORDS = (PROJECT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
LOADED = re.compile(
    r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>|@import|url\(["']?http"""
)
"""What a browser would fetch from elsewhere."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_on_its_page(name):
    (subcommands,) = _parser()._subparsers._group_actions
    page = command_page(name)
    assert page.startswith(f"# resunet-ds {name}\n") and f"({name}.md)" in index_page()
    for action in subcommands.choices[name]._actions:
        for flag in set(action.option_strings) - {"-h", "--help", "-v", "--verbose"}:
            assert re.search(rf"^\| `(?:[^`]* )?{re.escape(flag)}[ ,`]", page, re.MULTILINE), flag


def test_every_command_is_explained_in_words_in_the_order_of_the_help():
    assert re.findall(r"^\| `([a-z-]+)` \|", IN_WORDS, re.MULTILINE) == list(COMMANDS)


@pytest.mark.long
def test_it_has_every_page_and_needs_no_network(site):
    pages = [path for path in (PROJECT / "docs").rglob("*.md") if "hooks" not in path.parts]
    built = {path.relative_to(PROJECT / "docs").with_suffix(".html") for path in pages}
    built |= {f"reference/options/{name}.html" for name in COMMANDS}
    assert [page for page in built if not (site / page).is_file()] == []
    for page in site.rglob("*.html"):
        assert LOADED.findall(page.read_text(encoding="utf-8")) == [], page


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[nothing](nowhere.md)", "nowhere.md"),
        ("[nothing](how_to/train.md#no-such-heading)", "no-such-heading"),
        ("[nothing][nnunet_resunet_ds.no_such_name]", "no_such_name"),
        ("::: nnunet_resunet_ds.no_such_name", "no_such_name"),
    ],
)
def test_what_leads_nowhere_ends_the_build(line, said, tmp_path):
    for name in ("docs", "nnunet_resunet_ds", "dataset_conversion", "postprocessing"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{line}\n")
    done = build_site(tmp_path, tmp_path / "site")
    assert done.returncode != 0 and said in done.stdout


@pytest.mark.long
@needs_chromium
def test_search_works_in_files(site):
    pytest.importorskip("selenium")
    from selenium.webdriver.common.by import By

    with browser_at(site / "how_to" / "train.html", NO_NETWORK) as browser:
        box = browser.find_element(By.CSS_SELECTOR, "input.md-search__input")
        browser.execute_script("arguments[0].focus()", box)
        box.send_keys("hysteresis")
        for _ in range(200):
            links = browser.find_elements(By.CSS_SELECTOR, "a.md-search-result__link")
            if links:
                break
            time.sleep(0.1)
        assert any("how_to/postprocess.html" in link.get_attribute("href") for link in links)
