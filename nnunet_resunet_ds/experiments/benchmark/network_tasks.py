"""Make the tasks of the network: a training step and the prediction of a case, by nnU-Net, ours and MONAI."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn

from dataset_conversion.image_cases import load_files
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_image, write_labels
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.compute.transfer import ready_to_send
from nnunet_resunet_ds.experiments.benchmark.benchmark_data import N_CHANNELS, N_REGIONS, BenchmarkData
from nnunet_resunet_ds.experiments.benchmark.timing import MONAI, OURS, STOCK, Form, Task, synchronize
from nnunet_resunet_ds.experiments.comparison.monai_networks import monai_nets
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.sliding_window import TILE_STEP, ForwardPass, flips
from nnunet_resunet_ds.network.cost import count_cost, count_flops, weightless_network
from nnunet_resunet_ds.network.forms import plain_only
from nnunet_resunet_ds.plans import PAPER_BATCH_SIZE
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.epoch_steps import Batch, Outputs
from postprocessing import postprocess

LEARNING_RATE = 1e-4
N_STEPS = 3
"""Steps of a run: between them, a training of ours keeps its memory."""

_NETWORK = "network"
"""The stage of the networks, flips and averages."""


def training_task(data: BenchmarkData) -> Task:
    """Return the task of training steps on a made-up batch, so that no form waits for data.

    nnU-Net's form has our network and loss, and MONAI's a plain loop with MONAI's network.
    """

    class Stock(ResUNetDSTrainer):
        """Our network and loss, by PyTorch's own operations, under nnU-Net's own step, optimiser and memory layout."""

        _do_i_compile = nnUNetTrainer._do_i_compile
        configure_optimizers = nnUNetTrainer.configure_optimizers

        def initialize(self) -> None:
            super().initialize()
            self.network.to(memory_format=torch.contiguous_format)

        def train_step(self, batch: Batch) -> Outputs:
            with plain_only():
                outputs: Outputs = nnUNetTrainer.train_step(self, batch)
            return outputs

    images, targets = _batch(data)
    stock, ours = initialized_trainer(data, Stock), initialized_trainer(data, ResUNetDSTrainer)
    forms = []
    for name, trainer, context in ((STOCK, stock, nullcontext), (OURS, ours, freed_memory_kept)):
        step = partial(trainer.train_step, {"data": images, "target": targets})
        forms.append(Form(name, partial(_run_steps, step, context, data.device)))
    note = f"ours in {str(ours.dtype or torch.float32).removeprefix('torch.')}"
    try:
        monai_step = _monai_step(data, images, targets[0])
        forms.append(Form(MONAI, partial(_run_steps, monai_step, nullcontext, data.device)))
    except InputError as error:
        note += f"; {error}"
    network = weightless_network(data.configuration, N_CHANNELS, N_REGIONS, deep_supervision=True)
    return Task(
        "training step", "step", forms, N_STEPS, N_STEPS * count_flops(network, images.shape, backward=True), note=note
    )


def initialized_trainer(data: BenchmarkData, kind: Any) -> Any:  # noqa: ANN401 (trainers, whose base class has no types)
    """Return a trainer with network, optimiser and loss, as nnU-Net makes them."""
    plans = {**data.plans, "continue_training": False}
    trainer = kind(plans, CONFIGURATION, 0, data.dataset_json, data.device)
    torch.manual_seed(0)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer


def _run_steps(
    step: Callable[[], object],
    context: Callable[[torch.device], AbstractContextManager[object]],
    device: torch.device,
) -> None:
    with context(device):
        for _ in range(N_STEPS):
            step()


def _batch(data: BenchmarkData) -> tuple[Tensor, list[Tensor]]:
    """Return images (B, C, Z, Y, X), and region targets of each head, on the CPU as loaders give them."""
    size = data.size.patch_size
    random = torch.Generator().manual_seed(0)
    n_heads = data.architecture["arch_kwargs"]["n_heads"]
    images = torch.randn(PAPER_BATCH_SIZE, N_CHANNELS, *size, generator=random)
    heads = [[axis // 2**head for axis in size] for head in range(n_heads)]
    targets = [torch.rand(PAPER_BATCH_SIZE, N_REGIONS, *shape, generator=random) > 0.8 for shape in heads]
    return ready_to_send(images, data.device), [ready_to_send(target, data.device) for target in targets]


def _monai_step(data: BenchmarkData, images: Tensor, target: Tensor) -> Callable[[], None]:
    device, on_gpu = data.device, data.device.type == "cuda"
    network = _dyn_unet(data).to(device).train()
    from monai.losses.dice import DiceFocalLoss  # noqa: PLC0415 (an extra)

    loss = DiceFocalLoss(sigmoid=True, batch=True, lambda_dice=0.7, lambda_focal=0.3)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.float16, enabled=on_gpu):
            value = loss(network(images.to(device, non_blocking=True)), target.to(device, non_blocking=True).float())
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _dyn_unet(data: BenchmarkData) -> nn.Module:
    """Return MONAI's `DynUNet` with residual blocks, of our channels and strides, with one output.

    Raises:
        InputError: MONAI is missing or too old.
    """
    kwargs = data.architecture["arch_kwargs"]
    strides = kwargs["strides"]
    network: nn.Module = monai_nets().DynUNet(
        3,
        N_CHANNELS,
        N_REGIONS,
        kernel_size=[[3, 3, 3]] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=kwargs["features_per_stage"],
        res_block=True,
    )
    return network


def prediction_task(data: BenchmarkData) -> Task:
    """Return the task of predicting a case from files to a file, with the same tiles and flips in every form.

    nnU-Net and ours have the same weights; MONAI's network has its own.
    """
    predictor = Predictor.from_model_folder(
        data.model_folder,
        device=data.device,
        precision=data.precision,
        use_mirroring=data.use_mirroring,
    )
    images = load_files(data.image_files, predictor.channels)
    n_passes = predictor.n_forward_passes(predictor.preprocess(images.images, images.spacing))
    forms = [Form(STOCK, _stock_prediction(data)), Form(OURS, lambda: predict_to_file(data, predictor))]
    note = f"{n_passes} forward passes of {'×'.join(map(str, data.size.patch_size))}; "
    note += f"ours in {predictor.hardware['precision']}"
    try:
        forms.append(Form(MONAI, _monai_prediction(data, predictor)))
    except InputError as error:
        note += f"; {error}"
    return Task(
        "prediction",
        "case",
        forms,
        flops=n_passes * count_cost(data.configuration, N_CHANNELS, N_REGIONS).flops,
        stages=lambda: predict_in_stages(data, predictor),
        note=note,
    )


def predict_in_stages(data: BenchmarkData, predictor: Predictor) -> Mapping[str, float]:
    """Do what `predict_to_file` does and return the seconds of each stage, each of which is waited for."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        synchronize(data.device)
        seconds[name] = time.perf_counter() - start

    with _network_seconds(data.device) as in_network:
        predict_to_file(data, predictor, stage)
    of_network = {_NETWORK: sum(in_network), "flips and averages": seconds[_NETWORK] - sum(in_network)}
    found: dict[str, float] = {}
    for name, of_stage in seconds.items():
        found |= of_network if name == _NETWORK else {name: of_stage}
    return found


