"""A training step: nnU-Net's own and ours on the same network and loss, and MONAI's network in a plain loop."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.experiments.benchmark.material import CONFIGURATION, Material, build_network, dyn_unet
from nnunet_resunet_ds.experiments.benchmark.turns import MONAI, NNUNET, OURS, Form, Task
from nnunet_resunet_ds.plans import PAPER_BATCH_SIZE
from nnunet_resunet_ds.trainer import ResUNetDSTrainer

LEARNING_RATE = 1e-4
N_STEPS = 3
"""At a time: ours is to be seen with the memory that a training keeps between steps."""


def training_task(material: Material) -> Task:
    """Return the task; the batch is made up, so that no form waits for data."""

    class Stock(ResUNetDSTrainer):
        """Our network and loss under nnU-Net's own step, optimiser and memory layout."""

        configure_optimizers = nnUNetTrainer.configure_optimizers
        train_step = nnUNetTrainer.train_step

    data, targets = _batch(material)
    forms = []
    for name, kind, context in ((NNUNET, Stock, nullcontext), (OURS, ResUNetDSTrainer, freed_memory_kept)):
        step = partial(initialized(material, kind).train_step, {"data": data, "target": targets})
        forms.append(Form(name, partial(_steps, step, context, material.device)))
    note = ""
    try:
        forms.append(
            Form(MONAI, partial(_steps, _monai_step(material, data, targets[0]), nullcontext, material.device))
        )
    except InputError as error:
        note = str(error)
    return Task("training step", "step", forms, N_STEPS, N_STEPS * _flops(material, data), note=note)


def _steps(
    step: Callable[[], object],
    context: Callable[[torch.device], AbstractContextManager[object]],
    device: torch.device,
) -> None:
    with context(device):
        for _ in range(N_STEPS):
            step()


def initialized(material: Material, kind: Any) -> Any:  # noqa: ANN401 (trainers, whose base class has no types)
    """Return a trainer with network, optimiser and loss, as nnU-Net makes them."""
    plans = {**material.plans, "continue_training": False}
    trainer = kind(plans, CONFIGURATION, 0, material.dataset_json, material.device)
    torch.manual_seed(0)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer


def _batch(material: Material) -> tuple[Tensor, list[Tensor]]:
    """Return images (B, C, Z, Y, X), and region targets of each head, on the CPU as loaders give them."""
    size = material.size.patch_size
    random = torch.Generator().manual_seed(0)
    n_heads = material.plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]["n_heads"]
    data = torch.randn(PAPER_BATCH_SIZE, 4, *size, generator=random)
    heads = [[axis // 2**head for axis in size] for head in range(n_heads)]
    return data, [torch.rand(PAPER_BATCH_SIZE, 3, *shape, generator=random) > 0.8 for shape in heads]


def _flops(material: Material, data: Tensor) -> float:
    """Count forward and backward."""
    with torch.device("meta"):
        network = build_network(material).to("meta")
        with FlopCounterMode(display=False) as counter:
            outputs = network(torch.zeros(data.shape))
            sum(output.sum() for output in outputs).backward()
    return float(counter.get_total_flops())


def _monai_step(material: Material, data: Tensor, target: Tensor) -> Callable[[], None]:
    device, on_gpu = material.device, material.device.type == "cuda"
    architecture = material.plans["configurations"][CONFIGURATION]["architecture"]
    network = dyn_unet(architecture, 4, 3).to(device).train()
    from monai.losses.dice import DiceFocalLoss  # noqa: PLC0415 (an extra)

    loss = DiceFocalLoss(sigmoid=True, batch=True, lambda_dice=0.7, lambda_focal=0.3)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.float16, enabled=on_gpu):
            value = loss(network(data.to(device)), target.to(device).float())
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    return step
