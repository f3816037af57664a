"""Write a network as an ONNX file: logits of the finest head, a patch in, any number of patches at once."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.export.exact_norms import make_norms_exact

INPUT, OUTPUT = "images", "logits"
"""Names of the graph's input and output."""
BATCH = "batch"
"""Name of the axis that may have any length."""
OPSET = 18
"""Of ONNX: the one that PyTorch's exporter writes without a translation."""
_TRACED_BATCH = 2
"""Of the input that the exporter traces; it would take a batch of 1 for a constant."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""Of the extra ``export``."""


def check_packages() -> None:
    """Check that the extra ``export`` is installed.

    Raises:
        InputError: naming what is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        msg = f"export needs {', '.join(missing)}, not installed here: pip install 'nnunet-resunet-ds[export]'"
        raise InputError(msg)


def write_graph(network: nn.Module, input_shape: Sequence[int], path: Path) -> None:
    """Write the network, with its weights, as one ONNX file.

    Args:
        network: on the CPU, in fp32; its output is one tensor.
        input_shape: (C, Z, Y, X) of a patch.
        path: of the file; what is there is replaced.

    Raises:
        InputError: PyTorch's exporter cannot translate this network.
    """
    import onnx  # noqa: PLC0415 (of the extra)

    example = torch.zeros(_TRACED_BATCH, *input_shape)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises as many types as it has parts
        msg = (
            f"PyTorch's ONNX exporter cannot translate this network ({first_line(error)}); update torch "
            "and onnxscript, or predict with resunet-ds predict"
        )
        raise InputError(msg) from error
    assert program is not None  # with dynamo
    graph = program.model_proto
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        part.ClearField("metadata_props")  # the exporter notes there in which file of this machine each line stands
        part.ClearField("doc_string")
    make_norms_exact(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))
