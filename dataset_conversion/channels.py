"""Reading the images of a case as one 3-D image a channel, whether they are files of their own or volumes of one."""

from pathlib import Path

import SimpleITK as sitk

from dataset_conversion.edition import Edition
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import add_note, notes_of, read_image


def read_channels(path: Path, case: RawCase, edition: Edition) -> dict[str, sitk.Image]:
    """Read one image file of a case and return the 3-D image of every channel that it holds.

    Raises:
        InputError: it cannot be read, or has not the dimensions that the edition's files have.
    """
    image = read_image(path)
    channels = [channel for channel, file in case.images.items() if file == path]
    n_dimensions = 4 if edition.volumes else 3
    if image.GetDimension() != n_dimensions:
        advice = "expected all channels in one 4-D file" if edition.volumes else "give one 3-D file a modality"
        msg = f"{path}: has {image.GetDimension()} dimensions instead of {n_dimensions}; {advice}"
        raise InputError(msg)
    if not edition.volumes:
        return dict.fromkeys(channels, image)
    if image.GetSize()[3] != len(edition.volumes):
        msg = f"{path}: has {image.GetSize()[3]} volumes; expected {', '.join(edition.volumes)} in this order"
        raise InputError(msg)
    volumes = {channel: image[:, :, :, edition.volumes[channel]] for channel in channels}
    for note in notes_of(image):
        for volume in volumes.values():
            add_note(volume, note)
    return volumes
