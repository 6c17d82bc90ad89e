"""The standard model: [embeddings] -> recurrent stack -> readout -> [static features] -> linear.

If possible, it runs as one native call (models/native.py); if not, `native_fallback_reason` says
why.

Dimensions: B batch, T time, C channels, S static inputs, E embedding, H hidden, D directions,
K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import _has_any_global_hook

from elman.errors import DataError, SettingsError
from elman.layers.random_numbers import dropout, without_weights
from elman.layers.recurrent import Recurrent, initialise
from elman.layers.torch_layers import LAYERS, is_plain_embedding, make_recurrent
from elman.models import static as features
from elman.models.carry import Carry
from elman.models.native import NativeModel, check_input, check_steps
from elman.ops.cells import Cell, find_cell
from elman.ops.dispatch import is_native
from elman.ops.functional import as_lengths
from elman.ops.torch_onnx import is_traced_for_onnx
from elman.settings import CellName, NetworkSettings

PADDING, UNKNOWN, FIRST_TOKEN = 0, 1, 2
_STATIC_LAYERS = ("static_state", "static_join")


@dataclass(frozen=True)
class ModelConfig(NetworkSettings):
    """Settings and data sizes that determine a network's shapes and equations.

    Args:
        task: type of the outputs: logits of classes (`classification`), logits of labels that are
            present or absent (`multilabel`), or values (`regression`).
        num_outputs: K.
        input_size: C channels; 0 if the model takes tokens, or only categories.
        vocabulary_size: number of tokens, including padding and unknown; 0 for numeric input.
        category_sizes: number of categories of each column, including padding and unknown.
        static_size: S, inputs that belong to the whole sequence; 0 for none.
        embedding_size: E of tokens; the upper limit for categories.
        readout: `last`, `mean`, `max`, or `every` for an output at every step.
        Other arguments as in `elman.settings.NetworkSettings`.
    Raises: SettingsError if the settings contradict each other.
    """

    cell: CellName = "gru"
    hidden_size: Annotated[int, Ge(1)] = 64
    num_layers: Annotated[int, Ge(1)] = 1
    bidirectional: bool = True
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    embedding_size: Annotated[int, Ge(1)] = 64
    task: Literal["classification", "multilabel", "regression"] = "classification"
    num_outputs: int = 0
    input_size: int = 0
    vocabulary_size: int = 0
    category_sizes: tuple[int, ...] = ()
    static_size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.readout == "auto":
            raise SettingsError("readout: expected last, mean, max or every, not auto")
        if (self.input_size > 0 or bool(self.category_sizes)) == (self.vocabulary_size > 0):
            raise SettingsError(
                "input_size or category_sizes, and vocabulary_size: exactly one must be given"
            )

        if bool(self.static_size) != bool(self.static_to):
            raise SettingsError(
                f"static_to: got {self.static_to!r} with {self.static_size} static inputs, expected"
                " readout, state or both where there are some, and None elsewhere"
            )

    @property
    def joins_readout(self) -> bool:
        """Whether static features are joined to the readout."""
        return self.static_to in ("readout", "both")

    @property
    def sets_state(self) -> bool:
        """Whether static features set the state before the first step."""
        return self.static_to in ("state", "both")

    @property
    def cell_definition(self) -> Cell:
        """Definition of the cell that the settings name."""
        return find_cell(self.cell, self.nonlinearity)

    @property
    def per_step(self) -> bool:
        """Whether there is an output at every step."""
        return self.readout == "every"

    @property
    def columns(self) -> int:
        """Number of channels and category codes per input step; 0 for tokens."""
        return self.input_size + len(self.category_sizes)

    @property
    def category_widths(self) -> tuple[int, ...]:
        """Embedding size of each category column, ceil(1.6 n^0.56) for n categories.

        At most `embedding_size`. The rule is fastai's for tables (Howard & Gugger 2020).
        """
        widths = (math.ceil(1.6 * size**0.56) for size in self.category_sizes)
        return tuple(min(self.embedding_size, width) for width in widths)

    @property
    def tables(self) -> tuple[tuple[int, int], ...]:
        """Size and width of each embedding: that of the tokens, or one for each category column."""
        if self.vocabulary_size:
            return ((self.vocabulary_size, self.embedding_size),)
        return tuple(zip(self.category_sizes, self.category_widths, strict=True))

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of the modules that hold the embeddings, in the order of `tables`."""
        if self.vocabulary_size:
            return ("embedding",)
        return tuple(f"embeddings.{k}" for k in range(len(self.category_sizes)))

    @property
    def width(self) -> int:
        """D*H: number of outputs of a layer at each step."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    @property
    def dropout_between(self) -> float:
        """Dropout rate after each layer except the last."""
        return self.dropout if self.num_layers > 1 else 0.0


class SequenceModel(nn.Module):
    """A recurrent network over whole sequences.

        e_t = x_t, or the embedding of token x_t, or numbers and embedded categories, concatenated
        h_t = stack(e_1 ... e_T)_t                      recurrent layers, one or both directions
        y   = V readout(h_1 ... h_T) + b_y              or at every step, y_t = V h_t + b_y

    Static features s, which belong to the whole sequence, enter in one or both of two places:

        y   = V relu(P readout(h_1 ... h_T) + Q s + b_s) + b_y         static_to readout
        h_0 = softsign(A s + a), of every layer and direction          static_to state

    `last` reads the top layer's final states: the forward direction's after a row's last valid
    step, the backward direction's after its first. `mean` and `max` cover the valid steps only.
    Padding, which may be NaN, is never read.

    In evaluation mode under torch.no_grad, on a CPU, in float32 or float64 and for a cell with a
    kernel, the whole model is one native call, and a sequence's logits have the same bits in any
    batch. `native` says why a model is run module by module instead, where they may differ. With
    static features the recurrent layers still run in the kernels, and logits keep the same bits in
    any batch (`is_exact`); their training goes through autograd.

    Args:
        generator: the initial weights are drawn from it; None means torch's global one.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        # Bound to a copy of the network, the features of its only sequence, (1, S): `static.bind`.
        self.bound_static: Tensor | None = None
        with without_weights(self):
            tables = [nn.Embedding(size, width) for size, width in config.tables]
            if config.vocabulary_size:
                self.embedding = tables[0]
            elif tables:
                self.embeddings = nn.ModuleList(tables)
            size = config.input_size + sum(width for _, width in config.tables)
            self.recurrent = make_recurrent(
                config.cell_definition,
                size,
                config.hidden_size,
                config.num_layers,
                dropout=config.dropout_between,
                bidirectional=config.bidirectional,
            )
            if config.sets_state:
                states = config.num_layers * self.recurrent.num_directions
                states *= len(config.cell_definition.states)
                self.static_state = nn.Linear(config.static_size, states * config.hidden_size)
            if config.joins_readout:  # one layer [P Q] of the readout and the features
                self.static_join = nn.Linear(config.width + config.static_size, config.width)
            self.output = nn.Linear(config.width, config.num_outputs)
        initialise(self, config.initialization, generator)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        static: Tensor | None = None,
        carry: Carry | None = None,
    ) -> Tensor:
        """Return logits, or predicted values for a regression.

        Args:
            x: numbers, (B, T, C), or token ids, (B, T) int64; category codes, which are whole
                numbers, follow the numbers of a step.
            lengths: valid steps of each row, (B,) integers from 1 to T, a list or a tensor; None
                means all T.
            static: features of each row, (B, S), of the weights' dtype; None if S is 0.
            carry: states of the rows before x, for the next part of sequences that go on; it then
                holds those after each row's last step. None if every row begins with x.
        Returns: (B, K), or (B, T, K) if per_step, undefined past a row's end.
        Raises: ShapeError; DataError for a token outside the vocabulary.
        """
        config = self.config
        lengths = as_lengths(lengths)
        static = features.check_static(self, x, static)
        exact = False  # with the same bits in any batch, which costs time
        # Autograd and torch.compile need the modules, and so does dropout: `logits` omits it.
        if not (torch.is_grad_enabled() or torch.compiler.is_compiling() or is_training(self)):
            native_call = self.native()
            if not isinstance(native_call, str) and native_call[0].takes(x, lengths):
                native, weights = native_call
                return native.logits(weights, x, lengths, carry)
            exact = static is not None and self.is_exact()
            if static is not None and exact:
                logits = features.exact_logits(self, x, lengths, static, carry)
                if logits is not None:
                    return logits
        weight: Any = self.output.weight
        if not isinstance(weight, Tensor):  # a method of layers that quantize_dynamic has replaced
            weight = next(self.parameters())
        if not is_traced_for_onnx():  # sizes are tensors there
            check_input(config, weight.dtype, weight.device, x, lengths)
            check_steps(x, lengths)
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], dtype=torch.int64, device="cpu")
        mask = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]  # (B, T)
        linear = features.linear_exactly if exact else functional.linear
        states = features.first_states(self, static, linear)
        states = states if carry is None else carry.first(states)
        hx = states[0] if len(states) == 1 else states or None
        y, final = self.recurrent(self._embed(x, mask), hx, lengths)  # y (B, T, D*H)
        if carry is not None:
            carry.states = final if isinstance(final, tuple) else (final,)
        if config.per_step:
            read = y
        elif config.readout == "mean" and exact:
            read = features.mean_exactly(y, lengths)
        elif config.readout == "mean":
            read = y.sum(1) / lengths.to(y)[:, None]  # y is zero past each row's end
        elif config.readout == "max":
            read = torch.where(mask[:, :, None], y, -torch.inf).amax(1)
        else:
            # final is (h_n, c_n) for an LSTM. The last D entries are the top layer's.
            h_n = final[0] if isinstance(final, tuple) else final  # (L*D, B, H)
            read = torch.cat(h_n[-self.recurrent.num_directions :].unbind(0), -1)  # (B, D*H)
        read = features.join(self, read, static, linear)
        read = dropout(read, config.dropout, self.training)
        outputs: Tensor = linear(read, weight, self.output.bias) if exact else self.output(read)
        return outputs

    def _embed(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the input of the first layer, (B, T, C+E)."""
        config = self.config
        if config.vocabulary_size:
            try:
                x = self.embedding(torch.where(mask, x, PADDING))  # (B, T, E)
            except IndexError:
                raise DataError(
                    "x: got a token outside the vocabulary, expected 0 to "
                    f"{config.vocabulary_size - 1}"
                ) from None
            return dropout(x, config.dropout, self.training)
        return self._embed_categories(x, mask) if config.category_sizes else x

    def _embed_categories(self, x: Tensor, mask: Tensor) -> Tensor:
        """Replace the category codes of each step by their embeddings."""
        codes = torch.where(mask[:, :, None], x[:, :, self.config.input_size :], PADDING).long()
        try:  # torch checks the codes when it looks them up; a check before would read them twice
            parts = [table(codes[:, :, k]) for k, table in enumerate(self.embeddings)]
        except IndexError:
            raise DataError(
                "x: got a category code out of range, expected codes below "
                f"{self.config.category_sizes}"
            ) from None
        embedded = dropout(torch.cat(parts, -1), self.config.dropout, self.training)
        return torch.cat([x[:, :, : self.config.input_size], embedded], -1)

    def is_exact(self) -> bool:
        """Whether logits have the same bits in any batch, in evaluation mode on the CPU."""
        return type(self) is SequenceModel and not native_fallback_reason(self, self.config)

    def native(self) -> tuple[NativeModel, list[Tensor]] | str:
        """Return the native model and the current weights, or why the native call does not apply.

        The modules must run if they do something that the native call would omit. This is checked
        before every call, because hooks, weights and modules can change at any time.
        """
        if type(self) is not SequenceModel:
            return f"{type(self).__name__} is a subclass"
        if reason := native_fallback_reason(self, self.config):
            return reason
        if self.config.static_size:
            return "static features are joined outside the native call"
        native = NativeModel.of(self.config, self._modules["output"]._parameters["weight"].dtype)  # type: ignore[union-attr]
        weights = native.weights(self)
        if weights is None:
            return "a parameter is missing, or not of the shape, dtype or device of the others"
        return native, weights


def native_fallback_reason(model: nn.Module, config: ModelConfig) -> str:
    """Return why the native path does not apply, or an empty string.

    Either the modules do something that the config does not describe, or there is no kernel for
    the cell. `NativeModel.weights` checks the shapes of the parameters.
    """
    # Modules and parameters are read from their dictionaries, which takes a tenth of the time
    # of attribute access: this runs before every native call, and takes 7 us in all.
    modules: dict[str, Any] = model._modules
    if config.cell not in LAYERS and not find_cell(config.cell).kernel:
        return f"cell {config.cell!r} has a step function but no kernel"
    tables = modules["embeddings"]._modules.values() if config.category_sizes else ()
    if _has_any_global_hook() or any(map(_is_watched, (model, *modules.values(), *tables))):  # type: ignore[no-untyped-call]
        return "a module has hooks or a parametrization"
    if not _is_as_made(modules, config):
        return "a module is not the one that the config asks for"
    weight = modules["output"]._parameters.get("weight")  # None if it is parametrized or replaced
    if weight is None:
        return "the output has no weight of its own"
    if not weight.is_cpu:
        return f"the model is on {weight.device}"
    if weight.dtype not in (torch.float32, torch.float64):
        return f"the model computes in {weight.dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if not is_native(weight):
        return "torch.func, or a tool that follows each operation, is active"
    return ""


def is_training(model: nn.Module) -> bool:
    """Whether dropout may be active; between layers it depends on the mode of the layers."""
    modules: dict[str, Any] = model._modules
    return bool(model.training or modules["recurrent"].training)


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks or replaced methods read or change data that passes through this module."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "parametrizations" in module._modules
        or "forward" in module.__dict__  # replaced for this one module
    )


def _is_as_made(modules: dict[str, Any], config: ModelConfig) -> bool:
    """Whether the modules are those that SequenceModel's constructor makes, or equivalent ones."""
    layer: Any = modules["recurrent"]
    output = modules["output"]
    if any(type(modules.get(name, output)) is not nn.Linear for name in _STATIC_LAYERS):
        return False
    made: type[Any] = LAYERS.get(config.cell, Recurrent)
    if type(layer) is not made or type(output) is not nn.Linear:
        return False
    layout = (
        layer.num_layers,
        layer.bidirectional,
        layer.dropout,
        layer.proj_size,
        layer.batch_first,
        layer.bias,
    )
    if layout != (config.num_layers, config.bidirectional, config.dropout_between, 0, True, True):
        return False
    if config.cell == "rnn" and layer.nonlinearity != config.nonlinearity:
        return False
    if config.vocabulary_size:
        return is_plain_embedding(modules["embedding"])
    if not config.category_sizes:
        return True
    tables = modules["embeddings"]._modules.values()
    return (
        type(modules["embeddings"]) is nn.ModuleList
        and len(tables) == len(config.category_sizes)
        and all(map(is_plain_embedding, tables))
    )
