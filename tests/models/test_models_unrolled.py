"""The unrolled pass is the model's own, for every cell, direction, depth and readout."""

import pytest
import torch
from cases import CLASSES, READOUTS, make_model, make_sequences, stack_rows
from tolerances import assert_close

from elman.models.unrolled import unroll
from elman.ops.cells import CELLS

LENGTHS = [7, 1, 4, 7, 2]


def both(model, x, lengths):
    """Outputs by the model and unrolled, with a loss's gradients of all parameters."""
    found = []
    for outputs in (model(x, lengths), unroll(model, x, lengths).outputs):
        if outputs.dim() > 2:  # past a row's end they mean nothing
            mask = torch.arange(x.shape[1]) < lengths[:, None]
            outputs = torch.where(mask[:, :, None], outputs, 0.0)
        gradients = torch.autograd.grad(outputs.square().sum(), list(model.parameters()))
        found.append((outputs, gradients))
    return found


@pytest.mark.parametrize("cell", ["rnn", "relu", "gru", "lstm"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("inputs", ["numbers", "tokens", "mixed"])
@pytest.mark.parametrize("stack", [(1, False), (2, True)], ids=["one", "two of both directions"])
def test_outputs_and_gradients_are_the_models_own(cell, readout, inputs, stack):
    kind = {} if inputs == "numbers" else {inputs: True}
    options = {"nonlinearity": "relu"} if cell == "relu" else {}
    model = make_model(
        "rnn" if cell == "relu" else cell,
        readout,
        **kind,
        num_layers=stack[0],
        bidirectional=stack[1],
        dropout=0.3,
        **options,
    ).double()
    x, lengths = stack_rows(make_sequences(LENGTHS, **kind), extra=2)
    x = x if inputs == "tokens" else x.double()
    (own, gradients), (found, others) = both(model, x, lengths)
    assert_close(found, own, "float64")
    with torch.no_grad():  # the native call
        native = model(x, lengths)
    inside = torch.arange(x.shape[1]) < lengths[:, None] if native.dim() > 2 else slice(None)
    assert_close(found[inside], native[inside], "float64")
    for one, other in zip(gradients, others, strict=True):
        assert_close(other, one, "float64")


@pytest.mark.parametrize("pad", [float("nan"), float("inf")])
def test_what_is_past_a_rows_end_is_never_read(pad):
    model = make_model("gru", "mean", bidirectional=True)
    rows = make_sequences(LENGTHS)
    clean = unroll(model, *stack_rows(rows))
    padded = unroll(model, *stack_rows(rows, pad=pad, extra=1))
    assert_close(padded.outputs, clean.outputs, "float32")
    assert all(torch.isfinite(layer.over_time("h")).all() for layer in padded.layers)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gates_and_states_by_name_in_the_order_of_the_sequence(cell):
    model = make_model(cell, bidirectional=True)
    x, lengths = stack_rows(make_sequences([5, 5]))
    done = unroll(model, x, lengths)
    assert done.outputs.shape == (2, CLASSES)
    forward, backward = done.layers
    assert [step.t for step in forward.steps] == [0, 1, 2, 3, 4]
    assert [step.t for step in backward.steps] == [4, 3, 2, 1, 0]
    read = torch.cat([forward.over_time("h")[:, 4], backward.over_time("h")[:, 0]], -1)
    assert torch.equal(read, done.read)
    for name in CELLS[cell].traced:
        values = forward.over_time(name)
        assert values.shape == (2, 5, 6)
        low = 0 if name in [n for n, f in CELLS[cell].activations.items() if f == "sigmoid"] else -1
        assert name == "c" or ((values >= low) & (values <= 1)).all()
