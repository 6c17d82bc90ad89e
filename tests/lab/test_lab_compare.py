"""Two runs, or two epochs, side by side: what the page shows against what the networks answer."""

import json
import re

import numpy as np
import pytest
from cases import make_model, make_sequences
from joined import join_modules

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.lab.page import build_page
from elman.lab.payload import describe_run

OPTIONS = {"epochs": 2, "validation": 0, "hidden_size": 5}
TEXT = "document.querySelector('#panel-compare').textContent"


def write_page(tmp_path, *runs, name="compare.html"):
    fields = {"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": []}
    path = tmp_path / name
    path.write_text(build_page({**fields, "runs": list(runs)}), encoding="utf-8")
    return path


def table(page, part):
    """Rows of a table as texts."""
    page.wait_for(f"document.querySelector('#compare-{part} tbody') !== null", 10)
    return page.run(
        f"[...document.querySelectorAll('#compare-{part} table:first-of-type tr')].map(row =>"
        " [...row.cells].map(cell => cell.textContent))"
    )


def number(text):
    return float(text.replace("−", "-").replace("%", ""))


def data(kind, count=24):
    """Sequences of other ranges for each run, so that their scaling differs."""
    rng = np.random.default_rng(0)
    if kind == "tokens":
        return ["".join(rng.choice(list("abcde"), 6)) for _ in range(count)]
    X = []
    for _ in range(count):
        x = np.empty((6, 2), dtype=object)
        x[:, 0] = rng.normal(20, 5, 6)
        x[:, 1] = rng.choice(["low", "high", "none"], 6) if kind == "mixed" else rng.normal(size=6)
        X.append(x)
    return X


@pytest.mark.parametrize("kind", ["numbers", "mixed", "tokens"])
def test_two_runs_with_their_own_scaling_and_codes(browser, tmp_path, kind):
    X = data(kind)
    y = ["p", "q", "r"] * 8
    static = {"age": [20.0 + i for i in range(24)], "ward": ["east", "west", "west"] * 8}
    make = SequenceClassifier(cell="gru", random_state=0, **OPTIONS)
    other = SequenceClassifier(cell="lstm", random_state=1, learning_rate=0.02, **OPTIONS)
    # The second sees fewer sequences: other means, and categories and tokens that it does not know.
    first = make.fit(X, y, static=static)
    few = {name: values[:9] for name, values in static.items()}
    second = other.fit([x[:4] for x in X[:9]], y[:9], static=few)
    names = [f"row {i}" for i in range(24)]
    encoded = [model.encode(X, static=static) for model in (first, second)]
    runs = [
        describe_run(model, inputs, y, name=name, sequence_names=names)
        for model, inputs, name in zip((first, second), encoded, ("one", "two"), strict=True)
    ]
    probabilities = [m.predict_proba(x) for m, x in zip((first, second), encoded, strict=True)]
    right = [
        p.argmax(1) == [list(m.classes_).index(v) for v in y]
        for m, p in zip((first, second), probabilities, strict=True)
    ]
    path = write_page(tmp_path, *runs)
    with browser.open_page(path, address="#example=20") as page:
        page.place("#compare-answers")
        head, *rows = table(page, "answers")
        assert head == ["Output", "one", "two", "Difference"] and len(rows) == 3
        for name, left, right_text, difference in rows:
            k = list(first.classes_).index(name)
            expected = [p[20, k] for p in probabilities]
            assert [number(left), number(right_text)] == pytest.approx(expected, rel=6e-3, abs=1e-5)
            change = expected[1] - expected[0]
            assert number(difference) == pytest.approx(change, rel=6e-3, abs=1e-5)

        counts = {row[0]: int(row[1]) for row in table(page, "examples")[1:]}
        both, one, two = (right[0] & right[1], right[0] & ~right[1], ~right[0] & right[1])
        assert counts == {"Both right": both.sum(), "Only one": one.sum(), "Only two": two.sum(),
                          "Neither": 24 - (both | one | two).sum()}  # fmt: skip
        listed = page.run(
            "[...document.querySelectorAll('#compare-examples button')].map(b => b.textContent)"
        )
        assert listed[: min(12, one.sum())] == [names[i] for i in np.flatnonzero(one)][:12]
        text = page.wait_for("document.querySelector('#compare-examples p')?.textContent", 10)
        shares = [number(part) for part in re.findall(r"([\d.]+) %", text)]
        assert shares == pytest.approx([100 * part.mean() for part in right], rel=6e-3)

        marked = page.run(
            "[...document.querySelectorAll('#compare-settings tr')].filter(row => "
            "row.querySelector('mark')).map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert sorted(row[0] for row in marked) == ["cell", "learning_rate", "random_state"]
        assert ["cell", "gru", "lstm"] in marked and ["random_state", "0", "1"] in marked
        page.check()


def test_two_epochs_of_one_run(browser, tmp_path):
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=(5, 1)) for _ in range(20)], ["p", "q"] * 10
    before = SequenceClassifier(random_state=0, **OPTIONS).fit(X, y)
    after = SequenceClassifier(random_state=0, **{**OPTIONS, "epochs": 6}).fit(X, y)
    epochs = {2: before.model_.state_dict()}
    path = write_page(tmp_path, describe_run(after, X, y, epochs=epochs))
    with browser.open_page(path, address='#compare={"run":0,"epoch":2}&step=3') as page:
        page.place("#compare-answers")
        head, *rows = table(page, "answers")
        assert head == ["Output", "final weights", "epoch 2", "Difference"]
        for name, late, early, _ in rows:
            k = list(after.classes_).index(name)
            expected = [model.predict_proba(X[:1])[0, k] for model in (after, before)]
            assert [number(late), number(early)] == pytest.approx(expected, rel=6e-3)
        weights = [model.model_.state_dict() for model in (after, before)]
        for name, change, share in table(page, "settings")[1:]:
            late, early = (each[name].numpy() for each in weights)
            expected = np.linalg.norm(late - early)
            assert number(change) == pytest.approx(expected, rel=6e-3)
            assert number(share) == pytest.approx(100 * expected / np.linalg.norm(late), rel=6e-3)
        # The page shows the early epoch: now the final weights are the ones beside it.
        page.run("location.hash = '#epoch=2'")
        page.wait_for(
            "document.querySelector('#compare-answers th + th').textContent === 'epoch 2'", 10
        )
        assert table(page, "answers")[0] == ["Output", "epoch 2", "final weights", "Difference"]
        page.check()


