"""A standard model in one native call: its logits, or its loss and every gradient.

Below 64 units what surrounds a recurrent layer in torch (padding masks, linear layer, loss, the
autograd engine) costs more than the layer. Here the whole of embedding, recurrent stack, readout,
output, loss and backward pass is one call of `elman._core`, with the same result.

Dimensions: B batch, T time, C channels, E embedding, H hidden, D directions, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from elman import _core
from elman.errors import ShapeError

if TYPE_CHECKING:
    from elman.models.model import SequenceModel

_Places = tuple[int, int, int]  # address, stride of steps, stride of rows
_NOWHERE: _Places = (0, 0, 0)


@dataclass(frozen=True)
class Masks:
    """Which numbers dropout keeps, as bool tensors; those kept are divided by 1 - p.

    Args:
        embedded: (B, T, E); for models of tokens.
        between: (B, T, D*H) after each layer but the last.
        read: (B, D*H), or (B, T, D*H) with a label at every step.
    """

    embedded: Tensor | None
    between: tuple[Tensor, ...]
    read: Tensor

    @staticmethod
    def draw(model: SequenceModel, batch: int, time: int) -> Masks:
        """Draw masks for a batch, (B, T), from torch's generator."""
        config = model.config
        width = config.hidden_size * model.recurrent.num_directions

        def keep(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.bool).bernoulli_(1 - config.dropout)

        return Masks(
            keep(batch, time, config.embedding_size) if config.vocabulary_size else None,
            tuple(keep(batch, time, width) for _ in range(config.num_layers - 1)),
            keep(batch, time, width) if config.per_step else keep(batch, width),
        )


class NativeModel:
    """A `SequenceModel` without `obstacle`, as one native call.

    It holds no weights: it reads the model's where they are, at each call.
    """

    def __init__(self, model: SequenceModel) -> None:
        config = model.config
        self.model = model
        self.parameters = list(model.parameters())
        self.dtype = self.parameters[0].dtype
        cell = f"rnn_{config.nonlinearity}" if config.cell == "rnn" else config.cell
        self._network = _core.Network(
            cell,
            self.dtype == torch.float64,
            config.embedding_size if config.vocabulary_size else config.input_size,
            config.hidden_size,
            config.num_layers,
            model.recurrent.num_directions,
            config.num_classes,
            config.vocabulary_size,
            config.readout,
        )

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits without dropout, the same bits for a sequence in any batch.

        Args:
            x: numbers, (B, T, C), or token ids, (B, T).
            lengths: valid steps of each row, (B,), from 1 to T.
        Returns: (B, K), or (B, T, K) with an output at every step, zero past each row's end.
        """
        with torch.no_grad():
            x, lengths = self._inputs(x, lengths)
            weights = [p.contiguous() for p in self.parameters]
            out = self._new_logits(x)
            self._network.forward(
                [w.data_ptr() for w in weights],
                (x.shape[0], x.shape[1]),
                lengths.data_ptr(),
                _places(x),
                (),
                1.0,
                _places(out, steps=self.model.config.per_step),
                torch.get_num_threads(),
            )
        return out

    def loss_and_gradients(
        self,
        x: Tensor,
        lengths: Tensor,
        target: Tensor,
        gradients: list[Tensor],
        *,
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        masks: Masks | None = None,
    ) -> tuple[float, Tensor]:
        """Mean loss over the labelled sequences, or steps; and its gradients, written in place.

        Args:
            x, lengths: as in `logits`.
            target: class codes, (B,) or (B, T) int64, for cross-entropy; a negative code counts for
                nothing. Or numbers, (B, K) or (B, T, K), for the squared error.
            gradients: one contiguous tensor for each of the model's parameters, overwritten.
            label_smoothing, class_weight: as in torch.nn.functional.cross_entropy.
            masks: what dropout keeps; None for no dropout.
        Returns: the loss; logits as `logits`, with dropout.
        """
        with torch.no_grad():
            x, lengths = self._inputs(x, lengths)
            weights = [p.contiguous() for p in self.parameters]
            out = self._new_logits(x)
            squared = target.is_floating_point()
            target = target.to(self.dtype if squared else torch.int64).contiguous()
            shape = out.shape if squared else out.shape[:-1]
            if target.shape != shape:
                raise ShapeError(f"target: got {tuple(target.shape)}, expected {tuple(shape)}")
            if class_weight is not None:
                class_weight = class_weight.to(self.dtype).contiguous()
            loss = self._network.loss_and_gradients(
                [w.data_ptr() for w in weights],
                (x.shape[0], x.shape[1]),
                lengths.data_ptr(),
                _places(x),
                _mask_places(masks, self.model.config.per_step),
                1 / (1 - self.model.config.dropout) if masks else 1.0,
                _places(out, steps=self.model.config.per_step),
                torch.get_num_threads(),
                [g.data_ptr() for g in gradients],
                "squared_error" if squared else "cross_entropy",
                _places(target, steps=self.model.config.per_step),
                0 if class_weight is None else class_weight.data_ptr(),
                label_smoothing,
            )
        return loss, out

    def _inputs(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        kind = torch.int64 if self.model.config.vocabulary_size else self.dtype
        return x.to(kind).contiguous(), lengths.to("cpu", torch.int64).contiguous()

    def _new_logits(self, x: Tensor) -> Tensor:
        config = self.model.config
        shape = x.shape[:2] if config.per_step else x.shape[:1]
        return torch.empty(*shape, config.num_classes, dtype=self.dtype)


def _places(tensor: Tensor | None, *, steps: bool = True) -> _Places:
    """Where a contiguous (B, T, ...), or without steps (B, ...), begins, and its strides."""
    if tensor is None:
        return _NOWHERE
    return tensor.data_ptr(), tensor.stride(1) if steps else 0, tensor.stride(0)


def _mask_places(masks: Masks | None, steps: bool) -> tuple[_Places, ...]:
    if masks is None:
        return ()
    between = (_places(mask) for mask in masks.between)
    return (_places(masks.embedded), _places(masks.read, steps=steps), *between)
