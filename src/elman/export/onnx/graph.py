"""A small builder of ONNX graphs: nodes are added in order, and named by what they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from elman import __version__

# The lowest set that has everything in use: Scan, ReduceSum with axes as an input, and the
# recurrent operators as every runtime of the last years knows them. 8 is the format of files
# that came with it.
OPSET, FILE_FORMAT = 17, 8
BATCH, TIME = "batch", "time"  # names of the free sizes

FLOAT, DOUBLE, INT32, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)
Size = str | int


class Graph:
    """The nodes, constants, inputs and outputs of a graph; values are handled by their names."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add_input(self, name: str, dtype: int, shape: Sequence[Size]) -> str:
        """Add an input; a size is a number, or a name for a free one."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def add_output(self, value: str, name: str, dtype: int, shape: Sequence[Size]) -> None:
        """Make a value an output of this name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def constant(self, values: Any, dtype: Any = None, name: str = "") -> str:
        """Return a constant.

        Args:
            name: its name in the file; without one it is numbered, and equal ones are stored once.
        """
        array = np.asarray(values, dtype=dtype)
        if name:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
            return name
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            own = f"constant_{len(self._constants)}"
            self._constants[own] = numpy_helper.from_array(array, own)
            self._known[key] = own
        return self._known[key]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return that.

        Args:
            operator: name of the operator in ONNX.
            inputs: names of its inputs.
            attributes: the operator's attributes.
        """
        output = f"{operator}_{len(self._nodes)}"
        self.add_node(operator, inputs, [output], attributes)
        return output

    def add_node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, Any],
    ) -> None:
        """Add a node with named outputs; an empty name stands for an input that is left out."""
        name = outputs[0]
        self._nodes.append(
            helper.make_node(operator, list(inputs), list(outputs), name=name, **attributes)
        )

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape a value; 0 keeps a size, and -1 takes what is left."""
        return self.add("Reshape", value, self.constant(shape, np.int64))

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Insert axes of size 1."""
        return self.add("Unsqueeze", value, self.constant(axes, np.int64))

    def cast(self, value: str, dtype: int) -> str:
        """Convert a value to another type."""
        return self.add("Cast", value, to=dtype)

    def linear(
        self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, name: str
    ) -> str:
        """W x + b for x (..., I) and W (O, I); `name` is that of the layer in the file."""
        product = self.add("MatMul", x, self.constant(weight.T, name=f"{name}.weight"))
        if bias is None:
            return product
        return self.add("Add", product, self.constant(bias, name=f"{name}.bias"))

    def any_of(self, values: str, axes: Sequence[int]) -> str:
        """Whether any of the truth values along the axes is true."""
        largest = self.add("ReduceMax", self.cast(values, INT32), axes=list(axes), keepdims=0)
        return self.cast(largest, BOOL)

    def body(self, name: str) -> Any:
        """Return the graph as the body of an operator such as Scan."""
        return helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )

    def model(self, name: str, metadata: Mapping[str, str]) -> Any:
        """Return the graph as a model, which is checked, with shapes inferred strictly."""
        made = helper.make_model(
            self.body(name),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=FILE_FORMAT,
            producer_name="elman",
            producer_version=__version__,
        )
        helper.set_model_props(made, dict(metadata))
        onnx.checker.check_model(made, full_check=True)
        return made
