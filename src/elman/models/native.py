"""A standard model in one native call: its logits, or its loss and every gradient.

Below 64 units, the operations around a recurrent layer in torch (padding masks, linear layer, loss,
autograd engine) take longer than the layer. Here embedding, recurrent stack, readout, output, loss
and backward pass are one call of `elman._core`, with the same result.

The call reads and writes raw memory addresses and checks only the values of lengths, tokens and
classes. Shapes, dtypes, devices and memory are checked here first, and every tensor whose address
is passed is kept alive by a variable until the call returns.

Dimensions: B batch, T time, C channels, E embedding, H hidden, D directions, K classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from elman import _core
from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.models.carry import Carry, Located
from elman.ops.checks import PLAIN, WHOLE, check_memory, read_tensor
from elman.ops.native import USEFUL_THREADS, count_threads

if TYPE_CHECKING:
    from elman.models.model import ModelConfig

_Strided = tuple[int, int, int]  # address, stride of steps, stride of rows, as in _core.pyi
_NO_TENSOR: _Strided = (0, 0, 0)


def check_input(
    config: ModelConfig, dtype: torch.dtype, device: torch.device, x: Any, lengths: Any
) -> None:
    """Raise ShapeError unless x and lengths are tensors that a model of `dtype` can read.

    Args:
        dtype, device: those of the model's weights; x must be there, lengths can be on any device.
    """
    for name, value in (("x", x), ("lengths", lengths)):
        if not isinstance(value, Tensor) and (name == "x" or value is not None):
            raise ShapeError(f"{name}: got a {type(value).__name__}, expected a tensor")
    check_shapes(config, x, lengths)
    dtypes = (torch.int64, torch.int32) if config.vocabulary_size else (dtype,)
    # Under autocast torch converts x itself.
    if x.dtype not in dtypes and not torch.is_autocast_enabled(device.type):
        raise ShapeError(f"x: got {x.dtype}, expected {' or '.join(map(str, dtypes))}")
    if x.device != device:
        raise ShapeError(f"x: is on {x.device}, expected {device}, where the model is")
    if lengths is not None and lengths.dtype not in WHOLE:
        raise ShapeError(f"lengths: got {lengths.dtype}, expected integers")


def check_steps(x: Tensor, lengths: Tensor | None) -> None:
    """Raise ShapeError unless every row of x, (B, T, ...), has a step."""
    # A compiled graph cannot depend on values, and the minimum of no lengths is undefined.
    if torch.compiler.is_compiling() or not x.shape[0]:
        return
    if (x.shape[1] if lengths is None else int(lengths.min())) < 1:
        raise ShapeError("lengths: got an empty sequence, expected at least 1 step")


def check_shapes(config: ModelConfig, x: Tensor, lengths: Tensor | None) -> None:
    """Raise ShapeError unless x is (B, T, C), or for tokens (B, T), and lengths are (B,)."""
    if config.vocabulary_size:
        if x.dim() != 2:
            raise ShapeError(f"x: got {tuple(x.shape)}, expected token ids (B, T)")
    elif x.dim() != 3 or x.shape[2] != config.columns:
        raise ShapeError(f"x: got {tuple(x.shape)}, expected (B, T, {config.columns})")
    if lengths is not None and lengths.shape != x.shape[:1]:
        raise ShapeError(f"lengths: got {tuple(lengths.shape)}, expected ({x.shape[0]},)")


def mask_shapes(config: ModelConfig, batch: int, time: int) -> list[tuple[int, ...]]:
    """Shapes of dropout's masks for a batch, (B, T), in the order of their use.

    (B, T, E) on the embeddings of a step, if there are any; (B, T, D*H) after each layer except the
    last; (B, D*H), or (B, T, D*H) with an output at every step, on the input of the output layer.
    """
    # Each element is dropped independently, as in torch.nn.functional.dropout.
    width = sum(width for _, width in config.tables)
    embedded = [(batch, time, width)] if config.tables else []
    between = [(batch, time, config.width)] * (config.num_layers - 1)
    return [*embedded, *between, (batch, time, config.width)[:: 1 if config.per_step else 2]]


class ParameterGradients:
    """Memory for the gradient of every weight of a `NativeModel`, concatenated in one tensor.

    Args:
        native: the model that the weights belong to.
        order: their order in memory, as indices into `native.names`; None for the order of names.
    """

    def __init__(self, native: NativeModel, order: Sequence[int] | None = None) -> None:
        order = range(len(native.names)) if order is None else order
        if sorted(order) != list(range(len(native.names))):
            raise ElmanError(f"order: got {list(order)}, expected each of {len(native.names)} once")
        self.native = native
        sizes = [math.prod(native.shapes[i]) for i in order]
        # One tensor, so that clipping and the optimizer need one operation for all weights.
        self.flat = torch.zeros(sum(sizes), dtype=native.dtype, device="cpu")
        parts = dict(zip(order, torch.split(self.flat, sizes), strict=True))
        self.views = [parts[i].view(shape) for i, shape in enumerate(native.shapes)]
        self.addresses = [view.data_ptr() for view in self.views]


class NativeModel:
    """The computation of a `SequenceModel` of given config and dtype as one native call.

    It holds no weights: they are passed to every call, in the order of `names`.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        self.config = config
        self.dtype = dtype
        size = config.input_size + sum(width for _, width in config.tables)
        cell = config.cell_definition
        # _core.Network is built for each call, so that copies and pickles hold only plain Python.
        self._network = (
            cell.kernel,
            dtype == torch.float64,
            config.input_size,
            config.hidden_size,
            config.num_layers,
            1 + config.bidirectional,
            config.num_outputs,
            config.tables,
            config.vocabulary_size > 0,
            config.readout,
        )
        rows = config.hidden_size * len(cell.blocks)
        shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        for name, table in zip(config.table_names, config.tables, strict=True):
            shapes[name, "weight"] = table
        for layer in range(config.num_layers):
            for end in ("", "_reverse")[: 1 + config.bidirectional]:
                name = f"l{layer}{end}"
                shapes["recurrent", f"weight_ih_{name}"] = (rows, config.width if layer else size)
                shapes["recurrent", f"weight_hh_{name}"] = (rows, config.hidden_size)
                shapes["recurrent", f"bias_ih_{name}"] = (rows,)
                shapes["recurrent", f"bias_hh_{name}"] = (rows,)
        shapes["output", "weight"] = (config.num_outputs, config.width)
        shapes["output", "bias"] = (config.num_outputs,)
        # In the order of csrc/network_call.h, which is that of `SequenceModel.parameters()`.
        self.names = list(shapes)  # module and parameter
        self.shapes = list(shapes.values())

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def of(config: ModelConfig, dtype: torch.dtype) -> NativeModel:
        """Return the same object for the same arguments: every native call asks for one."""
        return NativeModel(config, dtype)

    def weights(
        self, model: nn.Module, output: dict[str, Tensor] | None = None
    ) -> list[Tensor] | None:
        """The model's weights as they are now, or None if the call cannot read one of them.

        Args:
            output: weight and bias that take the place of the output layer's; None for its own.
        """
        modules: dict[str, Any] = model._modules
        if self.config.category_sizes:
            tables = modules["embeddings"]._modules.values()
            modules = modules | dict(zip(self.config.table_names, tables, strict=True))
        weights = []
        for (module, name), shape in zip(self.names, self.shapes, strict=True):
            # Looked up at every call: parameters may have been replaced, moved or converted.
            weight = modules[module]._parameters.get(name)
            if output is not None and module == "output":
                weight = output[name]
            if (
                type(weight) not in PLAIN
                or weight.shape != shape
                or weight.dtype is not self.dtype
                or not weight.is_cpu
            ):
                return None
            weights.append(weight)
        return weights

    def takes(self, x: Tensor, lengths: Tensor | None) -> bool:
        """Whether the call can read x and lengths; `check_shapes` checks the shapes."""
        if type(x) not in PLAIN or not x.is_cpu:
            return False
        if lengths is not None and (type(lengths) not in PLAIN or lengths.dtype not in WHOLE):
            return False
        if self.config.vocabulary_size:
            return x.dtype is torch.int64 or x.dtype is torch.int32
        return x.dtype is self.dtype

    def logits(
        self,
        weights: Sequence[Tensor],
        x: Tensor,
        lengths: Tensor | None,
        carry: Carry | None = None,
    ) -> Tensor:
        """Logits without dropout, bit-identical in any batch, computed on torch's threads.

        Args:
            weights: from `weights`.
            x: numbers, (B, T, C), or token ids, (B, T), that it `takes`.
            lengths: valid steps of each row, (B,), from 1 to T; None means all T.
            carry: as in `SequenceModel.forward`; the logits of a sequence have the same bits
                wherever it is cut.
        Returns: (B, K), or (B, T, K) with an output at every step, zero past each row's end.
        Raises: ShapeError; DataError for a token or category code out of range.
        """
        weights = self._read_weights(weights)  # a copy lives until the call returns
        x, lengths = self._read_inputs(x, lengths)
        out = self._allocate_logits(x)
        states = Located() if carry is None else carry.locate(self.config, x.shape[0], self.dtype)
        try:
            _core.Network(*self._network).forward(
                parameters=[weight.data_ptr() for weight in weights],
                sizes=(x.shape[0], x.shape[1]),
                lengths=0 if lengths is None else lengths.data_ptr(),
                x=_locate(x, True),
                masks=(),
                keep=1.0,
                states=states.addresses,
                logits=_locate(out, self.config.per_step),
                threads=count_threads(),
            )
        except (IndexError, MemoryError) as error:
            raise convert_error(error, x) from None
        if carry is not None:
            carry.states = states.last
        return out

    def loss_and_gradients(
        self,
        weights: Sequence[Tensor],
        x: Tensor,
        lengths: Tensor | None,
        target: Tensor,
        gradients: ParameterGradients,
        *,
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
        threads: int | None = None,
        carry: Carry | None = None,
    ) -> tuple[float, Tensor]:
        """Mean loss over the labelled sequences, or steps; and its gradients, written in place.

        Args:
            weights, x, lengths: as in `logits`.
            target: class codes, (B,) or (B, T) integers, for cross-entropy; a negative code is
                ignored. Or numbers, (B, K) or (B, T, K), for the squared error.
            gradients: overwritten.
            label_smoothing, class_weight: as in torch.nn.functional.cross_entropy.
            masks: dropout's keep masks, as from `draw_masks`; kept elements are divided by
                1 - dropout; None for no dropout.
            threads: maximum number of threads; None means torch's. Results are bit-identical.
            carry: as in `logits`; no gradient reaches the states before the first step.
        Returns: the loss; logits as `logits`, with dropout.
        Raises: ShapeError; DataError for a token, category code or class out of range.
        """
        config = self.config
        if gradients.native is not self:
            raise ElmanError("gradients: got those of another model; make new ones for this model")
        if not self.takes(x, lengths):
            # `check_input` raises for every possible reason except a tensor subclass.
            check_input(config, self.dtype, torch.device("cpu"), x, lengths)
            raise ShapeError(f"x: got a {type(x).__name__}, expected a plain tensor")
        weights = self._read_weights(weights)
        x, lengths = self._read_inputs(x, lengths)
        if not x.shape[0]:
            raise ShapeError(
                "x: got no sequences, expected at least one: the mean loss of none is undefined"
            )
        out = self._allocate_logits(x)
        check_memory("gradients", gradients.flat)
        states = Located() if carry is None else carry.locate(config, x.shape[0], self.dtype)
        # The target's dtype selects the loss: class codes are integers.
        squared = target.is_floating_point()
        target = self._convert("target", target, out.shape if squared else out.shape[:-1], squared)
        if class_weight is not None:
            shape = (config.num_outputs,)
            class_weight = self._convert("class_weight", class_weight, shape, True)
        if squared and (label_smoothing or class_weight is not None):
            raise SettingsError("label_smoothing and class_weight: only with classes as target")
        if not 0 <= label_smoothing <= 1:
            raise SettingsError(f"label_smoothing: got {label_smoothing}, expected 0 to 1")
        try:
            loss = _core.Network(*self._network).loss_and_gradients(
                parameters=[weight.data_ptr() for weight in weights],
                sizes=(x.shape[0], x.shape[1]),
                lengths=0 if lengths is None else lengths.data_ptr(),
                x=_locate(x, True),
                masks=() if masks is None else self._locate_masks(masks, x),
                # Inverted dropout: kept elements are scaled here, so evaluation needs no scaling.
                keep=1.0 if masks is None else 1 / (1 - config.dropout),
                states=states.addresses,
                logits=_locate(out, config.per_step),
                threads=count_threads() if threads is None else min(threads, USEFUL_THREADS),
                gradients=gradients.addresses,
                loss="squared_error" if squared else "cross_entropy",
                target=_locate(target, config.per_step),
                class_weight=0 if class_weight is None else class_weight.data_ptr(),
                smoothing=label_smoothing,
            )
        except (IndexError, MemoryError) as error:
            raise convert_error(error, x) from None
        if carry is not None:
            carry.states = states.last
        return loss, out

    def stepper(self, weights: Sequence[Tensor]) -> _core.Stepper:
        """Return what runs this model one step at a time, with a copy of the weights."""
        weights = self._read_weights(weights)
        network = _core.Network(*self._network)
        return _core.Stepper(network, [weight.data_ptr() for weight in weights])

    def _read_weights(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Check the weights, and return them in the layout that the call reads."""
        if _core.read_tensors(weights, self.shapes, self.dtype is torch.float64):
            return weights
        named = zip(self.names, weights, self.shapes, strict=True)
        return [read_tensor(".".join(name), w, shape, self.dtype) for name, w, shape in named]

    def _read_inputs(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Check x and lengths, and return them in the layout that the call reads."""
        check_shapes(self.config, x, lengths)
        check_memory("x", x)
        if lengths is not None and lengths.is_cpu:
            check_memory("lengths", lengths)
        if self.config.vocabulary_size:
            x = x.to(torch.int64)  # the only integers that the kernels read
        # Batch and time may have any strides; the numbers of a step must be adjacent.
        elif x.is_neg() or (x.stride(2) != 1 and x.shape[2] != 1):
            x = x.resolve_neg().contiguous()
        if lengths is not None and (lengths.dtype is not torch.int64 or not lengths.is_cpu):
            lengths = lengths.to("cpu", torch.int64)
        return x, None if lengths is None else lengths.contiguous()

    def _allocate_logits(self, x: Tensor) -> Tensor:
        shape = x.shape[:2] if self.config.per_step else x.shape[:1]
        return torch.empty((*shape, self.config.num_outputs), dtype=self.dtype, device="cpu")

    def _convert(self, name: str, tensor: Tensor, shape: Sequence[int], numbers: bool) -> Tensor:
        """Check a target or class weights, and return them in the layout that the call reads."""
        dtype = self.dtype if numbers else torch.int64
        readable = tensor.dtype is dtype or (not numbers and tensor.dtype in WHOLE)
        if tensor.shape != shape or not readable or not tensor.is_cpu or type(tensor) not in PLAIN:
            raise ShapeError(
                f"{name}: got {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}, expected "
                f"{tuple(shape)}, {dtype} on cpu"
            )
        check_memory(name, tensor)
        # is_neg: torch negates such a view lazily, so its memory holds the opposite sign.
        if tensor.dtype is not dtype or tensor.is_neg():
            tensor = tensor.to(dtype).resolve_neg()
        return tensor.contiguous()

    def _locate_masks(self, masks: Sequence[Tensor], x: Tensor) -> tuple[_Strided, ...]:
        """Masks in the call's order: embeddings, input of the output layer, between layers."""
        shapes = mask_shapes(self.config, *x.shape[:2])
        if [tuple(mask.shape) for mask in masks] != shapes:
            raise ShapeError(f"masks: got {[tuple(m.shape) for m in masks]}, expected {shapes}")
        if not all(m.dtype is torch.bool and m.is_cpu and m.is_contiguous() for m in masks):
            raise ShapeError("masks: expected contiguous bool tensors on the CPU")
        for mask in masks:
            check_memory("masks", mask)
        embeds = bool(self.config.tables)
        embedded = _locate(masks[0], True) if embeds else _NO_TENSOR
        read = _locate(masks[-1], self.config.per_step)
        return (embedded, read, *(_locate(mask, True) for mask in masks[embeds:-1]))


def _locate(tensor: Tensor, steps: bool) -> _Strided:
    """Address and strides of a tensor (B, T, ...), or (B, ...) without steps."""
    strides = tensor.stride()
    return tensor.data_ptr(), strides[1] if steps else 0, strides[0]


_BAD_VALUES = ("x: got token", "x: got category", "target")


def convert_error(error: Exception, x: Tensor) -> ElmanError:
    """Convert the kernels' error for a length, token, code or class into an elman error.

    csrc/network_call.cpp writes the whole message, because it knows the row and the value.
    """
    if isinstance(error, MemoryError):
        return ShapeError(
            f"x: got {tuple(x.shape)}; the states of all its steps take more memory than there is."
            " Use fewer sequences at once (--batch-size, batch_size), or shorter ones"
        )
    text = str(error)
    return DataError(text) if text.startswith(_BAD_VALUES) else ShapeError(text)
