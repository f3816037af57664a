"""What the ablation compares (paper Tables 3 and 5): the rungs of the ladder, each factor alone, other systems."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.model_id import TRAINER
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.comparison.systems import scaled
from nnunet_resunet_ds.plans import MAX_HEADS, NNUNET_FEATURES, PAPER_FEATURES, WIDE_FEATURES
from nnunet_resunet_ds.training.planning.adapted_plans import why_brain_is_not_marked, with_res_unet_ds
from nnunet_resunet_ds.training.planning.plans_file import read_plans
from nnunet_resunet_ds.training.planning.recipe import Recipe

DEEP_SUPERVISION, DEPTH, CHANNELS, SALIENT_CHANNEL, FOCAL_LOSS, RESIDUAL, POST_PROCESSING = FACTORS = (
    "deep-supervision",
    "depth",
    "channels",
    "salient-channel",
    "focal-loss",
    "residual",
    "post-processing",
)
"""Factors of the method, in the order in which the ladder adds them: three heads, a seventh stage, 64 to 512 channels,
the brain mask as an input channel, focal loss for cross-entropy, residual blocks, thresholds and steps."""
BASELINE = "baseline"
Plans = dict[str, Any]
_FEATURES = {
    (False, False): NNUNET_FEATURES,
    (True, False): (*NNUNET_FEATURES, NNUNET_FEATURES[-1]),
    (False, True): WIDE_FEATURES,
    (True, True): PAPER_FEATURES,
}
"""Channels of each stage by whether the network is deep and wide."""
_SHORT = {
    DEEP_SUPERVISION: "ds",
    DEPTH: "deep",
    CHANNELS: "wide",
    SALIENT_CHANNEL: "salient",
    FOCAL_LOSS: "focal",
    RESIDUAL: "res",
}
"""Parts of the plans' names."""
_NO_PAPER_RULES = (
    "the paper's thresholds and steps are for WT, TC and ET, and this dataset has other regions: leave the rung out"
)


@dataclass(frozen=True)
class Rung:
    """One row of the table: what is trained, and whether its probabilities are post-processed."""

    name: str
    factors: frozenset[str]
    """Of `FACTORS`, on top of a plain six-stage U-Net with one output, Dice and cross-entropy."""
    trainer: str = TRAINER
    neighbour: str | None = None
    """The rung that lacks one of these factors, and is otherwise the same."""

    @property
    def is_postprocessed(self) -> bool:
        """Whether probabilities become labels by the paper's thresholds and rules, or by 0.5 alone."""
        return POST_PROCESSING in self.factors

    @property
    def compared_with(self) -> list[str]:
        """Names of the baseline and of the rung below; of a system, of the baseline and the whole method."""
        if self.name == BASELINE:
            return []
        return list(dict.fromkeys([BASELINE, self.neighbour or LADDER[-1].name]))


def _ladder() -> Iterable[Rung]:
    yield Rung(BASELINE, frozenset())
    neighbour = BASELINE
    for number, factor in enumerate(FACTORS, start=1):
        yield Rung(f"+{factor}", frozenset(FACTORS[:number]), neighbour=neighbour)
        neighbour = f"+{factor}"


LADDER = tuple(_ladder())
"""Each factor on top of those before; the last is the whole method."""
ALONE = (LADDER[1], *(Rung(factor, frozenset({factor}), neighbour=BASELINE) for factor in FACTORS[1:]))
"""Each factor on top of the baseline alone; for deep supervision, that is a rung of the ladder."""
SYSTEMS = tuple(
    Rung(name, frozenset(FACTORS), f"BraTS{name}Trainer") for name in ("UNet", "ResUNetVAE", "AttentionUNet", "UNETR")
)
"""The other systems, with loss, recipe and post-processing of the whole method."""
GROUPS = {"ladder": LADDER, "alone": ALONE, "systems": SYSTEMS}
RUNGS = {rung.name: rung for group in GROUPS.values() for rung in group}


def rungs_named(names: Iterable[str]) -> list[Rung]:
    """Return the rungs of these names or groups, each once, in the order of the table.

    Raises:
        InputError: an unknown name.
    """
    chosen = set()
    for name in names:
        if name not in RUNGS and name not in GROUPS:
            msg = f"there is no rung {name!r}; valid are {', '.join([*GROUPS, *RUNGS])}"
            raise InputError(msg)
        chosen |= {rung.name for rung in GROUPS.get(name, ())} or {name}
    return [rung for rung in RUNGS.values() if rung.name in chosen]


