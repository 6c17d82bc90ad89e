"""A cell defined here, with a step function alone, works wherever torch's cells do.

A minimal gated unit, whose gate acts after U; JANET, an LSTM with one gate; and an LSTM with
coupled gates, which has a second state.
"""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from cases import PADS, RAGGED, make_model, make_sequences, past_end, stack_rows, unregister_cell
from tolerances import assert_close
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, _core, load
from elman.errors import ModelFileError, SettingsError
from elman.layers import GRU, LSTM, RNN, Cell, Recurrent, initialise_recurrent, register_cell
from elman.models.unrolled import unroll
from elman.ops import cells
from elman.setting_list import list_settings
from elman.settings import CELL_NAMES

B, T, I, H = RAGGED.B, RAGGED.T, RAGGED.I, RAGGED.H


def mgu_step(a, u, states):
    """Zhou et al. 2016, arXiv:1603.09420, with the reset after the product as in torch's GRU."""
    sums = {"f": a["f"] + u["f"]}
    f = torch.sigmoid(sums["f"])
    sums["n"] = a["n"] + f * u["n"]
    n = torch.tanh(sums["n"])
    return sums, {"f": f, "n": n}, {"h": (1 - f) * states["h"] + f * n}


def janet_step(a, u, states):
    """van der Westhuizen & Lasenby 2018, arXiv:1804.04849."""
    sums = {name: a[name] + u[name] for name in ("f", "n")}
    f, n = torch.sigmoid(sums["f"]), torch.tanh(sums["n"])
    return sums, {"f": f, "n": n}, {"h": f * states["h"] + (1 - f) * n}


def coupled_step(a, u, states):
    """An LSTM whose input gate is 1 - f: Greff et al. 2017, arXiv:1503.04069."""
    sums = {name: a[name] + u[name] for name in ("f", "g", "o")}
    f, o, g = torch.sigmoid(sums["f"]), torch.sigmoid(sums["o"]), torch.tanh(sums["g"])
    c = f * states["c"] + (1 - f) * g
    return sums, {"f": f, "g": g, "o": o}, {"c": c, "h": o * torch.tanh(c)}


GATE, CANDIDATE = "sigmoid", "tanh"
MGU = Cell("mgu", ("f", "n"), mgu_step, activations={"f": GATE, "n": CANDIDATE})
JANET = Cell("janet", ("f", "n"), janet_step, title="JANET", biases={"f": 1.0})
COUPLED = Cell(
    "coupled",
    ("f", "g", "o"),
    coupled_step,
    states=("c", "h"),
    activations={"f": GATE, "g": CANDIDATE, "o": GATE},
    biases={"f": 1.0},
)
CUSTOM = [MGU, JANET, COUPLED]
each_cell = pytest.mark.parametrize("cell", CUSTOM, ids=lambda cell: cell.name)


@pytest.fixture
def registered():
    """The cells of this file under their names, for one test."""
    for cell in CUSTOM:
        register_cell(cell)
    yield
    for cell in CUSTOM:
        unregister_cell(cell)


def test_the_names_in_the_settings_are_those_of_the_table():
    assert list(cells.CELLS) == CELL_NAMES == ["rnn", "gru", "lstm"]
    assert [f.choices for f in list_settings() if f.name == "cell"] == [("rnn", "gru", "lstm")]


# Layers


def layer_of(cell, **options):
    torch.manual_seed(0)
    return Recurrent(cell, I, H, 2, dtype=torch.float64, **options)


