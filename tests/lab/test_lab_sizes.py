"""Which sequences the page gets, and what is left out so that it stays small."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from cases import make_model, make_sequences

from elman.errors import SettingsError
from elman.lab.examples import choose_examples
from elman.lab.payload import describe_run
from elman.lab.sizes import decode_array, fit_size, size_of
from elman.models import SequenceModel


def made(count: int = 30, steps: int = 40, epochs: int = 10, **options: Any) -> dict[str, Any]:
    """A run with kept epochs, examples and labels."""
    model = make_model(**options)
    tokens, per_step = options.get("tokens", False), options.get("readout") == "every"
    X = make_sequences([steps] * count, tokens=tokens)
    y = [np.zeros(steps, dtype=int) if per_step else i % 3 for i in range(count)]
    kept = {k: model.state_dict() for k in range(epochs)}
    return describe_run(model, X, y, epochs=kept)


def test_what_fits_is_left_alone() -> None:
    run = made()
    same, notes = fit_size([run], size_of([run]))
    assert same == [run] and notes == []


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("tokens", [False, True])
def test_a_page_of_any_size(readout: str, tokens: bool) -> None:
    run = made(tokens=tokens, readout=readout)
    before, largest = copy.deepcopy(run), size_of([run])
    least = size_of([run["weights"]]) + 2000
    sizes = []
    for most in np.linspace(largest, least + 3000, 12).astype(int).tolist():
        (smaller,), notes = fit_size([run], most)
        sizes.append(size_of([smaller]))
        assert sizes[-1] <= most
        assert bool(notes) == (smaller != run)
        for example in smaller["examples"]:
            steps = example["x"]["shape"][0]
            assert example["tokens"] is None or len(example["tokens"]) == steps
            assert readout == "last" or example["target"]["shape"] == [steps]
        kept = [entry["epoch"] for entry in smaller["epochs"]]
        assert kept == sorted(kept) and (not kept or {0, 9} <= set(kept))
    assert sizes == sorted(sizes, reverse=True)
    assert run == before  # nothing of the caller's was changed


def test_weights_are_rounded_last_and_then_refused() -> None:
    run = made(count=3, steps=5, epochs=0, hidden_size=40)
    full = size_of([run])
    (smaller,), notes = fit_size([run], full - 100)
    assert smaller["weights"]["output.weight"]["dtype"] == "float16"
    assert "third digit" in notes[0] and len(smaller["examples"]) == 3
    whole, half = run["weights"]["output.weight"], smaller["weights"]["output.weight"]
    np.testing.assert_allclose(decode_array(half), decode_array(whole), rtol=1e-3)
    with pytest.raises(SettingsError, match=r"weights of the network take .*--hidden-size"):
        fit_size([run], full // 3)


def outputs(run: dict[str, Any], model: SequenceModel) -> np.ndarray:
    """Outputs for the first example, with the embedding of the payload."""
    table = torch.tensor(decode_array(run["weights"]["embedding.weight"]))
    x = torch.tensor(decode_array(run["examples"][0]["x"])).long()
    with torch.no_grad():
        h, _ = model.recurrent(table[x][None])
        return model.output(h[:, -1]).numpy()


def test_a_large_vocabulary_keeps_the_tokens_of_the_examples() -> None:
    torch.manual_seed(0)
    size = 3000
    model = make_model(tokens=True, vocabulary_size=size, embedding_size=8)
    x = torch.randint(2, size, (9,))
    run = describe_run(model, [x], [0])
    (smaller,), notes = fit_size([run], size_of([run]) // 3)
    assert len(smaller["vocabulary"]) == smaller["config"]["vocabulary_size"] < 520
    assert smaller["vocabulary"][:2] == ["<pad>", "<unknown>"]
    ids = decode_array(smaller["examples"][0]["x"])
    assert [smaller["vocabulary"][i] for i in ids] == [str(i) for i in x.tolist()]
    np.testing.assert_array_equal(outputs(smaller, model), outputs(run, model))
    assert any("tokens of the vocabulary" in note for note in notes)


def test_examples_of_every_kind_and_class() -> None:
    torch.manual_seed(1)
    model = make_model()
    with torch.no_grad():
        model.output.weight *= 10  # so that each class is predicted for some
        model.output.bias.zero_()
    X = make_sequences([int(n) for n in np.random.default_rng(0).integers(1, 9, 60)])
    with torch.no_grad():
        p = torch.stack([model(x[None])[0].softmax(-1) for x in X]).numpy()
    y = p.argmax(1)
    y[::4] = (y[::4] + 1) % 3  # every fourth label is another one
    chosen = choose_examples(model, X, y, most=18)
    assert len({example.index for example in chosen}) == 18
    by = {
        reason: [e.index for e in chosen if e.reason == reason]
        for reason in ("typical", "wrong", "undecided")
    }
    assert chosen[0].reason == "typical" and {len(v) for v in by.values()} == {6}
    assert all((p.argmax(1) == y)[by["typical"]]) and not any((p.argmax(1) == y)[by["wrong"]])
    wrong, right = np.flatnonzero(p.argmax(1) != y), np.flatnonzero(p.argmax(1) == y)
    assert len(set(y[right])) > 1 and len(set(y[wrong])) > 1
    assert set(y[by["typical"]]) == set(y[right]) and set(y[by["wrong"]]) == set(y[wrong])
    losses = -np.log(p[np.arange(60), y])
    assert wrong[losses[wrong].argmax()] in by["wrong"]
    two = np.sort(p, 1)
    assert (two[:, -1] - two[:, -2]).argmin() in by["undecided"]


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_examples_of_every_task_with_and_without_labels(task: Any, readout: str) -> None:
    model = make_model(task=task, readout=readout)
    X = make_sequences([3, 1, 5, 4])
    shape = () if task == "classification" else (3,)
    rng = np.random.default_rng(0)
    y = []
    for x in X:
        own = (len(x), *shape) if readout == "every" else shape
        drawn = rng.normal(size=own) if task == "regression" else rng.integers(0, 2, own)
        y.append(torch.as_tensor(drawn))
    for labels in (y, None):
        chosen = choose_examples(model, X, labels, most=10)
        assert sorted(example.index for example in chosen) == [0, 1, 2, 3]
    assert len(choose_examples(model, X, y, most=2)) == 2
