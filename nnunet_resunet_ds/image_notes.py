"""What was put right while an image was read, kept with the image: for the notes of a conversion or a prediction."""

import SimpleITK as sitk

_KEY = "resunet_ds_notes"


def add_note(image: sitk.Image, note: str) -> None:
    """Keep ``KIND: detail`` with an image, after what is kept there already."""
    image.SetMetaData(_KEY, "\n".join([*notes_of(image), note]))


def notes_of(image: sitk.Image) -> list[str]:
    """Return what was kept with an image."""
    return image.GetMetaData(_KEY).splitlines() if image.HasMetaDataKey(_KEY) else []
