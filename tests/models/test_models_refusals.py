"""What a model, or its native call, is handed wrongly is refused in words, and never read.

Working memory is full of NaN when handed out, and each refusal comes before anything is read.
"""

import re

import pytest
import torch
from cases import CATEGORIES, CHANNELS, CLASSES, VOCABULARY, make_model
from reference_model import native_loss, native_of

from elman import _core
from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.models.native import NativeModel, ParameterGradients
from elman.train.gradients import draw_masks

X = torch.zeros(3, 4, CHANNELS)
K = torch.zeros(3, 4, dtype=torch.int64)
L = torch.tensor([4, 1, 2])
FLOAT, INT = torch.float32, torch.int64
HUGE = 2**62


@pytest.fixture(autouse=True)
def _poison():
    _core.poison(True)
    yield
    _core.poison(False)


def token(value, row=0, step=0):
    x = K.clone()
    x[row, step] = value
    return x


def mixed(code, row=0, step=0, column=1):
    x = torch.zeros(3, 4, CHANNELS + len(CATEGORIES))
    x[row, step, CHANNELS + column] = code
    return x


# Model's kind of input, x, lengths, error, message. All of it is refused by the native call and by
# the modules, here in the first's words where they differ.
INPUT = [
    ("numbers", X, [4, 0, 2], ShapeError, "lengths: "),
    ("numbers", X, [4, -1, 2], ShapeError, "lengths: "),
    ("numbers", X, [5, 1, 2], ShapeError, "lengths: got "),
    ("numbers", X, [HUGE, 1, 2], ShapeError, "lengths: got "),
    ("numbers", X, [-HUGE, 1, 2], ShapeError, "lengths: "),
    ("numbers", X, [4.0, 1.0, 2.0], ShapeError, "lengths: got torch.float32, expected integers"),
    ("numbers", X, [True, True, True], ShapeError, "lengths: got torch.bool, expected integers"),
    ("numbers", X, [4, 1], ShapeError, "lengths: got (2,), expected (3,)"),
    ("numbers", X, [[4], [1], [2]], ShapeError, "lengths: got (3, 1), expected (3,)"),
    ("numbers", X, 4, ShapeError, "lengths: got (), expected (3,)"),
    ("numbers", X[:, :0], None, ShapeError, "lengths: "),
    ("numbers", X[:, :0], [0, 0, 0], ShapeError, "lengths: "),
    ("numbers", X[:, :0], [1, 1, 1], ShapeError, "ength"),
    ("numbers", X[0], None, ShapeError, f"x: got (4, {CHANNELS}), expected (B, T, {CHANNELS})"),
    ("numbers", X[..., :1], None, ShapeError, f"x: got (3, 4, 1), expected (B, T, {CHANNELS})"),
    ("numbers", X[..., None], None, ShapeError, "x: got (3, 4, 2, 1), expected"),
    ("numbers", X.double(), L, ShapeError, "x: got torch.float64, expected torch.float32"),
    ("numbers", X.half(), L, ShapeError, "x: got torch.float16, expected torch.float32"),
    ("numbers", X.long(), L, ShapeError, "x: got torch.int64, expected torch.float32"),
    ("numbers", X + 1j, L, ShapeError, "x: got torch.complex64, expected torch.float32"),
    ("numbers", X.to("meta"), L, ShapeError, "x: is on meta, expected cpu, where the model is"),
    ("numbers", X.tolist(), L, ShapeError, "x: got a list, expected a tensor"),
    ("numbers", X.numpy(), L, ShapeError, "x: got a ndarray, expected a tensor"),
    ("numbers", None, L, ShapeError, "x: got a NoneType, expected a tensor"),
    ("tokens", token(VOCABULARY), L, DataError, "x: got "),
    ("tokens", token(-1), L, DataError, "x: got "),
    ("tokens", token(HUGE), L, DataError, "x: got "),
    ("tokens", token(VOCABULARY, 2, 1), L, DataError, "x: got "),
    ("tokens", token(VOCABULARY, 1, 3), None, DataError, "x: got "),
    ("mixed", mixed(3), L, DataError, "x: got "),
    ("mixed", mixed(-1), L, DataError, "x: got "),
    ("mixed", mixed(7, 2, 1, column=0), L, DataError, "x: got "),
    ("mixed", mixed(2.0**62), L, DataError, "x: got "),
    ("mixed", mixed(float("nan")), L, DataError, "x: got "),
    ("mixed", X, L, ShapeError, f"x: got (3, 4, {CHANNELS}), expected (B, T, {CHANNELS + 2})"),
    ("tokens", K[..., None], L, ShapeError, "x: got (3, 4, 1), expected token ids (B, T)"),
    ("tokens", K[0], None, ShapeError, "x: got (4,), expected token ids (B, T)"),
    ("tokens", K.float(), L, ShapeError, "x: got torch.float32, expected torch.int64 or"),
    ("tokens", K.bool(), L, ShapeError, "x: got torch.bool, expected torch.int64 or"),
    ("tokens", K.short(), L, ShapeError, "x: got torch.int16, expected torch.int64 or"),
    ("tokens", K.to("meta"), L, ShapeError, "x: is on meta, expected cpu"),
]


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("path", ["native", "modules", "training"])
@pytest.mark.parametrize(("kind", "x", "lengths", "error", "message"), INPUT)
def test_input_that_cannot_be(kind, x, lengths, error, message, path, readout):
    inputs = {} if kind == "numbers" else {kind: True}
    model = make_model("lstm", readout, **inputs, bidirectional=True)
    ends = torch.tensor(lengths) if isinstance(lengths, list | int) else lengths
    with pytest.raises(error, match=re.escape(message)):
        if path == "training":
            steps = x.shape[1] if isinstance(x, torch.Tensor) and x.dim() > 1 else 4
            target = torch.zeros((3, steps) if readout == "every" else (3,), dtype=INT)
            native_loss(model, x, ends, target)
        else:
            with torch.set_grad_enabled(path == "modules"):
                model(x, ends)


