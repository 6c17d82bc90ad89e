"""Why a standard model cannot run in one native call; checked at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from elman.layers.recurrent import Recurrent
from elman.layers.torch_layers import LAYERS
from elman.ops.cells import find_cell
from elman.ops.dispatch import is_native

if TYPE_CHECKING:
    from elman.models.model import ModelConfig


def native_fallback_reason(model: nn.Module, config: ModelConfig) -> str:
    """Return why the native path does not apply, or an empty string.

    Either the modules do something that the config does not say, or no kernel computes it. Shapes
    of parameters are checked by `NativeModel.weights`.
    """
    # Modules and parameters are read from their dictionaries, which takes a tenth of the time of
    # attributes: this runs before every native call.
    modules: dict[str, Any] = model._modules
    if config.cell not in LAYERS and not find_cell(config.cell).kernel:
        return f"cell {config.cell!r} has a step function but no kernel"
    if _has_any_global_hook() or any(map(_is_watched, (model, *modules.values()))):  # type: ignore[no-untyped-call]
        return "a module has hooks or a parametrization"
    if not _is_as_made(modules, config):
        return "a module is not the one that the config asks for"
    weight = modules["output"]._parameters.get("weight")
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
    """Whether dropout may be on; between the layers it depends on the layers' own mode."""
    modules: dict[str, Any] = model._modules
    return bool(model.training or modules["recurrent"].training)


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks or replaced methods read or change what passes through this module."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "parametrizations" in module._modules
        or "forward" in module.__dict__  # replaced for this one module
    )


def _is_as_made(modules: dict[str, Any], config: ModelConfig) -> bool:
    """Whether the modules are those that SequenceModel's constructor makes, or equal ones."""
    layer: Any = modules["recurrent"]
    output = modules["output"]
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
    if not config.vocabulary_size:
        return True
    table = modules["embedding"]
    return (
        type(table) is nn.Embedding
        and table.padding_idx is None
        and table.max_norm is None
        and not table.scale_grad_by_freq
        and not table.sparse
    )
