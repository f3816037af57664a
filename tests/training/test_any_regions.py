"""Networks of one channel and one region, of regions apart, of four: trained in short, and rebuilt by nnU-Net."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from preprocessed import write_training_data
from trainers import CPU, in_this_process, small, trainer

from nnunet_resunet_ds.training.fold.heads_table import read_heads_table

pytestmark = pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")


def gtv_of_a_whole_head(image, labels):
    """One channel, noise where there is no brain, and one label; nnU-Net finds no background to leave out."""
    head = image[:1] + np.random.default_rng(0).standard_normal(image[:1].shape).astype(np.float32) * (labels < 0)
    return head, (labels > 0).astype(labels.dtype)


def with_a_fourth_label(image, labels):
    """Half of the oedema is another tissue."""
    left = np.arange(labels.shape[-1]) < labels.shape[-1] // 2
    return image, np.where((labels == 1) & left, 4, labels)


KINDS = {
    "GTV, T1c, whole heads": (gtv_of_a_whole_head, ["T1c"], {"gross tumor volume": [1, 1]}, [1], False),
    "two apart": (
        lambda image, labels: (image, labels),
        ["a", "b", "c", "d"],
        {"a": [1, 2], "b": [3, 3]},
        [1, 3],
        True,
    ),
    "with CC": (
        with_a_fourth_label,
        ["T1", "T1ce", "T2", "FLAIR"],
        {"WT": [1, 2, 3, 4], "TC": [2, 3, 4], "ET": 3, "CC": 4},
        [1, 2, 3, 4],
        True,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, dataset, monkeypatch):
    """The dataset of another kind: its plans, dataset.json and folder, and the kind's regions."""
    change, channels, regions, order, is_masked = KINDS[request.param]
    in_this_process(monkeypatch)
    plans, content, folder = dataset
    write_training_data(folder, change=change)
    plans["configurations"]["3d_fullres"] |= {
        "normalization_schemes": ["ZScoreNormalization"] * len(channels),
        "use_mask_for_norm": [is_masked] * len(channels),
    }
    content |= {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **regions},
        "regions_class_order": order,
    }
    return dataset, len(channels), list(regions.values()), is_masked


@pytest.mark.parametrize("augmentation", ["device", "workers"])
def test_it_trains_and_stock_prediction_rebuilds_it(kind, augmentation):
    dataset, n_channels, regions, is_masked = kind
    recipe = {"epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "augmentation": augmentation}
    made = trainer(dataset, small(dataset[0], recipe=recipe))
    made.run_training()
    assert np.isfinite(made.logger.get_value("val_losses", step=None)).all()
    assert len(made.logger.get_value("dice_per_class_or_region", step=-1)) == len(regions)
    assert len(read_heads_table(Path(made.output_folder))) == 2

    predictor = nnUNetPredictor(use_mirroring=False, device=CPU)
    predictor.initialize_from_trained_model_folder(made.output_folder_base, (0,), "checkpoint_final.pth")
    assert predictor.network.salient_channel is is_masked
    images = torch.randn(1, n_channels, 16, 16, 16)
    logits = predictor.network(images)
    assert logits.shape == (1, len(regions), 16, 16, 16)
    labels = predictor.label_manager.convert_logits_to_segmentation(logits[0].detach())
    assert set(np.unique(labels)) <= {0, *dataset[1]["regions_class_order"]}