@dataclass(frozen=True)
class Training:
    """A network and recipe; rungs that differ in post-processing share it."""

    trainer: str
    factors: frozenset[str]

    @classmethod
    def of(cls, rung: Rung) -> "Training":
        """Return what a rung trains."""
        return cls(rung.trainer, rung.factors - {POST_PROCESSING})

    @property
    def short_name(self) -> str:
        """The factors, as part of the plans' name."""
        if self.factors == {*FACTORS} - {POST_PROCESSING}:
            return "full"
        return "-".join(_SHORT[factor] for factor in FACTORS if factor in self.factors) or BASELINE

    def plans_name(self, settings: Settings, seed: int) -> str:
        """Return the name of the plans, as ``-p`` takes it."""
        return f"{settings.name}-{self.short_name}-seed{seed}"

    def plan_arguments(self, settings: Settings, seed: int) -> dict[str, Any]:
        """Return arguments of `plans.with_res_unet_ds`, on top of stock plans and configuration."""
        features = _FEATURES[DEPTH in self.factors, CHANNELS in self.factors]
        return {
            "patch_size": settings.patch_size,
            "batch_size": settings.batch_size,
            "features_per_stage": [scaled(channels, settings.width) for channels in features],
            "n_heads": MAX_HEADS if DEEP_SUPERVISION in self.factors else 1,
            "salient_channel": SALIENT_CHANNEL in self.factors,
            "residual": RESIDUAL in self.factors,
            "recipe": {**settings.recipe, "gamma": Recipe.gamma if FOCAL_LOSS in self.factors else 0.0, "seed": seed},
        }


def written_plans(training: Training, settings: Settings, seed: int) -> Plans:
    """Return the plans as `resunet-ds plan` writes them for a training.

    Raises:
        InputError: there are no stock plans, or a setting is out of range.
    """
    stock = read_plans(settings.dataset_id, settings.stock_plans, settings.configuration)
    adapted = with_res_unet_ds(stock, settings.configuration, **training.plan_arguments(settings, seed)).plans
    adapted["plans_name"] = training.plans_name(settings, seed)
    plans: Plans = json.loads(json.dumps(adapted))  # as they would be read
    return plans


def trained_configuration(training: Training, settings: Settings, seed: int) -> dict[str, Any]:
    """Return the configuration that the trainer trains; that of another system has its network.

    Raises:
        InputError: the system does not fit the patch, or is not installed.
    """
    plans = written_plans(training, settings, seed)
    if training.trainer != TRAINER:
        from nnunet_resunet_ds.experiments.comparison import trainers  # noqa: PLC0415 (imports PyTorch)

        plans = getattr(trainers, training.trainer).adapted_plans(plans, settings.configuration).plans
    return resolved_configuration(plans, settings.configuration)


def check_rungs(rungs: Sequence[Rung], settings: Settings) -> None:
    """Refuse a rung that cannot be trained, or would train what its neighbour trains.

    Raises:
        InputError: a line a rung.
    """
    problems = [f"{rung.name}: {problem}" for rung in rungs if (problem := _problem(rung, settings))]
    if problems:
        raise InputError("\n".join([*problems, "choose rungs with --only"]))


def _problem(rung: Rung, settings: Settings) -> str | None:
    """Say why a rung cannot be trained; None where it can."""
    training = Training.of(rung)
    try:
        configuration = trained_configuration(training, settings, seed=0)
    except InputError as error:
        return str(error)
    if rung.neighbour is None:
        return None
    neighbour = RUNGS[rung.neighbour]
    if rung.factors - neighbour.factors == {POST_PROCESSING}:
        return None if settings.has_tumour_regions else _NO_PAPER_RULES
    mine, other = (written_plans(of, settings, seed=0) for of in (training, Training.of(neighbour)))
    if {**mine, "plans_name": ""} != {**other, "plans_name": ""}:
        return None
    return f"has the plans of {neighbour.name}, for {_why_alike(rung.factors - neighbour.factors, configuration)}"


def _why_alike(added: frozenset[str], configuration: Mapping[str, Any]) -> str:
    """Say why the plans do not show the factor that a rung adds, and what to do."""
    if added == {SALIENT_CHANNEL}:
        return f"no zero background marks the brain: leave the rung out. {why_brain_is_not_marked(configuration)}"
    return (
        f"the patch {configuration['patch_size']} fits "
        f"{len(configuration['architecture']['arch_kwargs']['strides'])} stages alone: give a patch with an "
        "axis of 128, or leave the rung out"
    )
