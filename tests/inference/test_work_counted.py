"""Guards of speed that need no stopwatch: how often, how much is copied, and how much lives at once."""

import json
from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from models import small_plans, write_model
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trainers import small, trainer

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.sliding_window import ForwardPass, SlidingWindow, flips
from nnunet_resunet_ds.network import ResUNetDS
from nnunet_resunet_ds.plans import PAPER_FEATURES, res_unet_ds_architecture
from postprocessing.config import PROBABILITIES

CPU = torch.device("cpu")
COPYING = ("copy_", "clone", "_to_copy", "contiguous")


class Work(TorchDispatchMode):
    """Counts PyTorch's operations, the bytes that copying ones make, and the most bytes that live at once."""

    def __init__(self):
        super().__init__()
        self.calls, self.copied, self.peak = Counter(), 0, 0
        self._living = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        self.calls[name] += 1
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.copied += tensor.nbytes if name in COPYING else 0
                storage = tensor.untyped_storage()
                self._living[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._living = {key: value for key, value in self._living.items() if not value[0].expired()}
        self.peak = max(self.peak, sum(n_bytes for _, n_bytes in self._living.values()))
        return result


def layers(network, *kinds):
    return sum(isinstance(module, kinds) for module in network.modules())


@pytest.fixture(scope="module")
def forward_work(two_threads):
    """What a pass of the paper's widths through three stages does, in prediction: (network, work, bytes of a map)."""
    edge, features = 32, PAPER_FEATURES[:3]
    network = ResUNetDS(4, 3, **res_unet_ds_architecture((edge,) * 3, features)["arch_kwargs"], deep_supervision=False)
    network.eval()
    x = torch.randn(2, 4, edge, edge, edge)
    with torch.no_grad(), Work() as work:  # in inference mode convolutions go by other names
        network(x)
    return network, work, 4 * 2 * features[0] * edge**3


def test_each_convolution_is_computed_once(forward_work):
    network, work, _ = forward_work
    unused_heads = len(network.decoder.seg_layers) - 1
    assert work.calls["convolution"] == layers(network, nn.Conv3d, nn.ConvTranspose3d) - unused_heads


def test_a_forward_pass_copies_no_feature_maps(forward_work):
    """PyTorch's norm and pooling would copy each of theirs; what is copied here are the images, and norms' sums."""
    network, work, of_a_map = forward_work
    images = of_a_map * network.encoder.stages[0].blocks[0].conv1.conv.in_channels / PAPER_FEATURES[0]
    assert work.copied < images + of_a_map / 20
    assert not work.calls["native_group_norm"] and not work.calls["native_batch_norm"]


def test_few_feature_maps_live_at_once(forward_work):
    """The joined input of the last block is two; beside it its shortcut, two within it, and a norm's block."""
    _, work, of_a_map = forward_work
    assert work.peak < 5.6 * of_a_map


def test_skips_are_let_go_once_joined():
    """With them, a sixth map of the finest level would live."""
    network = ResUNetDS(4, 3, **res_unet_ds_architecture((16, 16, 16), (4, 8))["arch_kwargs"])
    skips = network.encoder(torch.randn(1, 5, 16, 16, 16))
    network.decoder(skips)
    assert skips == []


# ---- prediction ----


def images_of(shape=(22, 26, 20)):
    return np.random.default_rng(0).integers(1, 900, (4, *shape)).astype(np.int16)


def test_a_case_takes_one_pass_for_each_tile_flip_and_fold(model, monkeypatch):
    passes = []
    run = ForwardPass._run
    monkeypatch.setattr(ForwardPass, "_run", lambda self, x: passes.append(len(x)) or run(self, x))
    predictor = Predictor.from_model_folder(model, precision="fp32")
    cases = predictor.preprocess(images_of(), (1, 1, 1))
    assert cases[0].data.shape[1:] == (22, 26, 20)
    predictor.run_networks(cases)
    tiles, n_flips, folds = 2 * 3 * 2, 8, 2  # of 16³ with half overlap
    assert sum(passes) == tiles * n_flips * folds == predictor.n_forward_passes(cases)


def test_a_tile_is_sent_to_the_device_once_for_all_flips():
    """The meta device computes nothing, and what goes there can be counted."""
    device = torch.device("meta")
    forward = ForwardPass(nn.Conv3d(4, 3, 1), device, "fp32", batch_size=8)
    window = SlidingWindow(forward, 3, (16, 16, 16), flips((0, 1, 2)), PROBABILITIES)
    tile, sent = torch.zeros(4, 16, 16, 16), []

    class Sent(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if operation.overloadpacket.__name__ == "_to_copy" and args[0].device != result.device:
                sent.append(args[0].nbytes)
            return result

    with Sent():
        assert window._over_flips(tile).device == device
    assert sent == [tile.nbytes]


def test_the_average_of_a_case_is_kept_once(model):
    """Sum and weights of the volume, not a map for each tile or flip."""
    predictor = Predictor.from_model_folder(model, folds=[0], precision="fp32")
    shapes = [(16, 16, 16), (16, 48, 48)]  # 1 tile and 25, each in eight flips
    peaks = []
    for shape in shapes:
        cases = predictor.preprocess(images_of(shape), (1, 1, 1))
        with Work() as work:
            predictor.run_networks(cases)
        peaks.append(work.peak)
    voxels = [int(np.prod(shape)) for shape in shapes]
    # fp32: four channels padded, three regions and a weight; and the mean, cut out
    assert peaks[1] - peaks[0] <= 4 * (4 + 3 + 1 + 3) * (voxels[1] - voxels[0])


def test_each_image_is_read_once(dataset, images_ts, tmp_path, monkeypatch):
    plans, dataset_json, _ = dataset
    folder = write_model(tmp_path / "small", small_plans(plans), dataset_json, folds=(0,))
    read, execute = [], sitk.ImageFileReader.Execute
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda self: read.append(self.GetFileName()) or execute(self))
    out = tmp_path / "out"
    assert main(["predict", "-i", str(images_ts), "-o", str(out), "-m", str(folder), "--no-tta"]) == 0
    n_cases = len(json.loads((out / "run.json").read_text())["cases"])
    assert n_cases == 2 and sorted(Counter(read).values()) == [1] * (4 * n_cases)


# ---- a training step ----


def test_a_training_step_computes_each_convolution_once_there_and_once_back(dataset, two_threads):
    made = trainer(dataset, small(dataset[0], recipe={"precision": "fp32"}))
    manager = made.configuration_manager
    made.network = made.build_network_architecture(made.plans_manager, manager, 4, 3, enable_deep_supervision=True)
    made.optimizer, _ = made.configure_optimizers()
    made.loss = made._build_loss()
    data = torch.randn(2, 4, 16, 16, 16)
    targets = [torch.zeros(2, 3, edge, edge, edge, dtype=torch.bool) for edge in (16, 8)]
    with Work() as work:
        made.train_step({"data": data, "target": targets})
    n = layers(made.network, nn.Conv3d, nn.ConvTranspose3d)
    assert work.calls["convolution"] == work.calls["convolution_backward"] == n
    assert not work.calls["native_group_norm"] and not work.calls["native_batch_norm"]
    assert work.calls["_fused_adam_"] == 1