def test_errors_of_numbers_and_shares_of_steps(browser, tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(5, 1)) for _ in range(20)]
    y = [float(30 + 9 * x.sum()) for x in X]
    models = [
        SequenceRegressor(cell=cell, random_state=0, **OPTIONS).fit(X, y) for cell in ("gru", "rnn")
    ]
    errors = [np.abs(model.predict(X) - y) for model in models]
    names = [f"row {i}" for i in range(20)]
    runs = [describe_run(model, X, y, name=name, sequence_names=names)
            for model, name in zip(models, ("one", "two"), strict=True)]  # fmt: skip
    with browser.open_page(write_page(tmp_path, *runs)) as page:
        page.place("#compare-examples")
        text = page.wait_for("document.querySelector('#compare-examples p')?.textContent", 10)
        found = [number(part) for part in re.findall(r"(?:one|two) ([\d.]*\d)", text)]
        assert found == pytest.approx([part.mean() for part in errors], rel=6e-3)
        rows = table(page, "examples")[1:]
        assert [int(row[1]) for row in rows] == [0, *(
            sum(part) for part in (errors[0] < errors[1], errors[1] < errors[0]))]  # fmt: skip
        page.check()

    steps = [["lo" if value < 0 else "hi" for value in x[:, 0]] for x in X]
    steps[0][2] = None
    taggers = [
        SequenceTagger(cell=cell, random_state=0, **OPTIONS).fit(X, steps)
        for cell in ("gru", "rnn")
    ]
    shares = []
    for model in taggers:
        pairs = [
            np.mean([p == t for p, t in zip(found, true, strict=True) if t is not None])
            for found, true in zip(model.predict(X), steps, strict=True)
        ]
        shares.append(np.array(pairs))
    runs = [describe_run(model, X, steps, name=name, sequence_names=names)
            for model, name in zip(taggers, ("one", "two"), strict=True)]  # fmt: skip
    with browser.open_page(write_page(tmp_path, *runs)) as page:
        page.place("#compare-examples")
        text = page.wait_for("document.querySelector('#compare-examples p')?.textContent", 10)
        found = [number(part) for part in re.findall(r"([\d.]+) %", text)]
        assert found == pytest.approx([100 * part.mean() for part in shares], rel=6e-3)
        counts = [int(row[1]) for row in table(page, "examples")[1:]]
        assert counts[1:3] == [(shares[0] > shares[1]).sum(), (shares[1] > shares[0]).sum()]
        page.check()


