"""The starter model, which comes with the package: a first look, and a starting point for fine-tuning.

``make starter`` makes it again: see `nnunet_resunet_ds.experiments.starter`.
"""

from pathlib import Path

from nnunet_resunet_ds.models.card import CARD, ModelCard, read_card

STARTER = "starter"
"""Its name on the command line."""
STARTER_FOLDER = Path(__file__).with_name("starter_model")
"""With plans.json, dataset.json, the weights of each fold and the settings that were tuned, like any model folder."""


def starter_card() -> ModelCard:
    """Return the card of the starter model.

    Raises:
        InputError: the installation is damaged.
        FileNotFoundError: this checkout has no starter model.
    """
    card = read_card(STARTER_FOLDER)
    if card is None:
        raise FileNotFoundError(STARTER_FOLDER / CARD)
    return card
