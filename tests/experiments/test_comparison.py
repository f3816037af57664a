"""The systems that the paper compares with: found by -tr, the network alone differs, and each trains and predicts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models import write_model
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.experiments.comparison import monai_networks
from nnunet_resunet_ds.experiments.comparison.systems import (
    attention_unet_architecture,
    res_unet_vae_architecture,
    unet_architecture,
    unetr_architecture,
)
from nnunet_resunet_ds.experiments.comparison.trainers import (
    BraTSResUNetVAETrainer,
    BraTSUNETRTrainer,
    BraTSUNetTrainer,
)
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

NAMES = ("BraTSUNetTrainer", "BraTSResUNetVAETrainer", "BraTSAttentionUNetTrainer", "BraTSUNETRTrainer")
ODD = (16, 24, 20)
"""No power of two, and no multiple of what MONAI's networks divide by."""


def kind_of(name):
    return recursive_find_trainer_class_by_name(name)


def patch_of(name):
    return (16, 32, 48) if name == "BraTSUNETRTrainer" else ODD


def plans_for(dataset, name, **recipe):
    return with_res_unet_ds(
        dataset[0], "3d_fullres", patch_size=patch_of(name), features_per_stage=(4, 8, 12), recipe=recipe
    ).plans


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_all_that_differs(dataset, name):
    made, main = trainer(dataset, kind=kind_of(name)), trainer(dataset)
    ours, theirs = (one.plans_manager.plans for one in (main, made))
    configuration = theirs["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [128, 128, 128]
    assert configuration.pop("architecture") != ours["configurations"]["3d_fullres"].pop("architecture")
    assert theirs == ours
    assert made.recipe == main.recipe
    assert not made.enable_deep_supervision and made._get_deep_supervision_scales() is None


def test_sizes_are_those_of_the_paper_and_of_the_systems_own_papers():
    patch = (128, 128, 128)
    unet = unet_architecture(patch)["arch_kwargs"]
    assert unet["features_per_stage"] == [32, 64, 128, 256, 320, 320] and unet["n_conv_per_stage"] == [2] * 6
    vae = res_unet_vae_architecture(patch)["arch_kwargs"]
    assert (vae["init_filters"], vae["latent"]) == (32, 256)
    assert monai_networks.ResUNetVAE.LEVELS == (1, 2, 2, 4)
    assert attention_unet_architecture(patch)["arch_kwargs"]["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert unetr_architecture(patch)["arch_kwargs"] == {
        "patch_size": [128, 128, 128], "hidden_size": 768, "feature_size": 16, "num_heads": 12
    }  # fmt: skip


@pytest.mark.parametrize("architecture", [unet_architecture, attention_unet_architecture, res_unet_vae_architecture])
@pytest.mark.parametrize("patch", [(8, 8, 8), (40, 48, 56), (128, 160, 112)])
def test_narrow_plans_make_every_system_narrow(architecture, patch):
    wide, narrow = (architecture(patch, width)["arch_kwargs"] for width in (1.0, 0.25))
    for key in ("features_per_stage", "init_filters"):
        if key in wide:
            assert np.array_equal(np.multiply(narrow[key], 4), wide[key])


def initialized(dataset, plans, kind):
    """A trainer with its network, as nnU-Net makes it once it has seen preprocessed files."""
    folder = dataset[2] / "nnUNetPlans_3d_fullres"
    folder.mkdir(exist_ok=True)
    (folder / "case_a.b2nd").touch()
    made = trainer(dataset, plans, kind=kind)
    made.initialize()
    made.set_deep_supervision_enabled(made.enable_deep_supervision)
    return made


def batch(patch):
    torch.manual_seed(1)
    return {"data": torch.randn(2, 4, *patch), "target": torch.rand(2, 3, *patch) > 0.5}


@pytest.mark.parametrize("name", NAMES)
def test_each_trains_validates_resumes_and_predicts(dataset, name, tmp_path):
    kind, patch = kind_of(name), patch_of(name)
    plans = plans_for(dataset, name, initial_lr=1e-2)
    made = initialized(dataset, plans, kind)
    made.network.train()
    losses = [float(made.train_step(batch(patch))["loss"]) for _ in range(4)]
    assert losses[-1] < losses[0]
    made.network.eval()
    found = made.validation_step(batch(patch))
    assert np.isfinite(found["loss"]) and found["tp_hard"].shape == (3,)
    made.save_checkpoint(str(tmp_path / "checkpoint.pth"))

    again = trainer(dataset, plans, kind=kind)
    again.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    again.network.eval()
    data = batch(patch)["data"]
    with torch.no_grad():
        torch.testing.assert_close(again.network(data), made.network(data))

    model = write_model(tmp_path / "model", made.plans_manager.plans, dataset[1], trainer=name)
    predictor = Predictor.from_model_folder(model, device=torch.device("cpu"), use_mirroring=False)
    images = np.random.default_rng(0).normal(500, 80, (4, 20, 30, 50)).astype(np.float32)
    labels, probabilities = predictor.predict_case(images, (1.0, 1.0, 1.0))
    assert labels.shape == images.shape[1:] and probabilities.shape == (3, *images.shape[1:])
    assert 0 <= probabilities.min() <= probabilities.max() <= 1
    if name != "BraTSUNetTrainer":
        with pytest.raises(InputError, match="sees patches only"):
            Predictor.from_model_folder(model, device=torch.device("cpu"), tiles="whole")


def test_the_autoencoder_branch_adds_a_tenth_in_training_alone(dataset):
    made = initialized(dataset, plans_for(dataset, "BraTSResUNetVAETrainer"), BraTSResUNetVAETrainer)
    data, target = batch(ODD).values()
    made.network.train()
    logits, reconstruction = made.network(data)
    plain = trainer(dataset, plans_for(dataset, "BraTSUNetTrainer"), kind=BraTSUNetTrainer)._build_loss()
    assert made.loss((logits, reconstruction), target).item() == pytest.approx(
        plain(logits, target).item() + 0.1 * reconstruction.item(), rel=1e-5
    )
    assert reconstruction > 0
    made.network.eval()
    output = made.network(data)
    assert isinstance(output, torch.Tensor) and output.shape == target.shape
    assert made.loss(output, target).item() == pytest.approx(plain(output, target).item())


def test_the_branch_learns_to_rebuild_the_input(dataset):
    plans = plans_for(dataset, "BraTSResUNetVAETrainer", initial_lr=3e-3)
    made = initialized(dataset, plans, BraTSResUNetVAETrainer)
    made.network.train()
    smooth = {**batch(ODD), "data": torch.ones(2, 4, *ODD) * torch.linspace(-1, 1, ODD[2])}
    losses = []
    for _ in range(12):
        losses.append(float(made.network(smooth["data"])[1].detach()))
        made.train_step(smooth)
    assert losses[-1] < 0.8 * losses[0]


def test_padding_is_at_the_end_and_cut_off_again():
    network = monai_networks.AttentionUNet(4, 3, [4, 8, 8])
    x = torch.randn(1, 4, 9, 10, 12)
    padded = network.padded(x)
    assert padded.shape == (1, 4, 12, 12, 12) and torch.equal(padded[..., :9, :10, :12], x)
    assert not padded[..., 9:, :, :].any() and network(x).shape == (1, 3, 9, 10, 12)
    assert network.padded(padded) is padded


def test_unetr_names_the_patches_that_its_tokens_tile(dataset):
    with pytest.raises(
        InputError, match=r"\[16, 16, 16\] and \[16, 32, 32\]: resunet-ds plan -d ID --patch-size 16 32 32"
    ):
        trainer(dataset, plans_for(dataset, "BraTSUNetTrainer"), kind=BraTSUNETRTrainer)


def test_they_are_found_without_monai_and_say_what_is_missing():
    code = (
        "import sys\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        f"print(*[find(name).__name__ for name in {NAMES!r}])\n"
        "print('imported:', 'monai' in sys.modules)\n"
        "sys.modules['monai'] = None\n"
        "from nnunet_resunet_ds.experiments.comparison import monai_networks\n"
        "try:\n    monai_networks.AttentionUNet(4, 3, [4, 8])\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert " ".join(NAMES) in done.stdout and "pip install 'nnunet-resunet-ds[comparison]'" in done.stdout
    assert "BraTSUNetTrainer" in done.stdout and "imported: False" in done.stdout


def test_an_old_monai_is_refused_before_there_is_a_folder(dataset, nnunet_folders, monkeypatch):
    monkeypatch.setattr("monai.__version__", "1.3.2")
    with pytest.raises(InputError, match=r"MONAI 1\.4 or newer, and 1\.3\.2 is installed"):
        trainer(dataset, kind=BraTSResUNetVAETrainer)
    assert list((nnunet_folders / "nnUNet_results").iterdir()) == []
    trainer(dataset, kind=BraTSUNetTrainer)  # which is not MONAI's


def test_data_without_a_marked_brain_changes_nothing_in_the_others(dataset):
    plans = small(dataset[0])
    marked = trainer(dataset, plans, kind=BraTSUNetTrainer)
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    unmarked = trainer(dataset, plans, kind=BraTSUNetTrainer)
    networks = [made.configuration_manager.network_arch_init_kwargs for made in (marked, unmarked)]
    assert networks[0] == networks[1]
    assert "salient" not in Path(unmarked.log_file).read_text()


@pytest.mark.parametrize("name", ["BraTSAttentionUNetTrainer", "ResUNetDSTrainer"])
def test_a_seed_gives_the_same_weights_and_no_seed_others(dataset, name):
    def weights(**recipe):
        made = initialized(dataset, plans_for(dataset, name, **recipe), kind_of(name))
        return torch.cat([parameter.flatten() for parameter in made.network.parameters()])

    assert torch.equal(weights(seed=3), weights(seed=3))
    assert not torch.equal(weights(seed=3), weights(seed=4))
    assert not torch.equal(weights(), weights())