def by_hand(layer, x, lengths, initial=None):
    """Outputs and final states of a stack, each row on its own, step by step by the equations."""
    cell, D, rows = layer.cell, layer.num_directions, []
    for b, n in enumerate(lengths.tolist()):
        below, ends, sides = x[b, :n], [], []
        for index, names in enumerate(layer._all_weights):
            W, U, *biases = (getattr(layer, name) for name in names)
            b_ih, b_hh = biases or (0.0, 0.0)
            states = dict.fromkeys(cell.states, x.new_zeros(1, layer.hidden_size))
            if initial is not None:
                states = {
                    k: s[index, b : b + 1]
                    for k, s in zip(cell.initial_states, initial, strict=True)
                }
            outputs = {}
            for t in range(n)[:: -1 if index % D else 1]:
                a, u = below[t : t + 1] @ W.T + b_ih, states["h"] @ U.T + b_hh
                _, _, states = cell.step(cell.split(a), cell.split(u), states)
                outputs[t] = states["h"]
            ends.append([states[name] for name in cell.initial_states])
            done = torch.cat([outputs[t] for t in range(n)])
            sides.append(done)
            if len(sides) == D:
                below, sides = torch.cat(sides, -1), []
        padded = x.new_zeros(x.shape[1], below.shape[1])
        padded[:n] = below
        rows.append((padded, ends))
    final = [
        torch.stack([torch.cat([ends[i][k] for _, ends in rows]) for i in range(len(rows[0][1]))])
        for k in range(len(cell.states))
    ]
    return [torch.stack([y for y, _ in rows]), *final]


def flat(result):
    return torch.utils._pytree.tree_leaves(result)


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("start", [False, True], ids=["zeros", "initial states"])
def test_layers_directions_lengths_states_and_forms(cell, bidirectional, bias, start):
    layer = layer_of(cell, bidirectional=bidirectional, bias=bias, batch_first=True)
    x = torch.randn(B, T, I, dtype=torch.float64)
    lengths = RAGGED.ends
    count = len(layer._all_weights)
    states = [torch.randn(count, B, H, dtype=torch.float64) for _ in cell.states]
    hx = None if not start else states[0] if len(states) == 1 else tuple(states)
    expected = by_hand(layer, x, lengths, states if start else None)
    for found, other in zip(flat(layer(x, hx, lengths)), expected, strict=True):
        assert_close(found, other, "float64")
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = layer(packed, hx)
    found = [pad_packed_sequence(y, batch_first=True, total_length=T)[0], *flat(final)]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, "float64")
    layer.batch_first = False
    found = flat(layer(x.transpose(0, 1), hx, lengths))
    assert_close(found[0].transpose(0, 1), expected[0], "float64")
    one = None if hx is None else hx[:, 0] if len(states) == 1 else tuple(s[:, 0] for s in hx)
    assert_close(layer(x[0], one)[0], expected[0][0], "float64")  # its length is T


@each_cell
@pytest.mark.parametrize("lengths", [None, (3, 1), (3, 0)], ids=str)
def test_gradients(cell, lengths):
    """First and second derivatives are those of finite differences."""
    layer = Recurrent(cell, 2, 2, 2, bidirectional=True, dtype=torch.float64)
    ends = None if lengths is None else torch.tensor(lengths)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    states = [torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True) for _ in cell.states]
    names = [name for name, _ in layer.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def run(x, *others):
        hx, values = others[: len(states)], others[len(states) :]
        arguments = (x, hx[0] if len(hx) == 1 else tuple(hx), ends)
        return tuple(
            flat(
                torch.func.functional_call(layer, dict(zip(names, values, strict=True)), arguments)
            )
        )

    assert torch.autograd.gradcheck(run, (x, *states, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *states, *weights), fast_mode=True)


@each_cell
@pytest.mark.parametrize("pad", PADS)
def test_padding_never_changes_a_result(cell, pad):
    layer = layer_of(cell, bidirectional=True, batch_first=True)
    x = torch.randn(B, T, I, dtype=torch.float64)
    dirty = torch.where(past_end(x, RAGGED.ends)[:, :, None], pad, x).requires_grad_()
    clean = x.clone().requires_grad_()
    for one, other in zip(
        flat(layer(dirty, lengths=RAGGED.ends)),
        flat(layer(clean, lengths=RAGGED.ends)),
        strict=True,
    ):
        assert torch.equal(one, other)
    gradients = [
        torch.autograd.grad(layer(values, lengths=RAGGED.ends)[0].square().sum(), values)[0]
        for values in (clean, dirty)
    ]
    assert torch.equal(*gradients)
    assert (gradients[1][past_end(x, RAGGED.ends)] == 0).all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_a_cell_of_the_table_is_the_layer_of_that_name():
    """`Recurrent` on a cell with a kernel uses it, and makes torch's weights from torch's seed."""
    for name, kind in (("rnn", RNN), ("gru", GRU), ("lstm", LSTM)):
        torch.manual_seed(3)
        other = kind(I, H, 2, bidirectional=True)
        torch.manual_seed(3)
        ours = Recurrent(name, I, H, 2, bidirectional=True)
        assert ours.state_dict().keys() == other.state_dict().keys()
        assert all(
            torch.equal(a, b) for a, b in zip(ours.parameters(), other.parameters(), strict=True)
        )
        x, lengths = torch.randn(T, B, I), RAGGED.ends
        results = [flat(layer(x, lengths=lengths)) for layer in (ours, other)]
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
        # Forward-mode derivatives, which no kernel has: torch's, one layer after the other.
        ours, other, x = ours.double(), other.double(), x.double()
        _, found = torch.func.jvp(lambda t: ours(t)[0], (x,), (x,))  # noqa: B023
        _, expected = torch.func.jvp(lambda t: other(t)[0], (x,), (x,))  # noqa: B023
        assert_close(found, expected, "float64")


def test_copies_and_representation():
    layer = layer_of(MGU, bidirectional=True)
    x = torch.randn(T, B, I, dtype=torch.float64)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], layer(x)[0])
    assert repr(layer) == "Recurrent(mgu, 3, 5, num_layers=2, bidirectional=True)"
    assert (str(MGU), str(JANET)) == ("MGU", "JANET")


