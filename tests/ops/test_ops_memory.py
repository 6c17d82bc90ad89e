"""Tensors that a kernel cannot read end in an error that names them, at every door, never a crash.

Each case runs in this process: a check that is left out ends the whole run, which is seen.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import make_model
from torch._subclasses.fake_tensor import FakeTensorMode

from elman import _core, layers, ops
from elman.data.batches import MOST_STEPS, batch_by_length
from elman.errors import SettingsError, ShapeError
from elman.ops import native
from elman.ops.cells import GRU, LSTM
from elman.ops.reference import run_reference
from elman.settings import TrainingSettings
from elman.train import TorchThreads
from elman.validation import validate_settings

B, T, I, H = 2, 5, 3, 4
NAMES = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "h0", "c0", "lengths")


def arguments(width=I, units=H, dtype=torch.float32):
    """Sound arguments of a GRU, in the order of the operator."""
    torch.manual_seed(0)
    shapes = [(B, T, width), (3 * units, width), (3 * units, units), (3 * units,), (3 * units,)]
    tensors = [torch.randn(shape, dtype=dtype) for shape in shapes]
    return dict(
        zip(NAMES, [*tensors, None, torch.zeros(B, units, dtype=dtype), None, None], strict=True)
    )


def freed(tensor, size=0):
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(size)
    return tensor


WRONG = {
    "meta": (lambda t: t.to("meta"), "got torch.float32 on meta, expected torch.float32 on cpu"),
    "double": (torch.Tensor.double, "got torch.float64 on cpu, expected torch.float32"),
    "integers": (torch.Tensor.int, "got torch.int32 on cpu, expected torch.float32"),
    "half": (torch.Tensor.half, "got torch.float16 on cpu, expected torch.float32"),
    "freed": (freed, "its memory has 0 bytes, too few for"),
    "shrunk": (lambda t: freed(t, 4), "its memory has 4 bytes, too few for"),
    "sparse": (torch.Tensor.to_sparse, "is a tensor of layout torch.sparse_coo"),
    "smaller": (lambda t: t[:-1], "got"),
    "zeros without memory": (
        lambda t: torch._efficientzerotensor(t.shape),
        "its memory has 0 bytes, too few for",
    ),
}


def function(values):
    return ops.gru(**{n: values[n] for n in NAMES if n not in ("c0", "weight_hr")})


def operator(values):
    return torch.ops.elman.recurrence(*values.values(), "gru", False, True, False)


def layer(values):
    net = layers.GRU(I, H, batch_first=True)
    for name in NAMES[1:5]:
        net._parameters[f"{name}_l0"] = values[name]
    return net(values["x"], values["h0"][None])


@pytest.mark.parametrize("door", [function, operator, layer])
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0"])
@pytest.mark.parametrize("wrong", WRONG)
def test_refused_by_name(door, name, wrong):
    change, message = WRONG[wrong]
    values = arguments()
    values[name] = change(values[name])
    # The dispatcher itself answers for sparse tensors and materialises zeros.
    if door is operator and wrong in ("sparse", "zeros without memory"):
        expected = {"sparse": NotImplementedError}.get(wrong)
        if expected is None:
            return
        with pytest.raises(expected):
            door(values)
        return
    with pytest.raises((ValueError, RuntimeError)) as caught:
        door(values)
    if door is not layer:
        assert isinstance(caught.value, ShapeError)
        assert name in str(caught.value)
        assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.complex64])
def test_operator_takes_two_dtypes(dtype):
    values = {n: None if t is None else t.to(dtype) for n, t in arguments().items()}
    with pytest.raises(ShapeError, match=re.escape(f"x: got {dtype}, expected torch.float32")):
        operator(values)


def test_unknown_cell_and_missing_partner():
    values = arguments()
    with pytest.raises(SettingsError, match=r"cell: got 'grue', expected one of .* Did you mean"):
        torch.ops.elman.recurrence(*values.values(), "grue", False, True, False)
    with pytest.raises(ShapeError, match="bias_ih and bias_hh: give both or neither"):
        operator(values | {"bias_ih": None})
    with pytest.raises(ShapeError, match="c0: the cell gru has no second state"):
        operator(values | {"c0": torch.zeros(B, H)})
    with pytest.raises(ShapeError, match="lengths: got 1 to 9, expected 0 to T = 5"):
        operator(values | {"lengths": torch.tensor([9, 1])})


@pytest.mark.parametrize("place", range(5))
def test_backward_operator_checks_what_it_is_given(place):
    values = arguments()
    y, h_n, _, reserve = torch.ops.elman.recurrence(*values.values(), "gru", False, True, True)
    needed = [True] * 8
    sound = [y, reserve, torch.ones_like(y), torch.ones_like(h_n), None]

    def run(results, needed=needed):
        tensors = values.values()
        return torch.ops.elman.recurrence_backward(*tensors, *results, needed, "gru", False, True)

    run(sound)
    for change in (lambda t: t[:1], torch.Tensor.double, freed, lambda t: t.to("meta")):
        results = list(sound)
        results[place] = h_n if place == 4 else change(results[place])
        with pytest.raises(ShapeError):
            run(results)
    with pytest.raises(ShapeError, match="needed: got 2 values, expected 8"):
        run(sound, [True] * 2)


def test_memory_that_is_freed_between_forward_and_backward():
    values = {n: t if t is None else t.requires_grad_() for n, t in arguments(8, 64).items()}
    y, _ = function(values)
    values["weight_hh"].untyped_storage().resize_(0)
    with pytest.raises(ShapeError, match="weight_hh: its memory has 0 bytes"):
        y.sum().backward()


@pytest.mark.parametrize("cell", [GRU, LSTM], ids=str)
def test_an_input_without_width(cell):
    """The bias and the state alone; gradients have the shapes of their tensors."""
    torch.manual_seed(0)
    rows = len(cell.blocks) * H
    shapes = [(B, T, 0), (rows, 0), (rows, H), (rows,), (rows,)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    run = {"gru": ops.gru, "lstm": ops.lstm}[cell.name]
    y, _ = run(*inputs)
    expected, _ = run_reference(cell, *inputs, (None,) * len(cell.states), None, False)
    torch.testing.assert_close(y, expected)
    gradients = [torch.autograd.grad(out.sum(), inputs) for out in (y, expected)]
    for found, wanted in zip(*gradients, strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("shape", [(0, 2**40, I), (2**40, 0, I), (1, 2**60, I), (2**60, 1, I)])
def test_huge_sizes(shape):
    x = torch.zeros(()).expand(shape)
    values = arguments() | {"x": x, "h0": None}
    try:
        y, _ = function(values)
        assert y.numel() == 0
    except ShapeError as error:
        assert re.search("more memory than there is|calculation overflowed", str(error))


def test_a_view_with_the_opposite_signs_in_memory():
    """torch negates the imaginary part of a conjugate lazily."""
    values = arguments(width=1)
    x = torch.randn(B, T, 1, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    expected, _ = function(values | {"x": x.resolve_neg()})
    assert torch.equal(function(values | {"x": x})[0], expected)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_that_are_no_plain_tensors():
    values = arguments()
    with FakeTensorMode():
        fake = torch.zeros(3 * H, H)
    with pytest.raises(ShapeError, match="weight_hh"):
        function(values | {"weight_hh": fake})
    nested = torch.nested.nested_tensor([torch.zeros(2, I), torch.zeros(3, I)])
    with pytest.raises(ShapeError, match="x: got a nested tensor, expected a padded one"):
        function(values | {"x": nested})
    for wrong in (None, [1.0], torch.zeros(3 * H, H).numpy()):
        with pytest.raises(ShapeError, match=r"weight_hh: got a .*, expected a tensor"):
            function(values | {"weight_hh": wrong})


def test_the_checks_in_c_and_in_python_agree(monkeypatch):
    """Without DLPack's table, as in another version of torch, Python makes the same checks."""
    values = arguments()
    expected = operator(values)
    monkeypatch.setattr(_core, "read_layer", lambda *arguments: None)
    monkeypatch.setattr(_core, "read_tensors", lambda *arguments: False)
    for one, other in zip(operator(values), expected, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ShapeError, match="weight_hh: its memory has 4 bytes"):
        operator(values | {"weight_hh": freed(values["weight_hh"], 4)})


