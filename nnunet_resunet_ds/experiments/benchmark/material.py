"""Make what tasks work on: a cohort of phantoms, a preprocessed dataset, a model of random weights, MONAI's network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataset_conversion import convert
from dataset_conversion.editions import FILE_ENDING
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, SPLITS
from nnunet_resunet_ds.compute.formats import AUTO
from nnunet_resunet_ds.demo.phantom import ANATOMY, Anatomy
from nnunet_resunet_ds.demo.phantom_cohort import make_cohort
from nnunet_resunet_ds.experiments.comparison.monai_networks import monai_nets
from nnunet_resunet_ds.plans import PAPER_FEATURES, PAPER_PATCH_SIZE, with_res_unet_ds
from nnunet_resunet_ds.training.preprocessed_data import FINGERPRINT
from postprocessing.probabilities import PROPERTIES, read_properties


def dyn_unet(architecture: Mapping[str, Any], n_channels: int, n_regions: int) -> nn.Module:
    """Return MONAI's `DynUNet` with residual blocks, of our channels and strides, with one output.

    Args:
        architecture: of our network, as plans have it.
        n_channels: modalities.
        n_regions: outputs.

    Raises:
        InputError: MONAI is missing or too old.
    """
    kwargs = architecture["arch_kwargs"]
    strides = kwargs["strides"]
    network: nn.Module = monai_nets().DynUNet(
        3,
        n_channels,
        n_regions,
        kernel_size=[[3, 3, 3]] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=kwargs["features_per_stage"],
        res_block=True,
    )
    return network


DATASET_ID, DATASET = 1, "Dataset001_Benchmark"
CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class Size:
    """How large data and network are."""

    anatomy: Anatomy
    patch_size: tuple[int, int, int]
    features: tuple[int, ...]
    n_cases: int = 2


QUICK = Size(ANATOMY, (48, 48, 48), (16, 24, 32, 48))
"""Minutes on two cores; says little about the paper's network."""
FULL = Size(Anatomy((155, 240, 240), (75, 81, 68), (30, 60)), PAPER_PATCH_SIZE, PAPER_FEATURES)
"""BraTS' images with a brain of their size, and the paper's patch and network."""
SIZES = {"quick": QUICK, "full": FULL}


@dataclass(frozen=True)
class Material:
    """Files in a folder, and how they are worked on."""

    folder: Path
    size: Size
    device: torch.device
    precision: str = AUTO
    use_mirroring: bool = True
    """Whether prediction averages over eight flips."""

    @property
    def raw_cases(self) -> Path:
        """Cases in the layout of BraTS 2021."""
        return self.folder / "cases" / "training"

    @property
    def raw_dataset(self) -> Path:
        """The same as nnU-Net's dataset."""
        return self.folder / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """The same preprocessed."""
        return self.folder / "nnUNet_preprocessed" / DATASET

    @property
    def model_folder(self) -> Path:
        """A model of random weights."""
        return self.folder / "nnUNet_results" / DATASET / f"ResUNetDSTrainer__nnUNetPlans__{CONFIGURATION}"

    @property
    def case(self) -> str:
        """The first case."""
        return self.cases[0]

    @property
    def image_files(self) -> list[Path]:
        """Images of the first case, in the order of channels."""
        return self.images_of(self.case)

    @property
    def cases(self) -> list[str]:
        """Names of all cases."""
        return sorted(path.name for path in self.raw_cases.iterdir())

    def images_of(self, case: str) -> list[Path]:
        """Return the images of a case in nnU-Net's dataset."""
        return [self.raw_dataset / "imagesTr" / f"{case}_{channel:04d}{FILE_ENDING}" for channel in range(4)]

    def labels_of(self, case: str) -> Path:
        """Return the reference of a case there."""
        return self.raw_dataset / "labelsTr" / f"{case}{FILE_ENDING}"

    @cached_property
    def plans(self) -> dict[str, Any]:
        """Plans that train our network."""
        return with_res_unet_ds(
            stock_plans(self.size), CONFIGURATION, patch_size=self.size.patch_size,
            features_per_stage=self.size.features, recipe={"precision": self.precision},
        ).plans  # fmt: skip

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        """Of the dataset."""
        content: dict[str, Any] = read_json(self.raw_dataset / DATASET_JSON)
        return content


def make_files(material: Material) -> None:
    """Make everything in the folder, which is of `temporary_nnunet_folders`; ``say`` takes a line about each step."""
    LOG.info("making phantoms")
    make_cohort(material.folder / "cases", material.size.n_cases, 0, material.size.anatomy)
    _convert(material)
    LOG.info("preprocessing")
    _preprocess(material)
    _write_model(material)


def _convert(material: Material) -> None:
    convert([material.raw_cases], DATASET_ID, "Benchmark", validate=False)


def _preprocess(material: Material) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor  # noqa: PLC0415
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    plans = PlansManager(material.plans)
    configuration = plans.get_configuration(CONFIGURATION)
    target = material.preprocessed / configuration.data_identifier
    target.mkdir(parents=True)
    for case in material.cases:
        images, labels = [str(file) for file in material.images_of(case)], str(material.labels_of(case))
        DefaultPreprocessor(verbose=False).run_case_save(
            str(target / case), images, labels, plans, configuration, material.dataset_json
        )
    write_json(material.dataset_json, material.preprocessed / DATASET_JSON)
    write_json([{"train": material.cases, "val": material.cases}], material.preprocessed / SPLITS)
    properties = [read_properties(target / f"{case}{PROPERTIES}") or {} for case in material.cases]
    shapes = [of_case["shape_after_cropping_and_before_resampling"] for of_case in properties]
    fingerprint = {
        "spacings": [[1.0] * 3 for _ in material.cases],
        "shapes_after_crop": [[int(axis) for axis in shape] for shape in shapes],
    }
    write_json(fingerprint, material.preprocessed / FINGERPRINT)


def build_network(material: Material) -> nn.Module:
    """Return our network with the random weights of the model."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415

    architecture = material.plans["configurations"][CONFIGURATION]["architecture"]
    torch.manual_seed(0)
    network: nn.Module = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], [], 4, 3, deep_supervision=True
    )
    return network


def _write_model(material: Material) -> None:
    fold = material.model_folder / "fold_0"
    fold.mkdir(parents=True)
    write_json(material.plans, material.model_folder / PLANS_JSON)
    write_json(material.dataset_json, material.model_folder / DATASET_JSON)
    checkpoint = {
        "network_weights": build_network(material).state_dict(),
        "trainer_name": "ResUNetDSTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")


def stock_plans(size: Size) -> dict[str, Any]:
    """Return what nnU-Net's planner would write, as far as training and prediction read it."""
    resampling: dict[str, Any] = {}
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None
        }  # fmt: skip
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "continue_training": False,
        "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(4)},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
                "preprocessor_name": "DefaultPreprocessor",
                "patch_size": list(size.patch_size),
                "batch_size": 2,
                "median_image_size_in_voxels": [2.0 * radius for radius in size.anatomy.brain_radii],
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"] * 4,
                "use_mask_for_norm": [True] * 4,
                "architecture": {"network_class_name": "stock", "arch_kwargs": {}, "_kw_requires_import": []},
                **resampling,
            }
        },
    }
