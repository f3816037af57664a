"""Make plans that train our network: from stock plans, ours, or those of a trained model (decisions D1, D3, D4)."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any, NamedTuple

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.plans import (
    MAX_HEADS,
    NETWORK_CLASS_NAME,
    PAPER_BATCH_SIZE,
    PAPER_FEATURES,
    PAPER_PATCH_SIZE,
    has_salient_channel,
    res_unet_ds_architecture,
)
from nnunet_resunet_ds.training.planning.recipe import SECTION, Recipe

MIN_MEDIAN_AXIS = 96
"""Where a median image axis is shorter, 128³ would be mostly padding and the stock patch size stays."""
_DESCRIBED = ("features_per_stage", "n_heads", "init_filters", "hidden_size")
"""Arguments of networks that the log shows."""
MASKED_SCHEME = "ZScoreNormalization"
"""nnU-Net's one normalisation that can leave out what is 0 in all images, and then leaves it at 0."""


class AdaptedPlans(NamedTuple):
    """Plans that train our network, and lines for the user on how they were made."""

    plans: dict[str, Any]
    notes: list[str]


def with_res_unet_ds(
    plans: Mapping[str, Any],
    configuration: str,
    *,
    patch_size: Sequence[int] | None = None,
    batch_size: int = PAPER_BATCH_SIZE,
    features_per_stage: Sequence[int] = PAPER_FEATURES,
    n_heads: int = MAX_HEADS,
    salient_channel: bool = True,
    residual: bool = True,
    recipe: Mapping[str, Any] | None = None,
) -> AdaptedPlans:
    """Return a copy of nnU-Net plans in which one configuration trains our network.

    Args:
        plans: stock plans.
        configuration: the one to change, for example ``"3d_fullres"``.
        patch_size: voxels (Z, Y, X); None is the paper's 128³, or the stock one for small images.
        batch_size: patches a step.
        features_per_stage: see `res_unet_ds_architecture`, as for the next three.
        n_heads: deep-supervision heads, the output included.
        salient_channel: whether the network reads the brain mask. Where no zero background marks the brain, it does
            not, whatever is said here, and a line tells so.
        residual: whether its blocks are residual.
        recipe: fields of `Recipe` to train differently from the paper.

    Raises:
        InputError: no such configuration, one that is 2-D, or a network or recipe that cannot be.
    """
    section, stock = _checked(plans, configuration, recipe)
    notes: list[str] = []
    if patch_size is None:
        patch_size = _paper_or_stock_patch_size(stock, notes)
    architecture = res_unet_ds_architecture(
        patch_size,
        features_per_stage,
        n_heads=n_heads,
        salient_channel=salient_channel and _brain_is_marked(stock, notes),
        residual=residual,
    )
    changes = {"patch_size": list(patch_size), "batch_size": batch_size, "batch_dice": True}
    adapted = _with_changes(plans, configuration, {**changes, "architecture": architecture})
    fitted = len(architecture["arch_kwargs"]["features_per_stage"])
    notes.append(f"{fitted} of the {len(features_per_stage)} stages asked for fit the patch.")
    return AdaptedPlans({**adapted.plans, SECTION: section}, [*notes, *adapted.notes])


def with_network_of(
    trained: Mapping[str, Any],
    plans: Mapping[str, Any],
    configuration: str,
    *,
    patch_size: Sequence[int] | None = None,
    batch_size: int = PAPER_BATCH_SIZE,
    recipe: Mapping[str, Any] | None = None,
) -> AdaptedPlans:
    """Return a copy of nnU-Net plans in which one configuration trains the network of a trained model.

    Args:
        trained: the resolved configuration of the model.
        plans: stock plans.
        configuration: the one to change.
        patch_size: voxels (Z, Y, X); None is the model's.
        batch_size: patches a step.
        recipe: fields of `Recipe` to train differently from the paper.

    Raises:
        InputError: the patch does not fit the network, or nothing marks the brain that it reads.
    """
    section, stock = _checked(plans, configuration, recipe)
    architecture = trained["architecture"]
    patch = list(patch_size or trained["patch_size"])
    multiples = [prod(axis) for axis in zip(*architecture["arch_kwargs"]["strides"], strict=True)]
    if any(axis % multiple for axis, multiple in zip(patch, multiples, strict=True)) or prod(patch) <= prod(multiples):
        msg = f"patch size {patch} does not fit the trained network: give multiples of {multiples}, and more than these"
        raise InputError(msg)
    reason = why_brain_is_not_marked(stock)
    if has_salient_channel(architecture) and reason is not None:
        msg = f"the trained network reads where the brain is from a zero background, which this data has not. {reason}"
        raise InputError(msg)
    changes = {"patch_size": patch, "batch_size": batch_size, "batch_dice": True, "architecture": dict(architecture)}
    adapted = _with_changes(plans, configuration, changes)
    return AdaptedPlans({**adapted.plans, SECTION: section}, adapted.notes)