def test_the_native_network_checks_memory():
    model = make_model()
    x = torch.zeros(3, 4, model.config.input_size)
    with torch.no_grad():
        model(x)
        with pytest.raises(ShapeError, match="x: its memory has 4 bytes"):
            model(freed(x, 4))
        model.output.weight.untyped_storage().resize_(4)
        with pytest.raises(ShapeError, match=r"output\.weight: its memory has 4 bytes"):
            model(x)


def test_threads_are_bounded():
    with pytest.raises(SettingsError, match=r"threads: got 1000000000, expected .*1024"):
        validate_settings(TrainingSettings, {"threads": 10**9})
    before = torch.get_num_threads()
    with TorchThreads(10**9):
        assert torch.get_num_threads() <= native.USEFUL_THREADS
        assert native.count_threads() <= native.USEFUL_THREADS
    assert torch.get_num_threads() == before


def test_batches_of_inference_are_bounded():
    lengths = torch.randint(1, 100_000, (300,)).numpy()
    batches = list(batch_by_length(lengths, 256))
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= MOST_STEPS
    short = torch.full((600,), 50).numpy()
    assert [len(batch) for batch in batch_by_length(short, 256)] == [256, 256, 88]


def test_random_arguments_never_end_the_process():
    script = Path(__file__).with_name("fuzz_operators.py")
    done = subprocess.run(
        [sys.executable, str(script), "1", "400"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["faults"], found["faults"]
    assert found["equal to the reference"] > 20
    assert found["refused by elman"] > 100
