"""What an error that is kept holds on to, and whether it is one of memory."""

import gc
import weakref

import pytest

from nnunet_resunet_ds.base.errors import forget_locals, is_out_of_memory


class Array:
    """Something large."""


def failing(references):
    large = Array()
    references.append(weakref.ref(large))
    raise RuntimeError("inner")


def test_what_errors_and_their_causes_hold_is_let_go():
    references, kept = [], None
    try:
        try:
            failing(references)
        except RuntimeError as error:
            large = Array()
            references.append(weakref.ref(large))
            raise ValueError("outer") from error
        finally:
            large = None
    except ValueError as error:
        kept = error
    assert references[0]() is not None
    forget_locals(kept)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("out of resource: shared memory, Required: 300000", False),
        ("expected scalar type Half but found Float", False),
    ],
)
def test_libraries_say_in_their_own_words_that_memory_ran_out(said, expected):
    assert is_out_of_memory(RuntimeError(said)) is expected