def _checked(
    plans: Mapping[str, Any], configuration: str, recipe: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recipe as a section of plans, and the resolved configuration, after a check of both."""
    section = dict(recipe or {})
    Recipe.from_section(section)  # checks it
    stock = resolved_configuration(plans, configuration)
    _check_three_dimensional(configuration, stock)
    return section, stock


def obeyed_or_adapted(plans: Mapping[str, Any], configuration: str) -> AdaptedPlans:
    """Return plans that have our own section, or our network, as they are, and stock plans adapted.

    Plans of ours that ask for the salient channel lose it where no zero background marks the brain.

    Raises:
        InputError: the configuration is 2-D, or plans with our section have another network in it.
    """
    settings = resolved_configuration(plans, configuration)
    _check_three_dimensional(configuration, settings)
    found = settings["architecture"]["network_class_name"]
    if found == NETWORK_CLASS_NAME:
        return _obeyed(plans, configuration, settings)
    if SECTION in plans:
        msg = (
            f'the plans have a "{SECTION}" section, but {configuration} has the network {found}; '
            f"write it with: resunet-ds plan -d ID -c {configuration}"
        )
        raise InputError(msg)
    return with_res_unet_ds(plans, configuration)


def _obeyed(plans: Mapping[str, Any], configuration: str, settings: Mapping[str, Any]) -> AdaptedPlans:
    """Return plans of ours as they are, but for a salient channel that nothing marks."""
    notes: list[str] = []
    architecture = settings["architecture"]
    if not has_salient_channel(architecture) or _brain_is_marked(settings, notes):
        return AdaptedPlans(deepcopy(dict(plans)), ["The plans are ours and used as written.", _description(settings)])
    arch_kwargs = architecture["arch_kwargs"] | {"salient_channel": False}
    changed = with_network(plans, configuration, architecture | {"arch_kwargs": arch_kwargs})
    return AdaptedPlans(changed.plans, ["The plans are ours, and changed in one entry.", *notes, *changed.notes])


def with_architecture_changes(adapted: AdaptedPlans, configuration: str, changes: Mapping[str, Any]) -> AdaptedPlans:
    """Return plans of ours in which the network differs in the given arguments of `res_unet_ds_architecture` alone.

    Raises:
        InputError: the patch does not fit the features.
    """
    if not changes:
        return adapted
    plans = deepcopy(adapted.plans)
    settings = resolved_configuration(plans, configuration)
    arch_kwargs = settings["architecture"]["arch_kwargs"] | dict(changes)
    if "features_per_stage" in changes:
        fitted = res_unet_ds_architecture(settings["patch_size"], changes["features_per_stage"])["arch_kwargs"]
        arch_kwargs |= {name: fitted[name] for name in ("features_per_stage", "strides")}
        arch_kwargs["n_heads"] = min(arch_kwargs["n_heads"], fitted["n_heads"])
    changed = with_network(plans, configuration, settings["architecture"] | {"arch_kwargs": arch_kwargs})
    return AdaptedPlans(changed.plans, [*adapted.notes, f"The trainer changes {', '.join(changes)}.", *changed.notes])


def with_network(plans: Mapping[str, Any], configuration: str, architecture: Mapping[str, Any]) -> AdaptedPlans:
    """Return a copy of plans in which one configuration has another network, and nothing else differs.

    Args:
        plans: of ours.
        configuration: the one to change.
        architecture: its entry, as nnU-Net's ``get_network_from_plans`` takes it.
    """
    return _with_changes(plans, configuration, {"architecture": dict(architecture)})


def _with_changes(plans: Mapping[str, Any], configuration: str, changes: Mapping[str, Any]) -> AdaptedPlans:
    """Return a copy of plans with changed entries in one configuration, and a line that describes it."""
    changed = deepcopy(dict(plans))
    changed["configurations"][configuration] |= changes
    return AdaptedPlans(changed, [_description(resolved_configuration(changed, configuration))])


def why_brain_is_not_marked(settings: Mapping[str, Any]) -> str | None:
    """Say in a line why the network gets no salient channel; None where a zero background marks the brain.

    Args:
        settings: the resolved configuration. nnU-Net plans a mask where cropping to what is not zero takes away more
            than a quarter of the images, as of skull-stripped ones.
    """
    schemes, masked = settings.get("normalization_schemes", ()), settings.get("use_mask_for_norm", ())
    for channel, (scheme, is_masked) in enumerate(zip(schemes, masked, strict=True)):
        if scheme != MASKED_SCHEME or not is_masked:
            return (
                f"The network gets no salient channel: channel {channel} is normalised by {scheme} with "
                f"use_mask_for_norm {str(bool(is_masked)).lower()}, so no zero background marks the brain."
            )
    return None


def _brain_is_marked(settings: Mapping[str, Any], notes: list[str]) -> bool:
    reason = why_brain_is_not_marked(settings)
    notes += [reason] if reason else []
    return reason is None


def _check_three_dimensional(configuration: str, settings: Mapping[str, Any]) -> None:
    dimensions = min(len(settings["patch_size"]), len(settings["spacing"]))
    if dimensions != 3:
        msg = f"configuration {configuration} is {dimensions}-D and ResUNetDS is a 3-D network: use 3d_fullres"
        raise InputError(msg)


def _paper_or_stock_patch_size(stock: Mapping[str, Any], notes: list[str]) -> Sequence[int]:
    median: Sequence[float] = stock["median_image_size_in_voxels"]
    if min(median) >= MIN_MEDIAN_AXIS:
        return PAPER_PATCH_SIZE
    stock_patch_size: Sequence[int] = stock["patch_size"]
    notes.append(
        f"The median image {[round(axis) for axis in median]} has an axis below {MIN_MEDIAN_AXIS} voxels: "
        f"the stock patch size {list(stock_patch_size)} stays instead of {list(PAPER_PATCH_SIZE)}."
    )
    return stock_patch_size


def _description(settings: Mapping[str, Any]) -> str:
    """Describe in one line what is trained."""
    architecture = settings["architecture"]
    name = architecture["network_class_name"].rpartition(".")[2]
    arch_kwargs = ", ".join(f"{key} {value}" for key, value in architecture["arch_kwargs"].items() if key in _DESCRIBED)
    return f"{name}: patch {list(settings['patch_size'])}, batch {settings['batch_size']}; {arch_kwargs}."
