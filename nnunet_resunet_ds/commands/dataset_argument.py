"""The argument that names a dataset, as nnU-Net takes it: by number, or by the whole name of its folder."""

import argparse
import re

from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, datasets_with_id

_NAME = re.compile(r"Dataset(?P<id>\d{3})_(?P<name>.+)")


def id_and_name(text: str) -> tuple[int, str | None]:
    """Return the number of a dataset, and what follows it in its name where that is given.

    Args:
        text: ``137`` or ``Dataset137_BraTS2021``.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    match = _NAME.fullmatch(text)
    if match:
        return int(match["id"]), match["name"]
    if not text.isdecimal():
        msg = f"{text!r} is no dataset; give its number, such as 137, or its whole name, such as Dataset137_BraTS2021"
        raise argparse.ArgumentTypeError(msg)
    return int(text), None


def dataset_id(text: str) -> int:
    """Return the number of a dataset that is there.

    Raises:
        argparse.ArgumentTypeError: it is no dataset, or the one of this number has another name.
    """
    number, name = id_and_name(text)
    there = {folder.name for variable in NNUNET_FOLDERS for folder in datasets_with_id(variable, number)}
    if name is not None and there and text not in there:
        msg = f"{text} is not there; dataset {number} is {', '.join(sorted(there))}"
        raise argparse.ArgumentTypeError(msg)
    return number
