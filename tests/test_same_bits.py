"""Where a sequence has the same bits alone and in any batch: every combination is measured.

docs/layers.md has the list. What it promises is equal in every combination; what it excepts differs
in one at least, so that neither says more, or less, than is so.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import (
    KERNELS,
    READOUTS,
    VOCABULARY,
    add_categories,
    make_model,
    stack_rows,
    unregister_cell,
)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.layers import Cell, Recurrent, register_cell

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"
SECTION = "## The same bits in any batch"
LENGTHS = [9, 1, 4, 9, 2, 7, 3, 9, 5, 8, 6, 9, 9, 1, 2, 9, 7, 4, 3, 8, 9]
ALONE = [0, 1, 4, 12, 20]  # the rows that are compared
BATCHES = [list(range(21)), list(range(20, -1, -1)), [0, 1, 4, 12, 20, 3, 7], [20, 12], [4, 1, 0]]
I, H = 24, 40  # of several vectors, and large enough for torch's products to depend on the batch
EXACT = [torch.float32, torch.float64]


def step(a, u, states):
    f = torch.sigmoid(a["f"] + u["f"])
    n = torch.tanh(a["n"] + f * u["n"])
    return {"f": a["f"] + u["f"], "n": a["n"]}, {"f": f, "n": n}, {"h": states["h"] + f * n}


OWN = Cell("own_bits", ("f", "n"), step, activations={"f": "sigmoid", "n": "tanh"})


@pytest.fixture(scope="module", autouse=True)
def _own_cell():
    register_cell(OWN)
    yield
    unregister_cell(OWN)


def is_exact(run, rows):
    """Whether `run` gives each row the same in every batch as alone.

    Args:
        run: from a list of rows and the number of padding steps to a list of tensors for each row.
    """
    alone = {i: run([rows[i]], 0)[0] for i in ALONE}
    return all(
        all(torch.equal(a, b) for a, b in zip(found, alone[i], strict=True))
        for extra, batch in enumerate(BATCHES)
        for i, found in zip(batch, run([rows[i] for i in batch], extra), strict=True)
        if i in alone
    )


def drawn(dtype, width=I):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(n, width, generator=generator).to(dtype) for n in LENGTHS]


def make_layer(cell, dtype, **options):
    torch.manual_seed(1)
    if cell == "own":
        return Recurrent(OWN, I, H, dtype=dtype, **options)
    return cell.layer(I, H, dtype=dtype, **cell.layer_options(H), **options)


def layer_is_exact(layer, form, rows, wanted=False):
    """A layer's outputs and states, and with `wanted` the gradients of its input as well."""

    def run(batch, extra):
        x, lengths = stack_rows(batch, extra=extra, pad=float("nan"))
        x = (x if layer.batch_first else x.transpose(0, 1)).requires_grad_(wanted)
        if form == "packed":
            packed = pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=False)
            packed, final = layer(packed)
            y, _ = pad_packed_sequence(packed, layer.batch_first)
        else:
            y, final = layer(x, lengths=lengths)
        states = final if isinstance(final, tuple) else (final,)
        found = [y]
        if wanted:
            found += torch.autograd.grad((y * y).sum(), x)
        found = [t if layer.batch_first else t.transpose(0, 1) for t in found]
        return [
            [t[i, :n] for t in found] + [s[:, i] for s in states] for i, n in enumerate(lengths)
        ]

    with torch.set_grad_enabled(wanted):
        return is_exact(run, rows)


def layers_are_exact(cells, dtypes, wanted=False, forms=("padded", "packed")):
    """Results for every combination of cell, dtype, directions, depth, biases and form."""
    return [
        layer_is_exact(
            make_layer(
                cell,
                dtype,
                bidirectional=both,
                num_layers=1 + deep,
                bias=bias,
                batch_first=both != bias,
            ),
            form,
            drawn(dtype),
            wanted,
        )
        for cell, dtype, both, deep, bias, form in itertools.product(
            cells, dtypes, *[(False, True)] * 3, forms
        )
    ]


def model_is_exact(model, inputs, dtype, mode):
    generator = torch.Generator().manual_seed(2)
    if inputs == "tokens":
        rows = [torch.randint(0, VOCABULARY, (n,), generator=generator) for n in LENGTHS]
    else:
        rows = drawn(dtype)
        rows = [add_categories(r, generator) for r in rows] if inputs == "mixed" else rows

    def run(batch, extra):
        pad = -1 if inputs == "tokens" else float("nan")
        x, lengths = stack_rows(batch, extra=extra, pad=pad)
        # Drawn from the row, so that it is the same in every batch.
        static = torch.stack([row.double().sum().repeat(3) % torch.arange(2, 5) for row in batch])
        with mode():
            given = (static.to(dtype),) if model.config.static_size else ()
            logits = model(x, lengths, *given).detach()
        each = [logits[i, :n] if logits.dim() == 3 else logits[i] for i, n in enumerate(lengths)]
        return [[row] for row in each]

    return is_exact(run, rows)


def models_are_exact(
    cells,
    dtypes,
    modes=(torch.no_grad, torch.inference_mode),
    readouts=READOUTS,
    change=lambda model: model,
    **options,
):
    """Results for every combination of cell, input, readout, directions, dtype and mode."""
    found = []
    for cell, inputs, readout, both, dtype in itertools.product(
        cells, ("numbers", "tokens", "mixed"), readouts, (False, True), dtypes
    ):
        model = make_model(
            cell,
            readout,
            **({} if inputs == "numbers" else {inputs: True}),
            input_size=0 if inputs == "tokens" else I,
            hidden_size=H,
            num_outputs=19,
            bidirectional=both,
            num_layers=1 + both,
            **options,
        )
        model = change(model.to(dtype))
        found += [model_is_exact(model, inputs, dtype, mode) for mode in modes]
    return found