def test_first_biases_are_the_cells():
    layer = layer_of(JANET)
    initialise_recurrent(layer)
    expected = torch.cat([torch.ones(H), torch.zeros(H)]).double()  # f, n
    assert torch.equal(layer.bias_ih_l1.detach(), expected)
    assert not layer.bias_hh_l1.any()


@pytest.mark.gpu
@each_cell
def test_cuda_runs_the_reference_loop(cell):
    layer = layer_of(cell, bidirectional=True)
    x = torch.randn(T, B, I, dtype=torch.float64)
    expected = flat(layer(x, lengths=RAGGED.ends))
    found = flat(layer.cuda()(x.cuda(), lengths=RAGGED.ends))
    for one, other in zip(found, expected, strict=True):
        assert_close(one.cpu(), other, "float64")


def test_compiled():
    layer = layer_of(MGU, batch_first=True)
    x = torch.randn(B, 3, I, dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert_close(compiled(x)[0], layer(x)[0], "float64")


# Cells that cannot be


def step_of(**changes):
    """The minimal gated unit's step, with parts of what it returns replaced."""

    def step(a, u, states):
        found = dict(zip(("sums", "gates", "states"), mgu_step(a, u, states), strict=True))
        for name, change in changes.items():
            found[name] = change(found[name])
        return tuple(found.values())

    return step


def refused(pattern, name="broken", blocks=("f", "n"), step=mgu_step, **options):
    with pytest.raises(SettingsError, match=pattern):
        Cell(name, blocks, step, **options)


def test_a_cell_that_cannot_be_is_refused_when_it_is_made():
    refused("cell: got names", name="my cell")
    refused("expected one name or more", blocks=())
    refused("each once", blocks=("f", "f"))
    refused("expected h as the last", states=("h", "c"))
    refused("biases: 'g' is none of the blocks", biases={"g": 1.0})
    refused("fails on blocks .*KeyError: 'n'", blocks=("f",))
    refused("gates: got .*expected", step=step_of(gates=lambda g: {"f": g["f"]}))
    refused("states: got .*expected", step=step_of(states=lambda s: {**s, "c": s["h"]}))
    refused("h is .* for inputs", step=step_of(states=lambda s: {"h": s["h"].sum(-1)}))
    refused(
        "depends on the other rows", step=step_of(states=lambda s: {"h": s["h"] - s["h"].mean(0)})
    )


def test_arguments_that_cannot_be():
    for options, message in (
        ({"cell": "mgu"}, "cell: got 'mgu', expected 'rnn', 'gru' or 'lstm'"),
        ({"input_size": 0}, "input_size: got 0"),
        ({"hidden_size": 2.5}, "hidden_size: got 2.5"),
        ({"dropout": 1.5}, "dropout: got 1.5"),
    ):
        with pytest.raises(SettingsError, match=message):
            Recurrent(**{"cell": MGU, "input_size": 2, "hidden_size": 3, **options})
    with pytest.warns(UserWarning, match="between layers only"):
        Recurrent(MGU, 2, 3, dropout=0.5)


def test_a_name_is_one_cells(registered):
    register_cell(MGU)  # again, the same
    other = dataclasses.replace(MGU)
    with pytest.raises(SettingsError, match=r"'mgu' is the name of another cell.*replace=True"):
        register_cell(other)
    register_cell(other, replace=True)
    assert cells.CELLS["mgu"] is other
    with pytest.raises(SettingsError, match="'gru' is the name of another cell"):
        register_cell(dataclasses.replace(MGU, name="gru"), replace=True)
    assert cells.CELLS["gru"] is cells.GRU


# Models and estimators


@each_cell
@pytest.mark.parametrize("readout", ["last", "mean", "every"])
def test_models(registered, cell, readout):
    """Unrolled, by modules and with any padding: the same; and one native call is refused."""
    model = make_model(cell.name, readout, num_layers=2, bidirectional=True).double()
    assert model.native() == f"cell {cell.name!r} has a step function but no kernel"
    rows = [row.double() for row in make_sequences([7, 1, 4])]
    x, lengths = stack_rows(rows)
    logits = model(x, lengths)
    done = unroll(model, x, lengths)
    valid = ~past_end(x, lengths) if readout == "every" else ...
    assert_close(done.outputs[valid], logits[valid], "float64")
    assert set(done.layers[0].steps[0].gates) == set(cell.gates)
    dirty, _ = stack_rows(rows, extra=3, pad=float("nan"))
    padded = model(dirty, lengths)
    assert_close(padded[:, :7][valid] if readout == "every" else padded, logits[valid], "float64")


def data(n=40, per_step=False):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(m, 2)).astype(np.float32) for m in rng.integers(2, 8, n)]
    if per_step:
        return X, [(x[:, 0] > 0).astype(int) for x in X]
    return X, np.array([int(x[:, 0].mean() > 0) for x in X])


