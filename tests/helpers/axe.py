"""axe-core, which looks in a page for what hides it from some people: contrast, names, alternative text, keyboard."""

import hashlib
import shutil
import subprocess
import tarfile
from functools import cache

import pytest
from code_blocks import PROJECT

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
CACHED = PROJECT / "build" / f"axe-core-{VERSION}.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
"""The rules of WCAG 2.2, levels A and AA; without them, what axe-core holds for good practice as well."""
_RUN = """
const [rules, done] = arguments;
axe.run({ preload: false, ...(rules && { runOnly: rules }) }).then(
  ({ violations }) => done(violations.flatMap(({ id, nodes }) => nodes.map(({ target, any, html }) =>
    [id, target.join(" "), any.map(({ message }) => message).join("; "), html].join(": ")))),
  (error) => done([`${error}`])
);
"""


@cache
def _source():
    if not CACHED.is_file():
        CACHED.parent.mkdir(exist_ok=True)
        _fetch()
    text = CACHED.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SHA256
    return text.decode()


def _fetch():
    """Take the one file that is used from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings axe-core, is not here")
    folder = CACHED.parent
    done = subprocess.run(
        [npm, "pack", f"axe-core@{VERSION}"], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        pytest.skip(f"npm could not bring axe-core: {done.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(folder / f"axe-core-{VERSION}.tgz") as archive:
        member = archive.extractfile("package/axe.min.js")
        new = CACHED.with_suffix(".new")
        new.write_bytes(member.read())
        new.replace(CACHED)


def look_as(browser, scheme, width):
    """Show pages in light or dark, in a window of that many pixels."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def violations(browser, rules=None):
    """Return what axe-core finds in the page that is shown, a line each, and what is wider than the window."""
    browser.execute_script(_source())
    found = browser.execute_async_script(_RUN, rules)
    width, room = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    return found + ([f"the page is {width} pixels wide in a window of {room}"] if width > room else [])
