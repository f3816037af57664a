"""Decision D4 against nnU-Net itself: the channel that the network makes is nnU-Net's own non-zero mask."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_resunet_ds.demo.phantom import Anatomy, make_phantom
from nnunet_resunet_ds.network import salient_voxels

OTHER_SPACINGS = {"1.02": (1.02, 1.0, 1.0), "1.5": (1.5, 1.0, 1.0), "2 x 0.9 x 0.9": (2.0, 0.9, 0.9)}
"""Millimetres, of images that nnU-Net resamples to 1 mm."""
AS_LARGE_AS_A_HEAD = Anatomy(shape=(150, 170, 150), brain_radii=(66, 76, 66), noise=(30, 60))
REAL = ("BraTS2021_01476", "BraTS2021_01480")


@pytest.fixture
def preprocessed(dataset):
    """Takes images (4, Z, Y, X) and their spacing, and does with them what nnU-Net does for plans of 1 mm.

    Gives the images normalised and resampled, and where they are brain by nnU-Net's own mask, resampled alike.
    """
    plans = PlansManager(dataset[0])
    configuration = plans.get_configuration("3d_fullres")

    def run(images, spacing):
        properties = {"spacing": list(spacing)}
        preprocessor = DefaultPreprocessor(verbose=False)
        data, labels, _ = preprocessor.run_case_npy(images, None, properties, plans, configuration, dataset[1])
        return data, labels[0] >= 0

    return run


def marked(data):
    return salient_voxels(torch.from_numpy(data)[None])[0, 0].numpy() == 1


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def real_images(folder, case):
    files = [folder / case / f"{case}_{modality}.nii.gz" for modality in ("t1", "t1ce", "t2", "flair")]
    return np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files])


@pytest.mark.parametrize("seed", [1, 2, 90000])
def test_it_is_nnunet_s_non_zero_mask_on_a_phantom(preprocessed, seed):
    data, brain = preprocessed(make_phantom(seed).images, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(marked(data), brain)


@pytest.mark.parametrize("case", REAL)
def test_it_is_nnunet_s_non_zero_mask_on_a_real_case(real_cases, preprocessed, case):
    data, brain = preprocessed(real_images(real_cases, case), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(marked(data), brain)


@pytest.mark.parametrize(("name", "least"), [("1.02", 0.93), ("1.5", 0.93), ("2 x 0.9 x 0.9", 0.88)])
def test_after_resampling_it_is_near_that_mask_where_non_zero_is_far_from_it(preprocessed, name, least):
    """On a small phantom, whose brain has more surface to its size than a real one."""
    data, brain = preprocessed(make_phantom(1).images, OTHER_SPACINGS[name])
    assert dice(marked(data), brain) > least
    assert dice((data != 0).any(axis=0), brain) < 0.75


@pytest.mark.long
@pytest.mark.parametrize("name", OTHER_SPACINGS)
def test_in_a_brain_of_a_real_one_s_size_it_is_nearer_still(preprocessed, name):
    data, brain = preprocessed(make_phantom(1, anatomy=AS_LARGE_AS_A_HEAD).images, OTHER_SPACINGS[name])
    assert dice(marked(data), brain) >= 0.93


@pytest.mark.long
@pytest.mark.parametrize("name", OTHER_SPACINGS)
@pytest.mark.parametrize("case", REAL[:1])
def test_so_it_is_on_a_real_case(real_cases, preprocessed, case, name):
    data, brain = preprocessed(real_images(real_cases, case), OTHER_SPACINGS[name])
    assert dice(marked(data), brain) >= 0.93
