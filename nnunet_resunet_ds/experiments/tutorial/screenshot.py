"""Take a picture of a report, in Chromium where it is installed."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageChops

OVERVIEW_SIZE, CASE_SIZE = (1280, 1900), (1280, 900)
"""Pixels of the window."""
MARGIN = 16
"""Pixels that stay below what is shown."""
_OPEN_A_CASE = "<script>addEventListener('load', () => document.querySelector('#cases td button').click())</script>"
_SECONDS = 120


def report_pictures(report: Path) -> dict[str, Image.Image]:
    """Return pictures of a report by their names, its overview and its first case; none where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return {}
    html = report.read_text(encoding="utf-8")
    return {
        "report": without_empty_rows(_screenshot(chromium, html, OVERVIEW_SIZE)),
        "report_case": _screenshot(chromium, html + _OPEN_A_CASE, CASE_SIZE),
    }


def _screenshot(chromium: str, html: str, size: tuple[int, int]) -> Image.Image:
    with TemporaryDirectory() as name:
        folder = Path(name)
        page, file = folder / "report.html", folder / "report.png"
        page.write_text(html, encoding="utf-8")
        command = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=5000",
            f"--screenshot={file}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        with Image.open(file) as picture:
            return picture.convert("RGB")


def without_empty_rows(picture: Image.Image) -> Image.Image:
    """Return a picture without the rows at its end that have the colour of its last pixel."""
    empty = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    box = ImageChops.difference(picture, empty).getbbox()
    return picture if box is None else picture.crop((0, 0, picture.width, min(box[3] + MARGIN, picture.height)))