def predict_to_file(
    data: BenchmarkData,
    predictor: Predictor,
    stage: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Predict the case with ours, from files to a file.

    Args:
        data: the case.
        predictor: with the model.
        stage: entered for each stage, by its name.
    """
    with stage("read"):
        loaded = load_files(data.image_files, predictor.channels)
    with stage("preprocess"):
        cases = predictor.preprocess(loaded.images, loaded.spacing)
    with stage(_NETWORK):
        outputs = predictor.run_networks(cases)
    with stage("back to the images"):
        probabilities = predictor.restore(outputs, cases)
    with stage("post-process"):
        labels = postprocess(probabilities, predictor.postprocessing, math.prod(loaded.spacing))
    with stage("write"):
        write_labels(labels, read_image(data.image_files[0]), data.folder / "ours.nii.gz")


@contextmanager
def _network_seconds(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that gets the seconds of each forward pass."""
    seconds: list[float] = []
    call = ForwardPass.__call__

    def timed(forward: ForwardPass, inputs: Tensor) -> Tensor:
        synchronize(device)  # flips and sums that were given before
        start = time.perf_counter()
        outputs = call(forward, inputs)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        return outputs

    with patch.object(ForwardPass, "__call__", timed):
        yield seconds


def _stock_prediction(data: BenchmarkData) -> Callable[[], None]:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415 (reads the folders' names)

    predictor = nnUNetPredictor(
        use_mirroring=data.use_mirroring,
        perform_everything_on_device=data.device.type == "cuda",
        device=data.device,
        allow_tqdm=False,
    )
    plans = PlansManager(data.plans)
    configuration = plans.get_configuration(CONFIGURATION)
    network = ResUNetDSTrainer.build_network_architecture(
        plans, configuration, N_CHANNELS, N_REGIONS, enable_deep_supervision=False
    ).to(memory_format=torch.contiguous_format)
    weights = torch.load(data.model_folder / "fold_0" / FINAL, weights_only=True)["network_weights"]
    # not from the folder: nnU-Net would search for the trainer, and that fails where a compiler's threads import
    predictor.manual_initialization(network, plans, configuration, [weights], data.dataset_json, TRAINER, (0, 1, 2))

    def run() -> None:
        images, properties = SimpleITKIO().read_images([str(file) for file in data.image_files])
        with plain_only():
            predictor.predict_single_npy_array(images, properties, None, str(data.folder / "stock"))

    return run


def _monai_prediction(data: BenchmarkData, predictor: Predictor) -> Callable[[], None]:
    device, on_gpu = data.device, data.device.type == "cuda"
    all_flips = flips((0, 1, 2) if data.use_mirroring else ())
    network = _dyn_unet(data).to(device).eval()
    from monai.inferers.utils import sliding_window_inference  # noqa: PLC0415 (an extra)

    @torch.inference_mode()
    def run() -> None:
        loaded = load_files(data.image_files, predictor.channels)
        (case,) = predictor.preprocess(loaded.images, loaded.spacing)
        images = case.data[None].to(device)
        total = torch.zeros((N_REGIONS, *images.shape[2:]), device=device)
        for axes in all_flips:
            shifted = [axis + 1 for axis in axes]  # of (B, C, Z, Y, X)
            with torch.autocast(device.type, torch.float16, enabled=on_gpu):
                logits = sliding_window_inference(
                    images.flip(shifted), data.size.patch_size, 1, network, TILE_STEP, "gaussian"
                )
            total += torch.as_tensor(logits).float().sigmoid().flip(shifted)[0]
        probabilities = predictor.restore([total / len(all_flips)], [case])
        labels = (np.asarray(probabilities) >= 0.5).sum(axis=0).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(data.folder / "monai.nii.gz"))

    return run