def test_lengths_of_no_tensor():
    model = make_model()
    for path in (True, False):
        with torch.set_grad_enabled(path):
            assert torch.equal(model(X, [4, 1, 2]), model(X, torch.tensor([4, 1, 2])))
            with pytest.raises(ShapeError, match="lengths: got"):
                model(X, "412")


def test_the_first_token_that_is_none_is_named():
    model = make_model(tokens=True)
    with torch.no_grad(), pytest.raises(DataError, match="x: got token 12, expected 0 to 8"):
        model(token(12, 1), L)


@pytest.mark.parametrize("code", [3, -1, 12.5, float("nan"), float("inf")])
def test_the_first_code_that_is_none_is_named(code):
    model = make_model(mixed=True)
    shown = f"{code:f}" if isinstance(code, float) else code
    message = f"x: got category code {shown} in column 3, expected 0 to 2"
    with torch.no_grad(), pytest.raises(DataError, match=message):
        model(mixed(code, 1), L)


@pytest.mark.parametrize("readout", ["last", "mean", "max", "every"])
@pytest.mark.parametrize("tokens", [False, True])
def test_no_rows_have_no_logits_and_no_mean_loss(readout, tokens):
    model = make_model("gru", readout, tokens=tokens)
    x, per_step = (K if tokens else X)[:0], readout == "every"
    shape = (0, 4) if per_step else (0,)
    for lengths in (None, L[:0]):
        with torch.no_grad():
            assert model(x, lengths).shape == (*shape, CLASSES)
        with pytest.raises(ShapeError, match="x: got no sequences, expected at least one"):
            native_loss(model, x, lengths, torch.zeros(shape, dtype=INT))


def codes(shape, value=0, dtype=INT):
    return torch.full(shape, value, dtype=dtype)


