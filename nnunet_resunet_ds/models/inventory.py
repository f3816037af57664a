"""List what can predict here: the starter model, and the models below ``$nnUNet_results``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.dataset_json import check_regions, regions_of
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import CONFIGURATION, fold_folder, models_in
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, all_datasets
from nnunet_resunet_ds.inference.named_layers import check_named_layers, named_layers
from nnunet_resunet_ds.inference.sliding_window import padded_shape, tiles
from nnunet_resunet_ds.models.card import CARD, ModelCard, read_card
from nnunet_resunet_ds.models.starter import STARTER, STARTER_FOLDER
from nnunet_resunet_ds.models.validation import n_seen_before, n_training_cases, unmeasured_folds, validation_scores
from nnunet_resunet_ds.network.cost import count_cost
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL, available_folds, checkpoint_name
from nnunet_resunet_ds.training.checkpoint.pretrained import pretrained_of


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One model, as far as its files tell."""

    name: str
    """``starter``, or its folder below ``$nnUNet_results``."""
    folder: str
    data: str
    n_cases: int
    """That these folds were trained on, all together; where they do not note it, those of the dataset."""
    folds: tuple[str, ...]
    """Those that count here."""
    dice: Mapping[str, float]
    """Region → mean over cases that its training had not seen: of the card where there is one, else of nnU-Net's
    validation."""
    n_seen_before: int = 0
    """How many of these the model that its training started from had seen."""
    unmeasured_folds: tuple[str, ...] = ()
    """Those that Dice says nothing of, as they are not validated with their weights of now."""
    megabytes: float
    """Of the weights' files."""
    parameters: int
    """Of one fold's network."""
    tera_operations: float
    """Of these folds for a case of the median size, without flips, in 10¹² floating-point operations."""


def known_models() -> Iterator[KnownModel]:
    """Yield the starter model, then those below ``$nnUNet_results``, by name; say which cannot be read."""
    if STARTER_FOLDER.is_dir():
        yield described(STARTER_FOLDER, STARTER)
    for folder in (model for dataset in all_datasets("nnUNet_results") for model in models_in(dataset)):
        if not available_folds(folder, checkpoint_name(folder, FINAL)) or not is_three_dimensional(folder):
            continue
        try:
            yield described(folder, f"{folder.parent.name}/{folder.name}")
        except InputError as error:
            LOG.warning("%s: is left out: %s", folder, error)


def is_three_dimensional(folder: Path) -> bool:
    """Tell whether a model predicts volumes by itself; 2-D ones and second stages of a cascade are nnU-Net's alone."""
    try:
        settings = resolved_configuration(read_json(folder / PLANS_JSON), configuration_name(folder))
        return len(settings["patch_size"]) == 3 and not settings.get("previous_stage")
    except (InputError, LookupError, AttributeError, TypeError):
        return True  # damaged, of which more is said elsewhere


def described(folder: Path, name: str, folds: Sequence[str] | None = None) -> KnownModel:
    """Describe a model without reading its weights.

    Args:
        folder: of the model.
        name: for the user.
        folds: which count; None is all that are trained.

    Raises:
        InputError: a file is missing or damaged, names what is no layer, or it segments no regions.
    """
    plans, dataset_json = read_json(folder / PLANS_JSON), read_json(folder / DATASET_JSON)
    check_regions(dataset_json)
    card = _card_of_these_weights(folder)
    checkpoint = checkpoint_name(folder, FINAL)
    folds = tuple(available_folds(folder, checkpoint) if folds is None else folds)
    try:
        configuration = resolved_configuration(plans, configuration_name(folder))
        layers = named_layers(PlansManager(plans).get_configuration(configuration_name(folder)))
        check_named_layers(folder / PLANS_JSON, layers, "")
        cost = count_cost(configuration, len(dataset_json["channel_names"]), len(regions_of(dataset_json)))
        n_tiles = _n_tiles(configuration)
        dice = card.dice if card else _mean_dice(validation_scores(folder, dataset_json, folds))
        unmeasured = () if card else tuple(unmeasured_folds(folder, folds))
        data = " and ".join(source.name for source in card.sources) if card else str(plans["dataset_name"])
        n_cases = card.n_cases if card else n_training_cases(folder, folds) or int(dataset_json["numTraining"])
        seen = card.n_seen_before if card else n_seen_before(folder, pretrained_of(plans), folds) if dice else 0
    except InputError:
        raise
    except Exception as error:  # damaged plans make a network raise anything
        msg = f"its files do not describe a model ({first_line(error)}); copy it again, or train it again"
        raise InputError(msg) from error
    files = [file for fold in folds if (file := fold_folder(folder, fold) / checkpoint).is_file()]
    return KnownModel(
        name=name,
        folder=str(folder),
        data=data,
        n_cases=n_cases,
        folds=folds,
        dice=dice,
        n_seen_before=seen,
        unmeasured_folds=unmeasured,
        megabytes=round(sum(file.stat().st_size for file in files) / 1e6, 1),
        parameters=cost.parameters,
        tera_operations=round(cost.flops * n_tiles * len(folds) / 1e12, 2),
    )


def configuration_name(folder: Path) -> str:
    """Return what the folder's name says, TRAINER__PLANS__CONFIGURATION; the usual one where it is named otherwise."""
    return name if (name := folder.name.rpartition("__")[2]) != folder.name else CONFIGURATION


def _card_of_these_weights(folder: Path) -> ModelCard | None:
    """Return the card of a model, unless it is of other folds, or weights came after it, as in a training again."""
    card = read_card(folder)
    if card is None or folder == STARTER_FOLDER:
        return card
    checkpoint = checkpoint_name(folder, FINAL)
    folds = available_folds(folder, checkpoint)
    written = (folder / CARD).stat().st_mtime_ns
    newer = any((fold_folder(folder, fold) / checkpoint).stat().st_mtime_ns > written for fold in folds)
    return None if newer or set(folds) != set(card.weights) else card


def _n_tiles(configuration: Mapping[str, Any]) -> int:
    """Return how many tiles cover a case of the median size."""
    patch = configuration["patch_size"]
    median = [round(axis) for axis in configuration["median_image_size_in_voxels"]]
    return len(tiles(padded_shape(median, patch, None), patch))


def _mean_dice(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the mean of each region, without cases in which it is neither there nor predicted, as nnU-Net does."""
    return {name: float(np.nanmean(values)) for name, values in scores.items() if not np.isnan(values).all()}
