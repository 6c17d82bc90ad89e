"""One native call for loss and gradients against the equations in float64, over every combination.

Rows are ragged, NaN stands in their padding, and working memory is full of NaN when handed out.
"""

import itertools
from dataclasses import dataclass

import pytest
import torch
from cases import CHANNELS, VOCABULARY, add_categories, make_model, past_end
from reference_model import native_loss, native_of, reference_logits, reference_loss
from tolerances import assert_close

from elman import _core
from elman.train.gradients import draw_masks

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
LAYERS = [1, 2, 3]
DIRECTIONS = [False, True]
READOUTS = ["last", "mean", "max", "every"]
INPUTS = ["numbers", "tokens", "mixed"]
LOSSES = ["plain", "weights", "smoothing", "both", "squared"]
DROPOUT = [0.0, 0.4]
DTYPES = [torch.float64, torch.float32]
STEP = 23  # divides none of the numbers of choices, so a sample has all pairs of choices


@pytest.fixture(autouse=True)
def _poison():
    _core.poison(True)
    yield
    _core.poison(False)


@dataclass(frozen=True)
class Case:
    """A model, a batch and a loss; sizes, off the width of vectors, change from case to case."""

    number: int
    cell: str
    nonlinearity: str
    layers: int
    bidirectional: bool
    readout: str
    inputs: str
    loss: str
    dropout: float
    dtype: torch.dtype
    B: int = 0
    H: int = 0
    K: int = 0
    T: int = 6

    def model(self):
        return make_model(
            self.cell,
            self.readout,
            tokens=self.inputs == "tokens",
            mixed=self.inputs == "mixed",
            nonlinearity=self.nonlinearity,
            num_layers=self.layers,
            bidirectional=self.bidirectional,
            hidden_size=self.H or (5, 17, 8)[self.number % 3],
            num_outputs=self.K or (3, 19, 2)[self.number // 3 % 3],
            dropout=self.dropout,
        ).to(self.dtype)

    def batch(self, model):
        """x, lengths and target, with NaN, or ids that are none, past each row's end."""
        K, every = model.config.num_outputs, self.readout == "every"
        B, T = self.B or (7, 35)[self.number // 7 % 2], self.T
        lengths = torch.randint(1, T + 1, (B,))
        lengths[self.number % B] = T
        outside = torch.arange(T) >= lengths[:, None]
        if self.inputs == "tokens":
            x = torch.randint(0, VOCABULARY, (B, T)).masked_fill(outside, -(10**9))
        else:
            x = torch.randn(B, T, CHANNELS, dtype=self.dtype)
            x = add_categories(x) if self.inputs == "mixed" else x
            x[outside] = float("nan")
        items = (B, T) if every else (B,)
        if self.loss == "squared":
            target = torch.randn(*items, K, dtype=self.dtype)
            if every:
                target[outside] = float("nan")
        else:
            target = torch.randint(0, K, items)
            if every:
                target[outside] = 10**9
        return x, lengths, target

    def options(self, K):
        options = {}
        if self.loss in ("weights", "both"):
            options["class_weight"] = torch.rand(K, dtype=self.dtype) + 0.5
        if self.loss in ("smoothing", "both"):
            options["label_smoothing"] = 0.1
        return options


def every_case():
    choices = itertools.product(
        CELLS, LAYERS, DIRECTIONS, READOUTS, INPUTS, LOSSES, DROPOUT, DTYPES
    )
    return [Case(i, *cell, *rest) for i, (cell, *rest) in enumerate(choices)]


def compare(case):
    """Loss, logits and all gradients of a case against the equations in float64."""
    torch.manual_seed(case.number)
    model = case.model()
    x, lengths, target = case.batch(model)
    options = case.options(model.config.num_outputs)
    masks = draw_masks(model.config, *x.shape[:2]) if case.dropout else None
    loss, logits, gradients = native_loss(model, x, lengths, target, masks=masks, **options)

    double = model.double()
    wide = {n: o.double() if isinstance(o, torch.Tensor) else o for n, o in options.items()}
    expected = reference_logits(
        double, x if case.inputs == "tokens" else x.double(), lengths, masks
    )
    target = target.double() if target.is_floating_point() else target
    expected_loss = reference_loss(expected, target, lengths, **wide)
    wanted = torch.autograd.grad(expected_loss, list(double.parameters()))
    line = str(case.dtype).removeprefix("torch.")
    if case.readout == "every":
        outside = past_end(logits, lengths)
        assert (logits[outside] == 0).all()
        logits, expected = logits[~outside], expected[~outside]
    assert_close(
        torch.tensor(loss, dtype=case.dtype), expected_loss.detach(), line, f"loss, {case}"
    )
    assert_close(logits, expected.detach(), line, f"logits, {case}")
    for (name, gradient), want in zip(gradients.items(), wanted, strict=True):
        assert_close(gradient, want, line, f"{name}, {case}")


def of(cell, layers, bidirectional, cases):
    return [
        c
        for c in cases
        if ((c.cell, c.nonlinearity), c.layers, c.bidirectional) == (cell, layers, bidirectional)
    ]


each_stack = pytest.mark.parametrize(
    ("cell", "layers", "bidirectional"),
    list(itertools.product(CELLS, LAYERS, DIRECTIONS)),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)


@each_stack
def test_a_sample_of_the_combinations(cell, layers, bidirectional):
    for case in of(cell, layers, bidirectional, every_case()[::STEP]):
        compare(case)


@pytest.mark.slow
@each_stack
def test_every_combination(cell, layers, bidirectional):
    for case in of(cell, layers, bidirectional, every_case()):
        compare(case)


def test_the_sample_has_every_pair_of_choices():
    def pairs(cases):
        choices = [
            (
                ("cell", c.cell, c.nonlinearity),
                ("layers", c.layers),
                ("both", c.bidirectional),
                ("readout", c.readout),
                ("inputs", c.inputs),
                ("loss", c.loss),
                ("dropout", c.dropout),
                ("dtype", c.dtype),
            )
            for c in cases
        ]
        return {pair for choice in choices for pair in itertools.combinations(choice, 2)}

    assert pairs(every_case()[::STEP]) == pairs(every_case())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H", [1, 15, 16, 33])
@pytest.mark.parametrize("B", [1, 7, 35, 100])
def test_sizes_off_the_vector_width_and_many_chunks(B, H, dtype):
    """gradient_chunks in csrc/batch.cpp cuts B rows into B / 16 chunks."""
    for number, (cell, nonlinearity) in enumerate(CELLS):
        readout = READOUTS[(number + B + H) % 4]
        compare(
            Case(
                B * H + number,
                cell,
                nonlinearity,
                1 + number % 2,
                bool(H % 2),
                readout,
                INPUTS[number % 3],
                LOSSES[(number + H) % 4],
                0.0,
                dtype,
                B=B,
                H=H,
                K=(1, 19)[number % 2],
            )
        )


@pytest.mark.parametrize("K", [1, 2, 15, 16, 17, 19])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_classes(K, loss, dtype):
    """One class leaves nothing to learn: its loss is 0, and so is its gradient."""
    compare(Case(1, "gru", "tanh", 1, True, "last", "numbers", loss, 0.0, dtype, K=K))


@pytest.mark.parametrize("isa", _core.isas())
@each_stack
def test_each_instruction_set(isa, cell, layers, bidirectional):
    before = _core.isa()
    _core.use_isa(isa)
    try:
        for case in of(cell, layers, bidirectional, every_case()[:: 7 * STEP]):
            compare(case)
    finally:
        _core.use_isa(before)


def long_case(dtype):
    return Case(3, "lstm", "tanh", 2, True, "max", "mixed", "plain", 0.4, dtype, T=63)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_steps(dtype):
    compare(long_case(dtype))


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("readout", READOUTS)
def test_few_steps(readout, T):
    for number, (cell, nonlinearity) in enumerate(CELLS):
        case = Case(
            number, cell, nonlinearity, 2, True, readout, "tokens", "plain", 0.4, DTYPES[0], T=T
        )
        compare(case)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("layers", [1, 3])
def test_masks_keep_the_stated_share(layers, readout, inputs):
    """Drawn by torch's generator, each by itself, in the shapes of what they fall on."""
    kind = {} if inputs == "numbers" else {inputs: True}
    model = make_model("gru", readout, **kind, num_layers=layers, dropout=0.2)
    torch.manual_seed(1)
    masks = draw_masks(model.config, 200, 30)
    steps, read = (200, 30, 6), (200, 6)
    # The two columns of categories have embeddings of 4 and 3, and one mask.
    embedded = {"numbers": [], "tokens": [(200, 30, 4)], "mixed": [(200, 30, 4 + 3)]}[inputs]
    expected = embedded + [steps] * (layers - 1)
    assert [mask.shape for mask in masks] == [*expected, steps if readout == "every" else read]
    for mask in masks:
        assert abs(float(mask.float().mean()) - 0.8) < 5 * (0.16 / mask.numel()) ** 0.5
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(masks, 2))
    torch.manual_seed(1)
    again = draw_masks(model.config, 200, 30)
    assert all(torch.equal(a, b) for a, b in zip(masks, again, strict=True))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("loss", LOSSES[:4])
@pytest.mark.parametrize("absent", [-1, -100, -(2**62)])
def test_codes_below_0_count_for_nothing(readout, loss, absent):
    """As torch's ignore_index, but every negative code."""
    case = Case(5, "gru", "tanh", 1, True, readout, "numbers", loss, 0.0, torch.float64)
    model = case.model()
    x, lengths, target = case.batch(model)
    options = case.options(model.config.num_outputs)
    holes = torch.rand(target.shape) < 0.5
    holes.view(-1)[0] = True
    holes.view(-1)[-1] = holes[1] = False
    target = target.masked_fill(holes, absent)
    loss, _, gradients = native_loss(model, x, lengths, target, **options)
    expected = reference_loss(reference_logits(model, x, lengths), target, lengths, **options)
    assert_close(torch.tensor(loss, dtype=torch.float64), expected.detach(), "float64")
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for (name, gradient), want in zip(gradients.items(), wanted, strict=True):
        assert_close(gradient, want, "float64", name)


@pytest.mark.parametrize("readout", ["last", "every"])
def test_extreme_logits(readout):
    """A network that is very sure: no overflow, and a loss as torch's."""
    model = make_model("gru", readout).double()
    with torch.no_grad():
        model.output.weight.mul_(1e4)
    x, lengths = torch.randn(5, 4, CHANNELS, dtype=torch.float64), torch.tensor([4, 1, 2, 3, 4])
    target = torch.randint(0, 3, (5, 4) if readout == "every" else (5,))
    loss, _, gradients = native_loss(model, x, lengths, target, label_smoothing=0.1)
    expected = reference_loss(
        reference_logits(model, x, lengths), target, lengths, label_smoothing=0.1
    )
    assert expected > 100
    assert_close(torch.tensor(loss, dtype=torch.float64), expected.detach(), "float64")
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for (name, gradient), want in zip(gradients.items(), wanted, strict=True):
        assert_close(gradient, want, "float64", name)


@pytest.mark.parametrize("where", ["weight", "x"])
def test_nan_that_counts_is_seen(where):
    """NaN in a weight, or inside a sequence, ends in the loss and is never hidden."""
    model = make_model("gru", "max", num_layers=2)
    x, lengths = torch.randn(5, 4, CHANNELS), torch.tensor([4, 1, 2, 3, 4])
    with torch.no_grad():
        (model.recurrent.weight_hh_l0 if where == "weight" else x)[0, 0] = float("nan")
    loss, logits, _ = native_loss(model, x, lengths, torch.zeros(5, dtype=torch.int64))
    assert loss != loss
    assert logits[0].isnan().all()
    assert not logits[1:].isnan().any() or where == "weight"


def layouts(x):
    """The same numbers laid out in other ways."""
    wide = torch.full((*x.shape[:2], x.shape[2] + 3), float("nan"), dtype=x.dtype)
    wide[:, :, 1:-2] = x
    yield "time-major", x.transpose(0, 1).contiguous().transpose(0, 1)
    yield "part of wider rows", wide[:, :, 1:-2]
    yield "time-major part", wide.transpose(0, 1).contiguous().transpose(0, 1)[:, :, 1:-2]
    yield "gaps between steps", torch.stack([x, x + 1], 2).flatten(1, 2)[:, ::2]
    yield "channels apart", x.transpose(1, 2).contiguous().transpose(1, 2)
    yield "numbers apart", torch.stack([x, x + 1], -1)[..., 0]
    yield "negated view", torch.complex(x, -x).conj().imag
    yield "leaf that wants a gradient", x.clone().requires_grad_()


@pytest.mark.parametrize("lengths", [None, [3, 6, 1, 6]], ids=["full", "ragged"])
@pytest.mark.parametrize(("channels", "mixed"), [(1, False), (CHANNELS, False), (1, True)])
def test_memory_layouts_of_numbers(lengths, channels, mixed):
    model = make_model("gru", "every", bidirectional=True, input_size=channels, mixed=mixed)
    x = torch.randn(4, 6, channels)
    x = add_categories(x) if mixed else x
    ends = None if lengths is None else torch.tensor(lengths)
    target = torch.randint(0, 3, (4, 6))
    loss, logits, gradients = native_loss(model, x, ends, target)
    for name, laid in layouts(x):
        assert torch.equal(laid, x), name
        with torch.no_grad():
            assert torch.equal(model(laid, ends), logits), name
        again, out, found = native_loss(model, laid, ends, target)
        assert (again, out.tolist()) == (loss, logits.tolist()), name
        assert all(torch.equal(found[n], gradients[n]) for n in gradients), name


@pytest.mark.parametrize("readout", ["last", "every"])
def test_memory_layouts_of_the_rest(readout):
    """Token ids and lengths as views and in other widths; targets; weights laid across."""
    model = make_model("lstm", readout, tokens=True)
    x, lengths = torch.randint(0, VOCABULARY, (4, 6)), torch.tensor([3, 6, 1, 6])
    target = torch.randint(0, 3, (4, 6) if readout == "every" else (4,))
    loss, logits, gradients = native_loss(model, x, lengths, target)
    variants = [
        (x.int(), lengths, target),
        (x.T.contiguous().T, lengths, target),
        (torch.stack([x, x - 99], -1)[..., 0], lengths, target),
        (x[:, :1].expand(4, 6), lengths, target),
        (x, torch.stack([lengths, lengths * 0], 1)[:, 0], target),
        (x, lengths.to(torch.int8), target),
        (x, lengths, target.to(torch.uint8)),
        (x, lengths, torch.stack([target, target - 9], -1)[..., 0]),
    ]
    for tokens, ends, wanted in variants:
        found = native_loss(model, tokens, ends, wanted)
        if tokens.shape == x.shape and torch.equal(tokens.long(), x):
            assert found[0] == loss
            assert torch.equal(found[1], logits)
            assert all(torch.equal(found[2][n], gradients[n]) for n in gradients)
        else:
            assert found[0] == native_loss(model, tokens.contiguous(), ends, wanted)[0]
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.T.contiguous().T
    found = native_loss(model, x, lengths, target)
    assert found[0] == loss
    assert all(torch.equal(found[2][n], gradients[n]) for n in gradients)


def test_gradients_of_embeddings_by_finite_differences():
    """Both tables beside numbers, codes that repeat within a row and one that never occurs."""
    model = make_model("lstm", "mean", mixed=True, bidirectional=True).double()
    x, lengths = add_categories(torch.randn(5, 4, CHANNELS).double()), torch.tensor([4, 1, 2, 3, 4])
    codes = x[..., CHANNELS]
    codes[codes == 6] = 5
    target = torch.randint(0, 3, (5,))
    _, _, gradients = native_loss(model, x, lengths, target)
    step = 1e-6
    for k, table in enumerate(model.embeddings):
        found = gradients[f"embeddings.{k}.weight"]
        differences = torch.zeros_like(found)
        for place in itertools.product(*map(range, found.shape)):
            losses = []
            for change in (step, -2 * step, step):  # up, down, and back where it was
                with torch.no_grad():
                    table.weight[place] += change
                losses.append(native_loss(model, x, lengths, target)[0])
            differences[place] = (losses[0] - losses[1]) / (2 * step)
        assert torch.allclose(found, differences, atol=1e-8, rtol=1e-5), k
        assert found.abs().max() > 1e-3
    assert (gradients["embeddings.0.weight"][6] == 0).all()


def test_gradients_in_any_order():
    """Room for gradients may be laid out in any order; names stay with their numbers."""
    model = make_model("gru", "mean", tokens=True)
    x, lengths = torch.randint(0, VOCABULARY, (4, 6)), torch.tensor([3, 6, 1, 6])
    target = torch.randint(0, 3, (4,))
    native, _ = native_of(model)
    _, _, plain = native_loss(model, x, lengths, target)
    order = torch.randperm(len(native.names)).tolist()
    _, _, mixed = native_loss(model, x, lengths, target, order=order)
    assert plain.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(plain[name], mixed[name]) for name in plain)
