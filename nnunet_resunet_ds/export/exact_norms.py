"""Let an ONNX graph compute instance norms exactly: means axis after axis instead of over all voxels at once.

onnxruntime adds up the voxels of a channel one after the other in fp32. At 128³ its instance norm is off by 1e-3 of a
standard deviation, and the probabilities of the paper's network by 2e-3. A mean over one axis adds up 128 numbers, and
the norm made of three such means is off by 1e-6.
"""

from collections.abc import Iterator, Sequence
from typing import Any

_NORM = "InstanceNormalization"
_AXES = (4, 3, 2)
"""Of (B, C, Z, Y, X), the last one first, as it lies in memory."""
_PARAMETER_AXES = (1, 2, 3)
"""That a parameter (C) gets, to fit (B, C, Z, Y, X)."""


def make_norms_exact(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Replace each instance norm of a graph by operations that compute the same, in place.

    Args:
        model: of tensors (B, C, Z, Y, X), with opset 18 or later.
    """
    graph = model.graph
    if all(node.op_type != _NORM for node in graph.node):
        return
    nodes = [part for node in graph.node for part in (_parts(node) if node.op_type == _NORM else (node,))]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_constants())


def _axis_name(axis: int) -> str:
    return f"axis_{axis}"


def _constants() -> Iterator[Any]:
    """Yield the numbers that the operations of all norms share."""
    from onnx import TensorProto, helper  # noqa: PLC0415 (of the extra)

    yield helper.make_tensor("axes_of_parameters", TensorProto.INT64, [len(_PARAMETER_AXES)], _PARAMETER_AXES)
    for axis in _AXES:
        yield helper.make_tensor(_axis_name(axis), TensorProto.INT64, [1], [axis])


def _parts(norm: Any) -> Iterator[Any]:  # noqa: ANN401 (an onnx.NodeProto)
    """Yield the operations that make one norm: (x − mean) · scale / √(variance + ε) + bias."""
    from onnx import helper  # noqa: PLC0415 (of the extra)

    x, scale, bias = norm.input
    (output,) = norm.output
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)

    def named(what: str) -> str:
        return f"{output}_{what}"

    def operation(kind: str, inputs: Sequence[str], result: str) -> Any:  # noqa: ANN401
        return helper.make_node(kind, inputs, [result], name=result)

    def mean(of: str, result: str) -> Iterator[Any]:
        for axis in _AXES:
            following = result if axis == _AXES[-1] else f"{result}_{axis}"
            yield operation("ReduceMean", [of, _axis_name(axis)], following)
            of = following

    yield from mean(x, named("mean"))
    yield operation("Sub", [x, named("mean")], named("centred"))
    yield operation("Mul", [named("centred"), named("centred")], named("squares"))
    yield from mean(named("squares"), named("variance"))
    yield helper.make_node("Constant", [], [named("epsilon")], value_float=epsilon)
    yield operation("Add", [named("variance"), named("epsilon")], named("above_zero"))
    yield operation("Sqrt", [named("above_zero")], named("deviation"))
    for parameter, what in ((scale, "scale"), (bias, "bias")):
        yield operation("Unsqueeze", [parameter, "axes_of_parameters"], named(what))
    yield operation("Div", [named("scale"), named("deviation")], named("factor"))
    yield operation("Mul", [named("centred"), named("factor")], named("scaled"))
    yield operation("Add", [named("scaled"), named("bias")], output)
