"""What is compared: the rungs of the paper's ladder, each factor alone, and other systems (paper Tables 3 and 5)."""

from collections.abc import Iterable
from dataclasses import dataclass

from nnunet_resunet_ds.base.errors import InputError

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
