"""Refuse plans that name anything but layers as the network or part of it: nnU-Net would import and call it."""

import pydoc
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_resunet_ds.base.errors import InputError

_NETWORKS = ("nnunet_resunet_ds.", "dynamic_network_architectures.")
_PARTS = ("torch.nn.", "dynamic_network_architectures.")
"""Packages from which plans may name a network, and its parts."""

Named = tuple[object, tuple[str, ...]]
"""What plans name, and the packages that it may be of."""


def named_layers(configuration: ConfigurationManager) -> list[Named]:
    """Return what plans name as network and parts of it."""
    kwargs = configuration.network_arch_init_kwargs
    parts = [kwargs.get(name) for name in configuration.network_arch_init_kwargs_req_import]
    return [
        (configuration.network_arch_class_name, _NETWORKS),
        *((part, _PARTS) for part in parts if part is not None),
    ]


def check_named_layers(path: Path, named: Sequence[Named], remedy: str) -> None:
    """Check that plans name known networks and parts of PyTorch alone.

    Args:
        path: of the plans, for the message.
        named: what `named_layers` returned.
        remedy: for who trusts the file, for the message.

    Raises:
        InputError: they name something else.
    """
    for name, packages in named:
        if not _is_module_of(name, packages):
            msg = (
                f"{path}: names {name} as the network or part of it, and only layers of {', '.join(packages)} are "
                f"taken from a file; {remedy} if you trust it"
            )
            raise InputError(msg)


def _is_module_of(name: object, packages: tuple[str, ...]) -> bool:
    """Tell whether a dotted name leads to a class of layers that one of the packages defines itself.

    The name alone tells nothing: ``torch.nn.functional.torch.os.system`` leads out of the package again.
    """
    if not isinstance(name, str) or not name.startswith(packages):
        return False
    found = pydoc.locate(name)
    return isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(packages)
