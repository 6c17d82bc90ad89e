"""Static features in the network: the equations, their gradients, and bits in any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elman.errors import SettingsError, ShapeError
from elman.models import ModelConfig, SequenceModel
from elman.models.static import linear_exactly, mean_exactly
from elman.models.unrolled import unroll

LENGTHS = torch.tensor([9, 3, 5, 1, 9, 7])
PLACES = ("readout", "state", "both")
READOUTS = ("last", "mean", "max", "every")


def make(cell: str, to: Any, readout: Any, **options: Any) -> SequenceModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_outputs": 3, "input_size": 2, "static_size": 4, **options}
    config = ModelConfig(cell=cell, hidden_size=5, readout=readout, static_to=to, **sizes)
    return SequenceModel(config).eval()


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(6, 9, 2, dtype=dtype), torch.randn(6, 4, dtype=dtype)


def valid(outputs: Tensor) -> Tensor:
    """Return the outputs of valid steps, if there is one at every step."""
    return outputs[torch.arange(9) < LENGTHS[:, None]] if outputs.dim() == 3 else outputs


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("to", PLACES)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_three_ways_compute_the_same_and_the_batch_does_not_matter(
    cell: str, to: str, readout: str
) -> None:
    for options in ({}, {"num_layers": 2}, {"bidirectional": False}):
        model = make(cell, to, readout, **options).double()
        x, static = batch(torch.float64)
        differentiable = model(x, LENGTHS, static)
        with torch.no_grad():
            exact = model(x, LENGTHS, static)
        unrolled = unroll(model, x, LENGTHS, static).outputs
        torch.testing.assert_close(valid(exact), valid(differentiable), atol=1e-10, rtol=0)
        torch.testing.assert_close(valid(exact), valid(unrolled), atol=1e-10, rtol=0)
        model, (x, static) = model.float(), batch(torch.float32)
        assert model.is_exact()
        with torch.no_grad():
            together = model(x, LENGTHS, static)
            longer = torch.cat([x, torch.full((6, 5, 2), torch.nan)], 1)
            padded = model(longer, LENGTHS, static)
            for i, n in enumerate(LENGTHS.tolist()):
                alone = model(x[i : i + 1, :n], LENGTHS[i : i + 1], static[i : i + 1])[0]
                for each in (together[i], padded[i]):
                    assert torch.equal(alone, each[:n] if readout == "every" else each)


@pytest.mark.parametrize("to", PLACES)
@pytest.mark.parametrize("readout", ["last", "every"])
def test_gradients_agree_with_finite_differences(to: str, readout: str) -> None:
    model = make("lstm", to, readout).double()
    x, static = batch(torch.float64)
    names = [name for name, _ in model.named_parameters() if "static" in name]
    weights = [dict(model.named_parameters())[name].detach().requires_grad_() for name in names]

    def loss(static: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        outputs = torch.func.functional_call(model, parameters, (x, LENGTHS, static))
        return valid(outputs).square().mean()

    assert torch.autograd.gradcheck(loss, (static.requires_grad_(), *weights))


def test_tokens_and_features() -> None:
    model = make("gru", "readout", "mean", input_size=0, vocabulary_size=7, embedding_size=3)
    x, static = torch.randint(1, 7, (6, 9)), batch(torch.float32)[1]
    with torch.no_grad():
        torch.testing.assert_close(
            model(x, LENGTHS, static), unroll(model, x, LENGTHS, static).outputs
        )


def test_sums_in_a_fixed_order_are_right() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 37, dtype=torch.float64), torch.randn(5, 11, 2)
    linear = nn.Linear(37, 6).double()
    torch.testing.assert_close(linear_exactly(x, linear.weight, linear.bias), linear(x))
    assert linear_exactly(x[:0], linear.weight, None).shape == (0, 3, 6)
    torch.testing.assert_close(mean_exactly(y, torch.full((5,), 11)), y.mean(1))


def test_features_that_do_not_fit_are_refused() -> None:
    x, static = batch(torch.float32)
    with pytest.raises(ShapeError, match=r"static: got None, expected \(6, 4\)"):
        make("gru", "readout", "last")(x, LENGTHS)
    with pytest.raises(ShapeError, match=r"static: got \(6, 3\), expected \(6, 4\)"):
        make("gru", "readout", "last")(x, LENGTHS, static[:, :3])
    with pytest.raises(ShapeError, match="expected None: the network has no static features"):
        make("gru", None, "last", static_size=0)(x, LENGTHS, static)
    with pytest.raises(SettingsError, match="static_to"):
        make("gru", None, "last")
    with pytest.raises(SettingsError, match="static_to"):
        make("gru", "state", "last", static_size=0)
