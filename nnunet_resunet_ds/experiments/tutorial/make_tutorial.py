"""Make the page of the tutorial and its pictures from a finished demo."""

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder
from nnunet_resunet_ds.experiments.tutorial.heads import heads_picture
from nnunet_resunet_ds.experiments.tutorial.page import write_page
from nnunet_resunet_ds.experiments.tutorial.pictures import (
    census_picture,
    postprocessing_picture,
    prediction_picture,
    save,
    training_picture,
)
from nnunet_resunet_ds.experiments.tutorial.screenshot import report_pictures

PICTURES = {
    "census": census_picture,
    "training": training_picture,
    "heads": heads_picture,
    "prediction": prediction_picture,
    "postprocessing": postprocessing_picture,
}
"""By the names of their files."""


def make_tutorial(demo: DemoFolder, page: Path) -> list[Path]:
    """Write the page and its pictures, and return all files.

    Args:
        demo: that is shown.
        page: the Markdown file; pictures go to a folder of its name.
    """
    folder = page.with_suffix("")
    pictures: dict[str, Figure | Image.Image] = {name: draw(demo) for name, draw in PICTURES.items()}
    screenshots = report_pictures(demo.report)
    if not screenshots:
        LOG.warning("there is no Chromium here: the pictures of the report in %s stay as they are", folder)
    pictures |= screenshots
    files = [folder / f"{name}.png" for name in pictures]
    for file, picture in zip(files, pictures.values(), strict=True):
        save(picture, file)
    write_page(demo, page)
    return [page, *files]
