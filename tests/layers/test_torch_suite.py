"""torch's own samples of its recurrent layers, from its database of modules, on ours.

The database comes with torch and needs the package expecttest. torch's test files do not come with
it: docs/layers.md says how to run those with ours in place (`torch_plugin.py`).
"""

from copy import deepcopy

import pytest
import torch
from tolerances import assert_close
from torch.nn.utils.rnn import PackedSequence

from elman import layers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what the database imports
]
each_layer = pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
each_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def samples(name, dtype, training, *, errors=False):
    """torch's sample calls of one layer: how it is constructed, and what it is given."""
    pytest.importorskip("expecttest", reason="torch.testing._internal imports it")
    from torch.testing._internal.common_modules import module_db

    info = next(i for i in module_db if i.module_cls is getattr(torch.nn, name))
    make = info.module_error_inputs_func if errors else info.module_inputs_func
    options = {} if errors or name == "LSTM" else {"with_packed_sequence": True}
    how = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
    found = list(make(info, **how, **options))
    assert len(found) > 10
    return found


def build(sample, name, dtype, training):
    """Our layer and torch's, as the sample constructs it, with the same weights."""
    given = sample.constructor_input
    pair = [
        getattr(place, name)(*given.args, **given.kwargs).to(dtype).train(training)
        for place in (layers, torch.nn)
    ]
    pair[0].load_state_dict(pair[1].state_dict())
    return pair


def leaves(tree):
    """Tensors of a tree, the data of packed sequences among them."""
    one = torch.utils._pytree.tree_leaves(tree, is_leaf=lambda t: isinstance(t, PackedSequence))
    return [t.data if isinstance(t, PackedSequence) else t for t in one]


def differentiated(layer, arguments):
    """Outputs, and the gradients of their sum of squares by all inputs and weights."""
    outputs = leaves(layer(*arguments))
    wanted = [t for t in leaves(arguments) if t.requires_grad] + list(layer.parameters())
    total = sum(out.pow(2).sum() for out in outputs)
    return outputs, torch.autograd.grad(total, wanted)


@each_layer
@each_dtype
@each_mode
def test_samples(name, dtype, training):
    """Outputs and gradients as torch's layer has them, and as torch's reference has them."""
    line = str(dtype).removeprefix("torch.")
    for sample in samples(name, dtype, training):
        ours, theirs = build(sample, name, dtype, training)
        arguments = sample.forward_input.args
        found, wanted = differentiated(ours, arguments), differentiated(theirs, arguments)
        for a, b in zip(leaves(found), leaves(wanted), strict=True):
            assert_close(a, b, line)
        if not isinstance(arguments[0], PackedSequence):
            reference = leaves(sample.reference_fn(ours, *arguments))
            for a, b in zip(found[0], reference, strict=True):
                assert_close(a, b, line)


@each_layer
@each_dtype
@each_mode
def test_errors(name, dtype, training):
    """The error type that torch expects, with the words that torch expects."""
    found = samples(name, dtype, training, errors=True)
    from torch.testing._internal.common_modules import ModuleErrorEnum

    for sample in found:
        given = sample.module_error_input.constructor_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            layer = getattr(layers, name)(*given.args, **given.kwargs)
            assert sample.error_on == ModuleErrorEnum.FORWARD_ERROR
            call = sample.module_error_input.forward_input
            layer(*call.args, **call.kwargs)


@each_layer
@each_dtype
def test_non_contiguous_input(name, dtype):
    line = str(dtype).removeprefix("torch.")

    def gapped(tensor):
        wide = torch.full((*tensor.shape, 2), torch.nan, dtype=dtype)
        wide[..., 0] = tensor.detach()
        return wide[..., 0].requires_grad_()

    for sample in samples(name, dtype, True):
        arguments = sample.forward_input.args
        if isinstance(arguments[0], PackedSequence):
            continue
        ours, _ = build(sample, name, dtype, True)
        turned = torch.utils._pytree.tree_map(gapped, arguments)
        assert not any(t.is_contiguous() for t in leaves(turned))
        found, wanted = differentiated(ours, turned), differentiated(ours, arguments)
        for a, b in zip(leaves(found), leaves(wanted), strict=True):
            assert_close(a, b, line)


@each_layer
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives(name, check):
    """First and second derivatives of every sample, by finite differences."""
    for sample in samples(name, torch.float64, False):
        ours, _ = build(sample, name, torch.float64, False)
        arguments = sample.forward_input.args
        if isinstance(arguments[0], PackedSequence):
            continue

        def run(*_, ours=ours, arguments=arguments):
            return tuple(leaves(ours(*arguments)))

        assert check(run, (*leaves(arguments), *ours.parameters()), fast_mode=True)


@each_layer
def test_copies(name):
    for sample in samples(name, torch.float32, False):
        ours, theirs = build(sample, name, torch.float32, False)
        assert repr(ours) == repr(theirs)
        for a, b in zip(
            leaves(deepcopy(ours)(*sample.forward_input.args)),
            leaves(ours(*sample.forward_input.args)),
            strict=True,
        ):
            assert_close(a, b, "exact")
