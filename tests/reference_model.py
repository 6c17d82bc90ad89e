"""A standard model by its equations, in plain torch: what every fast path is compared with."""

from __future__ import annotations

import torch
from cases import past_end
from torch import Tensor
from torch.nn import functional

from elman.models import SequenceModel
from elman.models.native import NativeModel, ParameterGradients
from elman.ops.reference import run_reference


def reference_logits(
    model: SequenceModel,
    x: Tensor,
    lengths: Tensor,
    masks: list[Tensor] | None = None,
    first: tuple[Tensor, ...] = (),
    last: list[tuple[Tensor, ...]] | None = None,
) -> Tensor:
    """Logits, (B, K) or (B, T, K), by the reference loop; rows past an end mean nothing.

    Args:
        masks: what dropout keeps, in the order of its use; None for no dropout.
        first: states before the first step, h first, (L, B, H) each; empty for zeros.
        last: every layer's states after the rows' last steps are added.
    """
    config = model.config
    left = iter(masks or ())

    def keep(values: Tensor) -> Tensor:
        return values if masks is None else values * next(left) / (1 - config.dropout)

    cell = config.cell_definition
    mask = ~past_end(x, lengths)  # (B, T)
    if config.vocabulary_size:
        x = keep(model.embedding.weight[torch.where(mask, x, 0)])
    elif config.category_sizes:
        channels, codes = x.tensor_split([config.input_size], -1)
        codes = torch.where(mask[:, :, None], codes, 0).long()
        parts = [table.weight[codes[..., k]] for k, table in enumerate(model.embeddings)]
        x = torch.cat([channels, keep(torch.cat(parts, -1))], -1)
    start = torch.zeros(len(x), config.hidden_size, dtype=model.output.weight.dtype)
    y, finals = x, []
    for layer in range(config.num_layers):
        outputs, finals = [], []
        for end in ("", "_reverse")[: 1 + config.bidirectional]:
            out, final = run_reference(
                cell,
                y,
                *(
                    getattr(model.recurrent, f"{kind}_l{layer}{end}")
                    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                ),
                tuple(state[layer] for state in first) or (start,) * len(cell.states),
                lengths,
                bool(end),
            )
            outputs.append(out)
            finals.append(final[0])
            if last is not None:
                last.append(final)
        y = torch.cat(outputs, -1)
        if layer + 1 < config.num_layers:
            y = keep(y)
    read = {
        "last": lambda: torch.cat(finals, -1),
        "mean": lambda: y.sum(1) / lengths[:, None],
        "max": lambda: torch.where(mask[:, :, None], y, -torch.inf).amax(1),
        "every": lambda: y,
    }[config.readout]()
    return keep(read) @ model.output.weight.T + model.output.bias


def reference_loss(
    logits: Tensor,
    target: Tensor,
    lengths: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
) -> Tensor:
    """torch's mean loss of logits, (B, K), or with steps (B, T, K) over the valid ones."""
    if logits.dim() == 3:
        mask = ~past_end(logits, lengths)
        logits, target = logits[mask], target[mask]
    if target.is_floating_point():
        return functional.mse_loss(logits, target)
    target = torch.where(target < 0, -100, target)
    return functional.cross_entropy(
        logits, target, weight=class_weight, label_smoothing=label_smoothing
    )


def native_of(model: SequenceModel) -> tuple[NativeModel, list[Tensor]]:
    """The model's native call and its weights; fails if it has none."""
    found = model.native()
    assert not isinstance(found, str), found
    return found


def native_loss(
    model: SequenceModel,
    x: Tensor,
    lengths: Tensor | None,
    target: Tensor,
    *,
    order: list[int] | None = None,
    **options: object,
) -> tuple[float, Tensor, dict[str, Tensor]]:
    """Loss, logits and gradients by name of one native call, which must write every gradient."""
    native, weights = native_of(model)
    room = ParameterGradients(native, order)
    room.flat.fill_(float("nan"))
    loss, logits = native.loss_and_gradients(weights, x, lengths, target, room, **options)
    names = (".".join(name) for name in native.names)
    return loss, logits, dict(zip(names, room.views, strict=True))
