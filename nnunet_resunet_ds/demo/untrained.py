"""What the network predicts before it has learned anything: the floor under the demo's numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.demo.workflow import CONFIGURATION, TRAINER
from nnunet_resunet_ds.trainer import ResUNetDSTrainer


def untrained_labels(model_folder: Path, cases: list[list[Path]], device: str) -> Iterator[NDArray[np.integer]]:
    """Yield the label map (Z, Y, X) of each case from randomly initialised weights, by stock nnU-Net prediction.

    Args:
        model_folder: of the trained model; only its plans and dataset.json are read.
        cases: the four image files of each case.
        device: ``cpu`` or ``cuda``.
    """
    torch.manual_seed(0)
    plans = PlansManager(read_json(model_folder / "plans.json"))
    configuration = plans.get_configuration(CONFIGURATION)
    dataset_json = read_json(model_folder / "dataset.json")
    n_outputs = plans.get_label_manager(dataset_json).num_segmentation_heads
    network = ResUNetDSTrainer.build_network_architecture(
        plans, configuration, len(cases[0]), n_outputs, enable_deep_supervision=False
    )
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=device != "cpu", device=torch.device(device), allow_tqdm=False
    )
    predictor.manual_initialization(
        network,
        plans,
        configuration,
        [network.state_dict()],
        dataset_json,
        TRAINER,
        inference_allowed_mirroring_axes=None,
    )
    reader = plans.image_reader_writer_class()
    for files in cases:
        images, properties = reader.read_images([str(file) for file in files])
        yield predictor.predict_single_npy_array(images, properties)