def test_runs_of_other_data_are_compared_in_their_settings_only(browser, tmp_path):
    tokens = make_model("lstm", "mean", tokens=True)
    numbers = make_model("gru", "mean")
    runs = [
        describe_run(tokens, make_sequences([5, 6], tokens=True), name="tokens", settings={"a": 1}),
        describe_run(numbers, make_sequences([5, 6]), name="numbers", settings={"a": 2, "b": True}),
    ]
    with browser.open_page(write_page(tmp_path, *runs)) as page:
        page.place("#panel-compare")
        page.settle()
        assert "because one of the two networks reads tokens and the other numbers" in page.run(
            TEXT
        )
        assert page.run("document.querySelector('#compare-answers').hidden")
        assert table(page, "settings") == [["Setting", "tokens", "numbers"], ["a", "1", "2"],
                                           ["b", "not set", "true"]]  # fmt: skip
        page.check()


def test_a_run_alone_has_nothing_to_compare(browser, tmp_path):
    run = describe_run(make_model("gru", "last"), make_sequences([4]))
    with browser.open_page(write_page(tmp_path, run)) as page:
        assert page.run("document.querySelector('#panel-compare').hidden")
        page.check()


def test_every_kind_of_network_beside_another(browser, tmp_path):
    kinds = [("rnn", "last", {}), ("lstm", "every", {"num_layers": 2, "bidirectional": True}),
             ("gru", "max", {"bidirectional": True})]  # fmt: skip
    runs = []
    for cell, readout, options in kinds:
        model = make_model(cell, readout, mixed=True, **options)
        runs.append(
            describe_run(model, make_sequences([6, 3], mixed=True), name=f"{cell} {readout}")
        )
    with browser.open_page(write_page(tmp_path, *runs)) as page:
        for left in range(3):
            for right in set(range(3)) - {left}:
                state = {"run": right, "epoch": None}
                page.run(f"location.hash = '#run={left}&compare={json.dumps(state)}'")
                page.place("#compare-answers")
                names = [runs[left]["name"], runs[right]["name"]]
                page.wait_for(
                    "[...document.querySelectorAll('#compare-answers thead th')].slice(1, 3)"
                    f".map(cell => cell.textContent).join() === '{','.join(names)}'",
                    10,
                )
        page.check()


def test_changed_inputs_are_converted_back(browser, tmp_path):
    path = tmp_path / "functions.html"
    path.write_text(f"<script>{join_modules('comparison')}</script>", encoding="utf-8")
    one = {"vocabulary": None, "static": [], "channels": [
        {"name": "a", "values": None, "mean": 10, "scale": 2},
        {"name": "b", "values": ["padding", "unknown", "x", "unknown"]}]}  # fmt: skip
    two = {"vocabulary": None, "static": [], "channels": [
        {"name": "a", "values": None, "mean": 20, "scale": 5},
        {"name": "b", "values": ["padding", "unknown", "unknown", "y"]}]}  # fmt: skip
    with browser.open_page(path, wait=False) as page:
        found = page.run(
            "(() => { const {sequence, unknown} = convertSequence({steps: 2, static: null, "
            f"x: new Float32Array([5, 2, 0, 3])}}, {json.dumps(one)}, {json.dumps(two)});"
            " return [[...sequence.x], unknown]; })()"
        )
        assert found == [[0, 1, -2, 2], ["x"]]
        page.check()
