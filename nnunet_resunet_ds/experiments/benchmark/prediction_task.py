"""Predicting a case from files to a file: stock nnU-Net and ours with the same weights, and MONAI's network."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dataset_conversion.image_cases import load_files
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_image, write_labels
from nnunet_resunet_ds.experiments.benchmark.material import CONFIGURATION, Material, build_network, dyn_unet
from nnunet_resunet_ds.experiments.benchmark.turns import MONAI, NNUNET, OURS, Form, Task, synchronize
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.sliding_window import STEP, ForwardPass, flips
from postprocessing import postprocess


def prediction_task(material: Material) -> Task:
    """Return the task: overlapping tiles, and the same flips in every form."""
    predictor = Predictor.from_model_folder(
        material.model_folder,
        device=material.device,
        precision=material.precision,
        use_mirroring=material.use_mirroring,
    )
    images = load_files(material.image_files, predictor.channels)
    n_passes = predictor.n_forward_passes(predictor.preprocess(images.images, images.spacing))
    forms = [Form(NNUNET, _stock(material)), Form(OURS, lambda: predict_in_stages(material, predictor))]
    note = f"{n_passes} forward passes of {'×'.join(map(str, material.size.patch_size))}"
    try:
        forms.append(Form(MONAI, _monai(material, predictor)))
    except InputError as error:
        note += f"; {error}"
    return Task(
        "prediction",
        "case",
        forms,
        flops=n_passes * _flops(material),
        stages=lambda: predict_in_stages(material, predictor),
        note=note,
    )


def predict_in_stages(material: Material, predictor: Predictor) -> Mapping[str, float]:
    """Predict the case with ours, from files to a file, and return seconds of each stage."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        synchronize(material.device)
        seconds[name] = time.perf_counter() - start

    with stage("read"):
        loaded = load_files(material.image_files, predictor.channels)
    with stage("preprocess"):
        cases = predictor.preprocess(loaded.images, loaded.spacing)
    with _network_seconds(material.device) as in_network, stage("network"):
        outputs = predictor.run_networks(cases)
    seconds["flips and averages"] = seconds["network"] - sum(in_network)
    seconds["network"] = sum(in_network)
    with stage("back to the images"):
        probabilities = predictor.restore(outputs, cases)
    with stage("post-process"):
        labels = postprocess(probabilities, predictor.postprocessing)
    with stage("write"):
        write_labels(labels, read_image(material.image_files[0]), material.folder / "ours.nii.gz")
    return seconds


@contextmanager
def _network_seconds(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that gets the seconds of each forward pass."""
    seconds: list[float] = []
    call = ForwardPass.__call__

    def timed(forward: ForwardPass, inputs: Tensor) -> Tensor:
        start = time.perf_counter()
        outputs = call(forward, inputs)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        return outputs

    with patch.object(ForwardPass, "__call__", timed):
        yield seconds


def _stock(material: Material) -> Callable[[], None]:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415 (reads the folders' names)

    predictor = nnUNetPredictor(
        use_mirroring=material.use_mirroring,
        perform_everything_on_device=material.device.type == "cuda",
        device=material.device,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(material.model_folder), (0,), "checkpoint_final.pth")

    def run() -> None:
        images, properties = SimpleITKIO().read_images([str(file) for file in material.image_files])
        predictor.predict_single_npy_array(images, properties, None, str(material.folder / "stock"))

    return run


def _monai(material: Material, predictor: Predictor) -> Callable[[], None]:
    architecture = material.plans["configurations"][CONFIGURATION]["architecture"]
    device, on_gpu = material.device, material.device.type == "cuda"
    all_flips = flips((0, 1, 2) if material.use_mirroring else ())
    network = dyn_unet(architecture, 4, 3).to(device).eval()
    from monai.inferers.utils import sliding_window_inference  # noqa: PLC0415 (an extra)

    @torch.inference_mode()
    def run() -> None:
        loaded = load_files(material.image_files, predictor.channels)
        (case,) = predictor.preprocess(loaded.images, loaded.spacing)
        data = case.data[None].to(device)
        total = torch.zeros((3, *data.shape[2:]), device=device)
        for axes in all_flips:
            shifted = [axis + 1 for axis in axes]  # of (B, C, Z, Y, X)
            with torch.autocast(device.type, torch.float16, enabled=on_gpu):
                logits = sliding_window_inference(
                    data.flip(shifted), material.size.patch_size, 1, network, STEP, "gaussian"
                )
            total += torch.as_tensor(logits).float().sigmoid().flip(shifted)[0]
        probabilities = predictor.restore([total / len(all_flips)], [case])
        labels = (np.asarray(probabilities) >= 0.5).sum(axis=0).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(material.folder / "monai.nii.gz"))

    return run


def _flops(material: Material) -> float:
    """Count one forward pass of a tile."""
    with torch.device("meta"), torch.inference_mode():
        network = build_network(material).to("meta").eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 4, *material.size.patch_size))
    return float(counter.get_total_flops())
