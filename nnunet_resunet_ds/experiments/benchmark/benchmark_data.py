"""Make the data of the benchmark: a cohort of phantoms, a preprocessed dataset, and a model of random weights."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dataset_conversion import convert
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, ModelId
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS, PLANS_JSON, SPLITS
from nnunet_resunet_ds.base.nnunet_properties import PROPERTIES_ENDING, read_properties
from nnunet_resunet_ds.compute import AUTO
from nnunet_resunet_ds.demo.phantom import ANATOMY, Anatomy, make_cohort
from nnunet_resunet_ds.plans import PAPER_FEATURES, PAPER_PATCH_SIZE
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.checks.preprocessed_data import FINGERPRINT
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

DATASET_ID, DATASET = 1, "Dataset001_Benchmark"
N_CHANNELS, N_REGIONS = 4, 3


@dataclass(frozen=True)
class Size:
    """Sizes of data and network."""

    anatomy: Anatomy
    patch_size: tuple[int, int, int]
    features: tuple[int, ...]
    n_cases: int = 2
    n_converted: int = 8
    """Cases of the conversion, which are the made ones under many names."""


QUICK = Size(ANATOMY, (48, 48, 48), (16, 24, 32, 48))
"""Minutes on two cores; says little about the paper's network."""
FULL = Size(Anatomy((155, 240, 240), (75, 81, 68), (30, 60)), PAPER_PATCH_SIZE, PAPER_FEATURES, n_converted=25)
"""BraTS' images with a brain of their size, and the paper's patch and network."""
SIZES = {"quick": QUICK, "full": FULL}


@dataclass(frozen=True)
class BenchmarkData:
    """Files of the benchmark in a folder, and the settings of its tasks."""

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
        return ModelId(dataset=DATASET).folder(self.folder / "nnUNet_results")

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
        return [self.raw_dataset / "imagesTr" / f"{case}_{channel:04d}{FILE_ENDING}" for channel in range(N_CHANNELS)]

    def labels_of(self, case: str) -> Path:
        """Return the reference of a case there."""
        return self.raw_dataset / "labelsTr" / f"{case}{FILE_ENDING}"

    @cached_property
    def plans(self) -> dict[str, Any]:
        """Plans of our network."""
        return with_res_unet_ds(
            stock_plans(self.size), CONFIGURATION, patch_size=self.size.patch_size,
            features_per_stage=self.size.features, recipe={"precision": self.precision},
        ).plans  # fmt: skip

    @property
    def configuration(self) -> dict[str, Any]:
        """Configuration of these plans."""
        content: dict[str, Any] = self.plans["configurations"][CONFIGURATION]
        return content

    @property
    def architecture(self) -> dict[str, Any]:
        """Architecture of our network, as plans have it."""
        content: dict[str, Any] = self.configuration["architecture"]
        return content

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        """Content of the dataset's ``dataset.json``."""
        content: dict[str, Any] = read_json(self.raw_dataset / DATASET_JSON)
        return content


def make_files(data: BenchmarkData) -> None:
    """Make all files in the folder, which is of `temporary_nnunet_folders`."""
    LOG.info("making phantoms")
    make_cohort(data.folder / "cases", data.size.n_cases, 0, data.size.anatomy)
    _convert(data)
    LOG.info("preprocessing")
    _preprocess(data)
    _write_model(data)


def _convert(data: BenchmarkData) -> None:
    convert([data.raw_cases], DATASET_ID, "Benchmark", validate=False)


def _preprocess(data: BenchmarkData) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor  # noqa: PLC0415
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    plans = PlansManager(data.plans)
    configuration = plans.get_configuration(CONFIGURATION)
    target = data.preprocessed / configuration.data_identifier
    target.mkdir(parents=True)
    for case in data.cases:
        images, labels = [str(file) for file in data.images_of(case)], str(data.labels_of(case))
        DefaultPreprocessor(verbose=False).run_case_save(
            str(target / case), images, labels, plans, configuration, data.dataset_json
        )
    write_json(data.dataset_json, data.preprocessed / DATASET_JSON)
    write_json([{"train": data.cases, "val": data.cases}], data.preprocessed / SPLITS)
    properties = [read_properties(target / f"{case}{PROPERTIES_ENDING}") or {} for case in data.cases]
    shapes = [of_case["shape_after_cropping_and_before_resampling"] for of_case in properties]
    fingerprint = {
        "spacings": [[1.0] * 3 for _ in data.cases],
        "shapes_after_crop": [[int(axis) for axis in shape] for shape in shapes],
    }
    write_json(fingerprint, data.preprocessed / FINGERPRINT)


def _write_model(data: BenchmarkData) -> None:
    fold = data.model_folder / "fold_0"
    fold.mkdir(parents=True)
    write_json(data.plans, data.model_folder / PLANS_JSON)
    write_json(data.dataset_json, data.model_folder / DATASET_JSON)
    checkpoint = {
        "network_weights": _random_network(data).state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, fold / FINAL)


def _random_network(data: BenchmarkData) -> torch.nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415

    torch.manual_seed(0)
    network: torch.nn.Module = get_network_from_plans(
        data.architecture["network_class_name"],
        data.architecture["arch_kwargs"],
        [],
        N_CHANNELS,
        N_REGIONS,
        deep_supervision=True,
    )
    return network


def stock_plans(size: Size) -> dict[str, Any]:
    """Return the plans of nnU-Net's planner, as far as training and prediction read them."""
    resampling: dict[str, Any] = {}
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None
        }  # fmt: skip
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "continue_training": False,
        "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(N_CHANNELS)},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": f"{PLANS}_{CONFIGURATION}",
                "preprocessor_name": "DefaultPreprocessor",
                "patch_size": list(size.patch_size),
                "batch_size": 2,
                "median_image_size_in_voxels": [2.0 * radius for radius in size.anatomy.brain_radii],
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"] * N_CHANNELS,
                "use_mask_for_norm": [True] * N_CHANNELS,
                "architecture": {"network_class_name": "stock", "arch_kwargs": {}, "_kw_requires_import": []},
                **resampling,
            }
        },
    }
