"""Each variant differs from the main trainer in its one factor, is found by -tr, and trains on two ranks."""

import inspect
from pathlib import Path

import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from trainers import small, trainer

from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.loss.region_loss import region_sums
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import variants

FACTORS = {
    "ResUNetDSTrainer": {},
    "ResUNetDSTrainerNoDeepSupervision": {"n_heads": 1},
    "ResUNetDSTrainerNoSalientChannel": {"salient_channel": False},
    "ResUNetDSTrainerNoResidual": {"residual": False},
    "ResUNetDSTrainerDepth6": {"features_per_stage": [32, 64, 128, 256, 320, 320]},
    "ResUNetDSTrainerDepth6Wide": {"features_per_stage": [64, 128, 256, 512, 512, 512]},
    "ResUNetDSTrainerBCE": {"gamma": 0.0},
    "ResUNetDSTrainerModalityDropout": {"modality_dropout": 0.5},
    "ResUNetDSTrainerSGD": {"initial_lr": 1e-2, "weight_decay": 3e-5, "epochs": 1000, "schedule": "poly"},
    "ResUNetDSTrainerBenchmark_5epochs": {"epochs": 5},
    "ResUNetDSTrainerBenchmark_5epochs_noDataLoading": {"epochs": 5},
}
KINDS = {
    name: kind for name, kind in inspect.getmembers(variants, inspect.isclass) if issubclass(kind, ResUNetDSTrainer)
}


def settings_of(made):
    return {**made.configuration_manager.network_arch_init_kwargs, **vars(made.recipe)}


def test_every_trainer_is_in_the_table_above():
    assert KINDS.keys() == FACTORS.keys()


@pytest.mark.parametrize("name", FACTORS)
def test_nnunet_finds_it_and_its_factor_alone_differs(dataset, name):
    made = trainer(dataset, kind=recursive_find_trainer_class_by_name(name))
    main = settings_of(trainer(dataset))
    expected = main | FACTORS[name]
    found = settings_of(made)
    if "features_per_stage" in FACTORS[name]:
        assert found["strides"] == [[1] * 3] + [[2] * 3] * 5
        expected["strides"] = found["strides"]
    assert found == expected


def test_what_a_variant_changes_is_in_the_saved_plans_and_the_log(dataset):
    made = trainer(dataset, kind=variants.ResUNetDSTrainerBCE)
    assert made.plans_manager.plans["resunet_ds"]["gamma"] == 0
    made = trainer(dataset, kind=variants.ResUNetDSTrainerNoResidual)
    architecture = made.plans_manager.plans["configurations"]["3d_fullres"]["architecture"]
    assert architecture["arch_kwargs"]["residual"] is False
    assert "The trainer changes residual." in Path(made.log_file).read_text()


def test_plans_of_ours_are_kept_but_for_the_factor(dataset):
    plans = small(dataset[0], recipe={"epochs": 7, "initial_lr": 0.5, "gamma": 1.0})
    made = settings_of(trainer(dataset, plans, kind=variants.ResUNetDSTrainerSGD))
    assert (made["features_per_stage"], made["epochs"], made["initial_lr"], made["weight_decay"]) == (
        [4, 8, 12], 7, 0.5, 3e-5,
    )  # fmt: skip
    assert settings_of(trainer(dataset, plans, kind=variants.ResUNetDSTrainerBCE))["gamma"] == 0
    assert settings_of(trainer(dataset, plans, kind=variants.ResUNetDSTrainerNoResidual))["strides"] == [
        [1] * 3, [2] * 3, [2] * 3,
    ]  # fmt: skip


def test_binary_cross_entropy_is_what_gamma_0_means(dataset):
    loss = trainer(dataset, kind=variants.ResUNetDSTrainerBCE)._build_loss().loss
    logits, target = torch.randn(2, 3, 4, 4, 4), torch.rand(2, 3, 4, 4, 4) > 0.5
    focal = loss._focal(*region_sums(logits, target, None, loss.gamma)[3:])
    assert focal.item() == pytest.approx(
        torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float()).item(), rel=1e-5
    )