@pytest.mark.parametrize(
    ("readout", "target", "error", "message"),
    [
        ("last", codes((3,), CLASSES), DataError, "target: got class 3, expected below 3"),
        ("last", codes((3,), HUGE), DataError, f"target: got class {HUGE}, expected below 3"),
        ("every", codes((3, 4), CLASSES), DataError, "target: got class 3, expected below 3"),
        ("last", codes((2,)), ShapeError, "target: got (2,), torch.int64 on cpu, expected (3,)"),
        ("last", codes((4,)), ShapeError, "target: got (4,)"),
        ("last", codes(()), ShapeError, "target: got ()"),
        ("last", codes((3, 1)), ShapeError, "target: got (3, 1)"),
        ("last", codes((3, 4)), ShapeError, "target: got (3, 4)"),
        ("every", codes((3,)), ShapeError, "target: got (3,), torch.int64 on cpu, expected (3, 4)"),
        ("every", codes((3, 3)), ShapeError, "target: got (3, 3)"),
        ("every", codes((4, 3)), ShapeError, "target: got (4, 3)"),
        ("every", codes((3, 5)), ShapeError, "target: got (3, 5)"),
        ("last", codes((3,), dtype=torch.bool), ShapeError, "target: got (3,), torch.bool"),
        ("last", codes((3,)) + 0j, ShapeError, "target: got (3,), torch.complex64"),
        ("last", codes((3,)).to("meta"), ShapeError, "target: got (3,), torch.int64 on meta"),
        ("last", codes((3,), dtype=FLOAT), ShapeError, "target: got (3,), torch.float32"),
        ("last", codes((3, 2), dtype=FLOAT), ShapeError, "expected (3, 3), torch.float32"),
        ("last", codes((3, 4), dtype=FLOAT), ShapeError, "target: got (3, 4), torch.float32"),
        (
            "last",
            codes((3, 3), dtype=torch.float64),
            ShapeError,
            "target: got (3, 3), torch.float6",
        ),
        ("every", codes((3, 3), dtype=FLOAT), ShapeError, "expected (3, 4, 3), torch.float32"),
        ("every", codes((3, 4, 2), dtype=FLOAT), ShapeError, "expected (3, 4, 3), torch.float32"),
    ],
)
def test_targets_that_cannot_be(readout, target, error, message):
    model = make_model("gru", readout)
    with pytest.raises(error, match=re.escape(message)):
        native_loss(model, X, L, target)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": torch.ones(2)}, ShapeError, "class_weight: got (2,), torch.float32"),
        ({"class_weight": torch.ones(4)}, ShapeError, "class_weight: got (4,), torch.float32"),
        (
            {"class_weight": torch.ones(3).double()},
            ShapeError,
            "class_weight: got (3,), torch.floa",
        ),
        ({"class_weight": codes((3,), 1)}, ShapeError, "class_weight: got (3,), torch.int64"),
        ({"class_weight": torch.ones(3, device="meta")}, ShapeError, "class_weight: got (3,)"),
        ({"label_smoothing": -0.1}, SettingsError, "label_smoothing: got -0.1, expected 0 to 1"),
        ({"label_smoothing": 1.5}, SettingsError, "label_smoothing: got 1.5, expected 0 to 1"),
        ({"masks": []}, ShapeError, "masks: got [], expected [(3, 4, 6), (3, 6)]"),
        ({"masks": [torch.ones(3, 4, 6) > 0]}, ShapeError, "masks: got [(3, 4, 6)], expected"),
        (
            {"masks": [torch.ones(3, 4, 6) > 0, torch.ones(3, 5) > 0]},
            ShapeError,
            "masks: got [(3, 4, 6), (3, 5)], expected",
        ),
        (
            {"masks": [torch.ones(3, 4, 6), torch.ones(3, 6)]},
            ShapeError,
            "masks: expected contiguous bool tensors on the CPU",
        ),
        (
            {"masks": [torch.ones(3, 6, 4).mT > 0, torch.ones(3, 6) > 0]},
            ShapeError,
            "masks: expected contiguous bool tensors on the CPU",
        ),
    ],
)
def test_options_that_cannot_be(options, error, message):
    model = make_model("gru", num_layers=2, dropout=0.5)
    with pytest.raises(error, match=re.escape(message)):
        native_loss(model, X, L, codes((3,)), **options)


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"class_weight": torch.ones(3)}])
def test_options_of_classes_do_not_go_with_numbers(options):
    with pytest.raises(SettingsError, match="only with classes as target"):
        native_loss(make_model(), X, L, torch.zeros(3, 3), **options)


def test_masks_of_another_batch():
    model = make_model("gru", tokens=True, dropout=0.5, num_layers=2)
    for batch, time in ((2, 4), (3, 5), (4, 3)):
        with pytest.raises(ShapeError, match="masks: got"):
            native_loss(model, K, L, codes((3,)), masks=draw_masks(model.config, batch, time))


def test_gradients_of_another_model():
    """Room for gradients is made by the model it is for, in an order that has each weight once."""
    model = make_model()
    native, weights = native_of(model)
    other = native_of(make_model(hidden_size=7))[0]
    with pytest.raises(ElmanError, match="gradients: got those of another model"):
        native.loss_and_gradients(weights, X, L, codes((3,)), ParameterGradients(other))
    for order in ([0], [0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 6]):
        with pytest.raises(ElmanError, match="expected each of 6 once"):
            ParameterGradients(native, order)


def test_weights_that_the_call_cannot_read():
    model = make_model("gru", tokens=True)
    native, _ = native_of(model)
    assert native.weights(model) is not None
    for other in (
        make_model("gru", tokens=True, hidden_size=7),
        make_model("lstm", tokens=True),
        make_model("gru", tokens=True, num_outputs=4),
        make_model("gru", tokens=True).double(),
        make_model("gru", tokens=True).to("meta"),
    ):
        assert native.weights(other) is None
    bidirectional = NativeModel(make_model("gru", tokens=True, bidirectional=True).config, FLOAT)
    assert bidirectional.weights(model) is None
    model.output.weight = torch.nn.Parameter(torch.zeros(CLASSES, 7))
    assert native.weights(model) is None


def test_the_order_of_names_is_torchs():
    for kind in ({}, {"tokens": True}, {"mixed": True}):
        model = make_model("lstm", **kind, bidirectional=True, num_layers=2)
        native, weights = native_of(model)
        names, parameters = zip(*model.named_parameters(), strict=True)
        assert tuple(".".join(name) for name in native.names) == names
        assert all(a is b for a, b in zip(weights, parameters, strict=True))
