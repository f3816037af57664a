"""List what can predict here: the starter model, and the models below ``$nnUNet_results``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.evaluation.evaluate_predictions import key_to_label_or_region

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import models_in
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, all_datasets
from nnunet_resunet_ds.base.region_checks import check_regions, regions_of
from nnunet_resunet_ds.inference.sliding_window import padded_shape, tiles
from nnunet_resunet_ds.models.card import read_card
from nnunet_resunet_ds.models.starter import STARTER, STARTER_FOLDER
from nnunet_resunet_ds.network.cost import count_cost
from nnunet_resunet_ds.plans import resolved_configuration
from nnunet_resunet_ds.training.checkpoints import FINAL, FOLD, SUMMARY, VALIDATION, available_folds, checkpoint_name


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One model, as far as its files tell."""

    name: str
    """``starter``, or its folder below ``$nnUNet_results``."""
    folder: str
    data: str
    n_cases: int
    folds: tuple[str, ...]
    """Those that are trained."""
    dice: Mapping[str, float]
    """Region → mean over validation cases: of the card where there is one, else of nnU-Net's validation."""
    megabytes: float
    """Of the weights' files."""
    parameters: int
    """Of one fold's network."""
    tera_operations: float
    """Of all folds for a case of the median size, without flips, in 10¹² floating-point operations."""


def known_models() -> Iterator[KnownModel]:
    """Yield the starter model, then those below ``$nnUNet_results``, by name; say which cannot be read."""
    if STARTER_FOLDER.is_dir():
        yield described(STARTER_FOLDER, STARTER)
    for dataset in all_datasets("nnUNet_results"):
        for folder in models_in(dataset):
            if not available_folds(folder, checkpoint_name(folder, FINAL)):
                continue
            try:
                yield described(folder, f"{dataset.name}/{folder.name}")
            except InputError as error:
                LOG.warning("%s: is left out: %s", folder, error)


def described(folder: Path, name: str) -> KnownModel:
    """Describe a model without reading its weights.

    Raises:
        InputError: a file is missing or damaged, or it segments no regions.
    """
    plans, dataset_json = read_json(folder / PLANS_JSON), read_json(folder / DATASET_JSON)
    check_regions(dataset_json)
    card = read_card(folder)
    checkpoint = checkpoint_name(folder, FINAL)
    folds = tuple(available_folds(folder, checkpoint))
    files = [folder / f"{FOLD}{fold}" / checkpoint for fold in folds]
    try:
        configuration = resolved_configuration(plans, folder.name.rpartition("__")[2] if card is None else "3d_fullres")
        cost = count_cost(configuration, len(dataset_json["channel_names"]), len(regions_of(dataset_json)))
        n_tiles = _n_tiles(configuration)
        n_cases = len(card.cases) if card else int(dataset_json["numTraining"])
        dice = card.dice if card else validation_dice(folder, dataset_json)
        data = " and ".join(source.name for source in card.sources) if card else plans["dataset_name"]
    except Exception as error:  # damaged plans make a network raise anything
        msg = f"its files do not describe a model ({first_line(error)}); copy it again, or train it again"
        raise InputError(msg) from error
    return KnownModel(
        name=name,
        folder=str(folder),
        data=data,
        n_cases=n_cases,
        folds=folds,
        dice=dice,
        megabytes=round(sum(file.stat().st_size for file in files) / 1e6, 1),
        parameters=cost.parameters,
        tera_operations=round(cost.flops * n_tiles * len(folds) / 1e12, 2),
    )


def _n_tiles(configuration: Mapping[str, Any]) -> int:
    """Return how many tiles cover a case of the median size."""
    patch = configuration["patch_size"]
    median = [round(axis) for axis in configuration["median_image_size_in_voxels"]]
    return len(tiles(padded_shape(median, patch, None), patch))


def validation_dice(folder: Path, dataset_json: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean Dice of each region over the cases that nnU-Net validated folds on; empty where there are none.

    As nnU-Net does, it leaves out cases in which a region is neither there nor predicted.
    """
    regions = {frozenset(map(int, region.tissues)): region.name for region in regions_of(dataset_json)}
    found: dict[str, list[float]] = {name: [] for name in regions.values()}
    for summary in sorted(folder.glob(f"{FOLD}*/{VALIDATION}/{SUMMARY}")):
        for case in read_json(summary)["metric_per_case"]:
            for key, metrics in case["metrics"].items():
                found[regions[_label_values(key)]].append(metrics["Dice"])
    return {name: float(np.nanmean(values)) for name, values in found.items() if not np.isnan(values).all()}


def _label_values(key: str) -> frozenset[int]:
    """Return the label values of a region by its name in nnU-Net's summary: ``(1, 2, 3)`` or ``3``."""
    values = key_to_label_or_region(key)
    return frozenset(values if isinstance(values, tuple) else [values])