def test_sgd_is_nnunet_s(dataset):
    made = trainer(dataset, small(dataset[0]), kind=variants.ResUNetDSTrainerSGD)
    made.network = torch.nn.Linear(2, 2)
    optimizer, _ = made.configure_optimizers()
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.SGD
    assert group["fused"]  # else a GPU is waited for in each step with a scaled loss
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.99, True, 3e-5)


def test_without_deep_supervision_one_head_is_built(dataset):
    made = trainer(dataset, small(dataset[0]), kind=variants.ResUNetDSTrainerNoDeepSupervision)
    network = built(made)
    assert len(network.decoder.seg_layers) == 1
    assert isinstance(network(torch.zeros(1, 4, 16, 16, 16)), torch.Tensor)
    assert not isinstance(made._build_loss(), DeepSupervisionWrapper)


def built(made):
    manager = made.configuration_manager
    return made.build_network_architecture(made.plans_manager, manager, 4, 3, made.enable_deep_supervision)


def narrow(kind):
    """The same variant at an eighth of its width, where the width is its factor: to be quick."""
    if "features_per_stage" not in kind.architecture_changes:
        return kind
    features = tuple(n // 8 for n in kind.architecture_changes["features_per_stage"])
    return type(kind.__name__, (kind,), {"architecture_changes": {"features_per_stage": features}})


def one_rank(rank, dataset, folder):
    """Run forward and backward of every variant twice: DDP raises where a parameter got no gradient the first time."""
    torch.set_num_threads(1)
    trainers = [trainer(dataset, small(dataset[0]), kind=narrow(kind)) for kind in KINDS.values()]
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for made in trainers:
        torch.manual_seed(rank)
        network = built(made)
        parallel, loss = DistributedDataParallel(network), made._build_loss()
        for _ in range(2):
            outputs = parallel(torch.randn(1, 4, 16, 16, 16))
            heads = outputs if isinstance(outputs, list) else [outputs]
            targets = [torch.rand(head.shape) > 0.5 for head in heads]
            loss(outputs, targets if isinstance(outputs, list) else targets[0]).backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
        both = [torch.zeros_like(gradients[0]) for _ in range(2)]
        distributed.all_gather(both, gradients[0])
        assert torch.equal(*both)
    distributed.barrier()
    distributed.destroy_process_group()
    (folder / f"done_{rank}").touch()


@pytest.mark.long
def test_every_variant_trains_on_two_ranks(dataset, tmp_path):
    torch.multiprocessing.spawn(one_rank, (dataset, tmp_path), nprocs=2)
    assert sorted(path.name for path in tmp_path.glob("done_*")) == ["done_0", "done_1"]


def test_the_benchmark_without_data_measures_an_epoch(dataset, monkeypatch):
    (dataset[2] / "nnUNetPlans_3d_fullres").mkdir()
    (dataset[2] / "nnUNetPlans_3d_fullres" / "case_a.b2nd").touch()
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    kind = variants.ResUNetDSTrainerBenchmark_5epochs_noDataLoading
    plans = small(dataset[0], recipe={"iterations_per_epoch": 2, "val_iterations_per_epoch": 1})
    made = trainer(dataset, plans, kind=kind)
    monkeypatch.setattr(type(made), "print_plans", lambda _: None)
    monkeypatch.setattr(type(made), "_save_debug_information", lambda _: None)
    made.run_training()
    made.perform_actual_validation()
    (result,) = read_json(Path(made.output_folder, "benchmark_result.json")).values()
    assert 0 < result["fastest_epoch"] < 60
    assert (result["torch_version"], result["num_gpus"]) == (torch.__version__, 1)
    assert not list(Path(made.output_folder).glob("*.pth"))
    assert len(made.logger.get_value("train_losses", step=None)) == 5
