"""Decision D4 against nnU-Net itself: the channel that the network makes is nnU-Net's own non-zero mask."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

from nnunet_resunet_ds.demo.phantom import make_phantom
from nnunet_resunet_ds.network import salient_voxels


def preprocessed(images):
    """Crop and normalise as nnU-Net does for BraTS: (normalised images, where the brain is)."""
    data, seg, _ = crop_to_nonzero(images.astype(np.float32))
    scheme = ZScoreNormalization(use_mask_for_norm=True, intensityproperties={})
    return np.stack([scheme.run(channel, seg[0]) for channel in data]), seg[0] >= 0


def marked(data):
    return salient_voxels(torch.from_numpy(data)[None])[0, 0].numpy() == 1


def test_it_is_nnunet_s_non_zero_mask_on_a_phantom():
    data, brain = preprocessed(make_phantom(1).images)
    np.testing.assert_array_equal(marked(data), brain)


@pytest.mark.parametrize("case", ["BraTS2021_01476", "BraTS2021_01480"])
def test_it_is_nnunet_s_non_zero_mask_on_a_real_case(real_cases, case):
    files = [real_cases / case / f"{case}_{modality}.nii.gz" for modality in ("t1", "t1ce", "t2", "flair")]
    data, brain = preprocessed(np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files]))
    np.testing.assert_array_equal(marked(data), brain)


def test_resampling_breaks_it_which_is_why_the_trainer_refuses():
    """Cubic interpolation from 1.02 mm on one axis rings into the zero background."""
    data, brain = preprocessed(make_phantom(1).images)
    spacing = ([1.02, 1.0, 1.0], [1.0, 1.0, 1.0])
    shape = compute_new_shape(data.shape[1:], *spacing)
    resampled = resample_data_or_seg_to_shape(data, shape, *spacing, is_seg=False, order=3, order_z=0)
    assert marked(np.asarray(resampled)).mean() > brain.mean() + 0.1
