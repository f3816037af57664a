"""What is compared (paper Tables 3 and 5): the rungs of the ladder, each factor alone, other systems."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.comparison.systems import scaled
from nnunet_resunet_ds.plans import MAX_HEADS, NNUNET_FEATURES, PAPER_FEATURES, WIDE_FEATURES
from nnunet_resunet_ds.training.recipe import Recipe, recipe_words

DEEP_SUPERVISION, DEPTH, CHANNELS, SALIENT_CHANNEL, FOCAL_LOSS, RESIDUAL, POST_PROCESSING = FACTORS = (
    "deep-supervision",
    "depth",
    "channels",
    "salient-channel",
    "focal-loss",
    "residual",
    "post-processing",
)
"""In the order in which the ladder adds them."""
BASELINE = "baseline"
TRAINER = "ResUNetDSTrainer"


@dataclass(frozen=True)
class Rung:
    """One row of the table: what is trained, and how its probabilities become labels."""

    name: str
    factors: frozenset[str]
    """Of `FACTORS`, on top of a plain six-stage U-Net with one output, Dice and cross-entropy."""
    trainer: str = TRAINER
    neighbour: str | None = None
    """The rung that it differs from in one factor."""

    @property
    def is_postprocessed(self) -> bool:
        """Whether the paper's thresholds and rules are used, or 0.5 and none."""
        return POST_PROCESSING in self.factors

    @property
    def compared_with(self) -> list[str]:
        """The rungs that its scores are compared with: the baseline, and the one below; a system, the whole method."""
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
"""Each factor on top of the baseline; deep supervision is so on the ladder."""
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

    def plan_command(self, settings: Settings, seed: int) -> list[str]:
        """Return the command that writes the plans."""
        arguments = self.plan_arguments(settings, seed)
        patch_size = ["--patch-size", *_words(settings.patch_size)] if settings.patch_size else []
        return [
            "resunet-ds", "plan", "-d", str(settings.dataset_id), "-c", settings.configuration,
            "-p", settings.stock_plans, "--name", self.plans_name(settings, seed), *patch_size,
            "--batch-size", str(settings.batch_size), "--features", *_words(arguments["features_per_stage"]),
            "--heads", str(arguments["n_heads"]),
            *([] if arguments["salient_channel"] else ["--no-salient-channel"]),
            *([] if arguments["residual"] else ["--no-residual"]),
            *recipe_words(arguments["recipe"]),
        ]  # fmt: skip


def _words(values: Sequence[object]) -> list[str]:
    return [str(value) for value in values]
