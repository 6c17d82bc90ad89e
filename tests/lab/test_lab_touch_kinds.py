"""Every kind of network is touched in the page without an error, and answers in numbers."""

from __future__ import annotations

import itertools

import pytest
from cases import make_model, make_sequences
from touch_cases import text, write_page

KINDS = list(
    itertools.product(
        (False, True), ("last", "mean", "max", "every"), ("numbers", "tokens", "mixed"),
        ("classification", "multilabel", "regression"),
    )
)  # fmt: skip
CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
PANELS = ("output", "states", "votes", "gradient")


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_kind_of_network_can_be_touched(browser, tmp_path, cell):
    hold = '{"layer":0,"direction":0,"name":"h","unit":1,"value":0.5,"from":1,"to":1}'
    for number, (both, readout, kind, task) in enumerate(KINDS):
        model = make_model(
            cell[0], readout, nonlinearity=cell[1], num_layers=1 + number % 2, bidirectional=both,
            tokens=kind == "tokens", mixed=kind == "mixed", task=task,
        )  # fmt: skip
        X = make_sequences([5, 1, 8], tokens=kind == "tokens", mixed=kind == "mixed")
        edits = {
            "numbers": '{"1,0":1.5}',
            "tokens": '{"1,0":"3"}',
            "mixed": f'{{"1,0":0.5,"2,{model.config.input_size}":"2"}}',
        }[kind]
        path = write_page(tmp_path / "kind.html", model, X)
        address = f"#step=2&erased=[3]&edits={edits}&clamps=[{hold}]"
        with browser.open_page(path, height=7000, address=address) as page:
            page.wait_for("document.querySelectorAll('#panel-gradient .legend .swatch').length")
            for change in ("", "&difference=true"):
                page.run(f"location.hash = '{address}{change}'")
                page.settle()
                for name in PANELS:
                    shown = text(page, f"#panel-{name} .body")
                    assert "NaN" not in shown and "undefined" not in shown, (name, shown)
                    if name == "gradient" and task == "regression":
                        assert "The true value is not known" in shown
                    else:
                        assert "(was " in shown, (name, both, readout, kind, task)
            page.run("location.hash = '#example=1&erased=[0]'")  # its only step
            page.settle()
            page.check()