@each_cell
@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger, SequenceRegressor])
def test_estimators_and_saving(registered, cell, kind, tmp_path):
    X, y = data(per_step=kind is SequenceTagger)
    if kind is SequenceRegressor:
        y = y.astype(float)
    estimator = kind(cell=cell.name, hidden_size=8, epochs=4, random_state=0).fit(X, y)
    assert f"cell {cell.name!r} has a step function but no kernel" in estimator.history_.gradients
    estimator.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for one, other in zip(estimator.predict(X), again.predict(X), strict=True):
        assert np.array_equal(one, other)
    unregister_cell(cell)
    try:
        with pytest.raises(
            ModelFileError, match=r"config.json: model: cell: .*register_cell\(cell"
        ):
            load(tmp_path / "model")
    finally:
        register_cell(cell)


def test_settings_know_a_registered_cell(registered):
    assert ("rnn", "gru", "lstm", "mgu", "janet", "coupled") in [f.choices for f in list_settings()]
    assert SequenceClassifier(cell="mgu").get_params()["cell"] == "mgu"
    with pytest.raises(SettingsError, match=r"expected .*'lstm', 'mgu', 'janet' or 'coupled'"):
        SequenceClassifier(cell="mguu").fit(*data())


# Of the table itself


def test_kept_is_what_the_kernels_keep():
    for name, cell in cells.KERNELS.items():
        widths = {H: _core.reserve_width(name, False, H) for H in (16, 64)}
        assert widths == {H: len(cell.kept) * H for H in widths}


@pytest.mark.parametrize("cell", cells.KERNELS.values(), ids=str)
def test_activations_are_those_of_the_step(cell):
    """The nonlinearity named in the table is the one that the step applies to its sum."""
    functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
    draw = lambda names: {name: torch.randn(3, 4, dtype=torch.float64) for name in names}  # noqa: E731
    sums, gates, states = cell.step(draw(cell.blocks), draw(cell.blocks), draw(cell.states))
    for name in cell.blocks:
        assert_close(
            {**states, **gates}[name], functions[cell.activations[name]](sums[name]), "exact"
        )
