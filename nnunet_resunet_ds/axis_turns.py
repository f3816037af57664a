"""Storing an image along the axes of another: each voxel stays where it is in the world, and keeps its value."""

import numpy as np
import SimpleITK as sitk

from nnunet_resunet_ds.images import GEOMETRY_TOLERANCE, geometry_difference


def turned_onto(image: sitk.Image, reference: sitk.Image) -> sitk.Image | None:
    """Permute and flip the axes of an image so that it lies on the voxel grid of another; nothing is interpolated.

    Args:
        image: 3-D.
        reference: 3-D, of the grid that is wanted.

    Returns:
        The image on that grid, within `GEOMETRY_TOLERANCE`; None where turning axes does not lead there.
    """
    axes, of_reference = (np.reshape(each.GetDirection(), (3, 3)) for each in (image, reference))
    cosines = axes.T @ of_reference  # of each axis of the image with each one of the reference
    order = np.abs(cosines).argmax(axis=0)
    signs = cosines[order, range(3)]
    if len(set(order.tolist())) < 3 or not np.allclose(np.abs(signs), 1, rtol=0, atol=GEOMETRY_TOLERANCE):
        return None  # oblique to each other
    turned = sitk.Flip(sitk.PermuteAxes(image, order.tolist()), (signs < 0).tolist(), False)
    return None if geometry_difference(turned, reference) else turned


def orientation(image: sitk.Image) -> str:
    """Return where the axes of a 3-D image point, such as LPS: to the left, to the back, up."""
    name: str = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    return name
