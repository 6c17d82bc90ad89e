"""A diagnosis as text, as a table, as JSON and as a figure."""

import json

import numpy as np
import pytest
import torch
from cases import make_model
from doctor_cases import healthy, waves

from elman.explain import Diagnosis, Finding, doctor
from elman.explain.doctor.causes import rank
from elman.explain.doctor.findings import Measurements

FINDINGS = (
    Finding("few", "note", "it is so", 1.0, 2.0, "Let it be."),
    Finding("gates", "warning", "shut", 0.95, 0.9, "Open.", "scale", 1, "backward", "z"),
    Finding("lost", "error", "gone", np.inf, 0.0, "Look.", sequences=tuple(range(3, 15))),
    Finding("units", "warning", "dead", 0.5, 0.1, "Revive.", "", 0, "forward", units=(1, 2)),
)


def made(findings=FINDINGS):
    return Diagnosis(rank(findings), ("30 sequences",), {"labels": "none given"}, Measurements())


def test_the_most_severe_come_first():
    found = made()
    assert [f.name for f in found.findings] == ["lost", "gates", "units", "few"]
    assert found.by_name("units") == (FINDINGS[3],)
    assert not found.healthy and made(FINDINGS[:1]).healthy and made(()).healthy


def test_as_text():
    lines = str(made()).splitlines()
    assert lines[0] == "Doctor: 1 error, 2 warnings, 1 note (first: lost)."
    assert "(sequences 3, 4, 5, 6, 7, 8, 9, 10 and 4 more)" in lines[1]
    assert lines[2] == (
        "  warning: gates (layer 1, backward direction, gate z): shut. "
        "[value 0.95, threshold 0.9] Open."
    )
    assert "units 1, 2" in lines[3] and "not examined: labels: none given" in lines[-1]
    assert str(made(())).startswith("Doctor: no fault was found.")


def test_as_json_and_as_a_table():
    found = made().to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["findings"][0]["value"] is None  # infinite, which JSON does not have
    assert found["findings"][1]["where"] == "layer 1, backward direction, gate z"
    table = made().to_frame()
    assert list(table["name"]) == ["lost", "gates", "units", "few"]
    assert table.loc[1, "setting"] == "scale" and len(made(()).to_frame()) == 0
    whole = doctor(healthy("gru"), *waves()).to_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert {entry["direction"] for entry in whole["gradient_by_lag"]} == {"forward", "backward"}
    assert len(whole["rate_probe"]) > 3


def texts(figure):
    figure.draw_without_rendering()
    return [t for axes in figure.axes for t in axes.texts] + [
        label for axes in figure.axes for label in axes.get_yticklabels() + axes.get_xticklabels()
    ]


@pytest.mark.parametrize(
    ("cell", "layers", "both", "hidden", "steps", "labels"),
    [
        ("gru", 1, False, 1, 1, False),
        ("rnn", 1, False, 6, 2, True),
        ("lstm", 3, True, 33, 60, True),
    ],
)
def test_as_a_figure(cell, layers, both, hidden, steps, labels):
    model = make_model(cell, num_layers=layers, bidirectional=both, hidden_size=hidden)
    X = [torch.randn(steps, 2) for _ in range(6)]
    found = doctor(model, X, [0, 1, 2] * 2 if labels else None)
    figure = found.plot()
    titles = [axes.get_title("left") for axes in figure.axes]
    last = "A few steps with other learning rates" if labels else "Loss"
    assert titles[:3] == [
        "Gradient left on its way back",
        "Saturated activations",
        "How far each unit's state moves",
    ]
    assert titles[3] == last
    names = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert len(names) == layers * (1 + both) and names[0] == "layer 0 forward"
    drawn = figure.axes[0].get_lines()[0].get_ydata()
    assert np.allclose(drawn, found.measurements.gradient_by_lag[0, "forward"])
    boxes = [t.get_window_extent() for t in figure.axes[1].get_yticklabels()]
    for low, high in zip(boxes[1:], boxes[:-1], strict=True):
        assert low.y1 <= high.y0 + 1  # names of gates do not overlap


def test_the_learning_rate_of_the_training_is_marked():
    found = doctor(healthy("gru"), *waves())
    axes = found.plot().axes[3]
    (mark,) = [t for t in axes.texts if t.get_text() == "of the training"]
    assert mark.xy[0] == found.measurements.learning_rate == pytest.approx(3e-3, rel=0.01)


def test_gradient_by_lag_equals_autograd_for_two_steps():
    """One unit: h_2 = tanh(w x_2 + u h_1), and dh_2/dh_1 = u (1 - h_2^2)."""
    model = make_model("rnn", hidden_size=1, input_size=1)
    u = model.recurrent.weight_hh_l0.item()
    x = torch.tensor([[0.3], [-0.2]])
    _, last = model.recurrent(x[None])
    found = doctor(model, [x]).measurements.gradient_by_lag[0, "forward"]
    assert found == pytest.approx([1.0, abs(u) * (1 - float(last.detach()) ** 2)], rel=1e-5)


def test_gradient_by_lag_counts_from_the_end_of_each_row_in_both_directions():
    """Alone or beside longer ones, the same shares."""
    model = make_model("lstm", bidirectional=True)
    rows = [torch.randn(n, 2) for n in (3, 9)]
    alone = doctor(model, rows[:1]).measurements.gradient_by_lag
    for seed in range(3):
        both = doctor(model, rows, seed=seed).measurements.gradient_by_lag
        for place, values in alone.items():
            assert len(values) == 3 and len(both[place]) == 9 and both[place][0] == 1
    # The median of one row, sent back in the direction that the seed draws.
    one = doctor(model, [rows[0], rows[0]]).measurements.gradient_by_lag
    for place, values in one.items():
        assert np.isfinite(values).all() and alone[place].shape == values.shape