def estimators_are_exact():
    """Probabilities and values of every task and kind of input, of one sequence and of many."""
    rng = np.random.default_rng(0)
    numbers = [rng.normal(size=(n, 3)) for n in LENGTHS]
    words = [list(rng.choice(["a", "b", "c"], n)) for n in LENGTHS]
    mixed = [[(*row.tolist(), "on" if row[0] > 0 else "off") for row in x] for x in numbers]
    mixed = [np.array(rows, dtype=object) for rows in mixed]
    labels = [["x", "y", "z"][i % 3] for i in range(21)]
    several = [{"x"} if i % 2 else {"x", "y"} for i in range(21)]
    values = [float(len(x)) for x in numbers]
    tags = [["u" if v > 0 else "d" for v in x[:, 0]] for x in numbers]
    options = {"hidden_size": 20, "epochs": 1, "validation": 0.0, "random_state": 0}
    found = []
    for kind, y in ((SequenceClassifier, labels), (SequenceClassifier, several)):
        for X in (numbers, words, mixed):
            model = kind(**options).fit(X, y)
            found.append(estimator_is_exact(model.predict_proba, X))
    for y, readout in ((values, "mean"), ([x[:, :2] for x in numbers], "every")):
        model = SequenceRegressor(**options, readout=readout).fit(numbers, y)
        found.append(estimator_is_exact(model.predict, numbers))
    taggers = [(SequenceTagger(**options).fit(X, tags), X) for X in (numbers, words, mixed)]
    return found + [estimator_is_exact(model.predict_proba, X) for model, X in taggers]


def estimator_is_exact(predict, X):
    def run(batch, extra):
        return [[torch.as_tensor(np.asarray(p))] for p in predict(batch)]

    return is_exact(run, X)


def compiled_layers_are_exact():
    """Of the layer with the most arguments; the operator is the same for all."""
    torch._dynamo.reset()
    layer = make_layer(KERNELS[-1], torch.float32, bidirectional=True, batch_first=True)
    compiled = torch.compile(layer, backend="eager", fullgraph=True, dynamic=True)
    return [layer_is_exact(compiled, "padded", drawn(torch.float32))]


def under_autocast():
    layer = make_layer(KERNELS[3], torch.float32, batch_first=True)
    with torch.autocast("cpu", torch.bfloat16):
        return [layer_is_exact(layer, "padded", drawn(torch.float32))]


def with_hook(model):
    model.register_forward_pre_hook(lambda *_: None)
    return model


CELLS = ["rnn", "gru", "lstm"]
NO_GRAD = (torch.no_grad,)
# Rows of the page's table, and what measures them.
PROMISES = {
    "layers and `elman.ops`, float32 and float64 on the CPU, `proj_size` included": (
        lambda: layers_are_exact(KERNELS, EXACT)
    ),
    "the same while gradients are recorded, and the gradients of their input": (
        lambda: layers_are_exact(KERNELS[2::2], EXACT[:1], True, ["padded"])
    ),
    "the same under torch.compile": compiled_layers_are_exact,
    "models of `rnn`, `gru` and `lstm` under `torch.no_grad`; numbers, tokens and categories": (
        lambda: models_are_exact(CELLS, EXACT)
    ),
    "the same with static features, whose sums are added in a fixed order": (
        lambda: models_are_exact(CELLS, EXACT, NO_GRAD, static_size=3, static_to="both")
    ),
    "estimators: probabilities, values and tags": estimators_are_exact,
}
EXCEPTIONS = {
    "float16 and bfloat16, autocast included": (
        lambda: (
            under_autocast() + layers_are_exact(KERNELS[3:4], [torch.bfloat16], forms=["padded"])
        )
    ),
    "a cell of one's own": (
        lambda: (
            layers_are_exact(["own"], EXACT[:1], forms=["padded"])
            + models_are_exact([OWN.name], EXACT[:1], NO_GRAD, ["last"])
        )
    ),
    "a model while gradients are recorded": (
        lambda: models_are_exact(["gru"], EXACT[:1], (torch.enable_grad,))
    ),
    "a model that is not `is_exact()`, such as one with a hook, and torch.compile": (
        lambda: models_are_exact(["gru"], EXACT[:1], change=with_hook)
    ),
}
# On the page, and not measured here.
OTHERS = ["CUDA and other devices", "explanations, which repeat a network in plain torch"]


@pytest.mark.parametrize("what", PROMISES)
def test_promised(what):
    found = PROMISES[what]()
    assert all(found), f"{found.count(False)} of {len(found)} combinations differ"


@pytest.mark.parametrize("what", EXCEPTIONS)
def test_excepted(what):
    """The page would promise too little if all were equal."""
    assert not all(EXCEPTIONS[what]())


def test_the_page_says_what_is_measured():
    text = PAGE.read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    rows = [tuple(line.split(" | ")) for line in text.splitlines() if line.startswith("| ")]
    expected = [(f"| {what}", "yes |") for what in PROMISES]
    expected += [(f"| {what}", "no |") for what in (*EXCEPTIONS, *OTHERS)]
    assert rows[2:] == expected
