"""What is trained for a rung: plans of the stock trainer command, by the command that writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.ablation.rungs import (
    BASELINE,
    CHANNELS,
    DEEP_SUPERVISION,
    DEPTH,
    FACTORS,
    FOCAL_LOSS,
    POST_PROCESSING,
    RESIDUAL,
    SALIENT_CHANNEL,
    Rung,
)
from nnunet_resunet_ds.ablation.settings import Settings
from nnunet_resunet_ds.comparison.systems import scaled
from nnunet_resunet_ds.plans import MAX_HEADS, NNUNET_FEATURES, PAPER_FEATURES, WIDE_FEATURES
from nnunet_resunet_ds.training.recipe import Recipe, recipe_words

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
