"""Read the settings of nnU-Net's transforms, and refuse those that have no counterpart on the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NotOnDeviceError(Exception):
    """A transform, or a setting of it, has no counterpart on the device; the message says which."""


def require(transform: Any, **expected: object) -> None:  # noqa: ANN401 (batchgeneratorsv2 has no types)
    """Refuse a transform with other settings.

    Args:
        transform: of batchgeneratorsv2.
        expected: attributes and the value that each must have.

    Raises:
        NotOnDeviceError: one is different.
    """
    for name, value in expected.items():
        if getattr(transform, name) != value:
            msg = f"{name} is {getattr(transform, name)!r}"
            raise NotOnDeviceError(msg)


@contextmanager
def reading(transform: Any) -> Iterator[None]:  # noqa: ANN401 (batchgeneratorsv2 has no types)
    """Name the transform in what is raised while its settings are read.

    Raises:
        NotOnDeviceError: a setting has no counterpart, or this version of batchgeneratorsv2 does not have it.
    """
    try:
        yield
    except (NotOnDeviceError, AttributeError) as error:
        msg = f"{type(transform).__name__}: {error}"
        raise NotOnDeviceError(msg) from error
