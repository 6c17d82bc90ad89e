"""The diagnosis of a running training: each fault is reported once, and weights stay the same."""

import pytest
import torch
from cases import make_examples, make_model, same_bits, weights_of
from doctor_cases import waves

from elman import SequenceClassifier
from elman.errors import ElmanError, SettingsError
from elman.explain import Watch
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.losses import Loss

OPTIONS = {"epochs": 6, "hidden_size": 8, "dropout": 0.2, "random_state": 0}
LOSS = Loss("classification", "cross_entropy")


def test_the_weights_are_the_same_bits_as_without():
    X, y = waves()
    watch = Watch(every=2)
    seen = SequenceClassifier(**OPTIONS).fit(X, y, on_epoch=watch)
    alone = SequenceClassifier(**OPTIONS).fit(X, y)
    assert same_bits(weights_of(seen.model_), weights_of(alone.model_))
    assert [epoch for epoch, _ in watch.diagnoses] == [0, 2, 4, 6]
    assert all(found.healthy for _, found in watch.diagnoses)


def test_each_diagnosis_is_of_the_network_at_that_epoch():
    X, y = waves()
    watch = Watch(every=3)
    SequenceClassifier(**{**OPTIONS, "learning_rate": 0.02}).fit(X, y, on_epoch=watch)
    spreads = [d.measurements.unit_deviation[0, "forward"].mean() for _, d in watch.diagnoses]
    assert len(set(spreads)) == 3
    assert [len(d.measurements.losses) for _, d in watch.diagnoses] == [0, 3, 6]


def test_a_fault_is_reported_once_with_its_epoch():
    model = make_model("gru")
    with torch.no_grad():
        model.recurrent.bias_ih_l0[:6] = 20.0
    messages = []
    watch, data = Watch(every=1, notify=messages.append), make_examples()
    settings = TrainingSettings(epochs=3, batch_size=8, learning_rate=1e-3, weight_decay=0.0)
    train(model, data, None, settings, on_epoch=watch)
    assert len(watch.diagnoses) == 4
    gates = [text for text in messages if "saturated_gates" in text]
    assert len(gates) == 1 and gates[0].startswith("epoch 0: warning: saturated_gates (layer 0")
    assert model.recurrent.weight_ih_l0.grad is None and not model.training


def test_a_second_training_starts_a_new_list():
    X, y = waves(20)
    watch = Watch(every=6)
    for _ in range(2):
        SequenceClassifier(**OPTIONS).fit(X, y, on_epoch=watch)
        assert [epoch for epoch, _ in watch.diagnoses] == [0, 6]


def test_findings_go_to_stderr_by_default(capsys):
    model = make_model("gru")
    with torch.no_grad():
        model.output.weight.zero_()
    Watch().begin(model, make_examples(), LOSS)
    captured = capsys.readouterr()
    assert "epoch 0: warning: constant_predictions" in captured.err and not captured.out


@pytest.mark.parametrize("wrong", [{"every": 0}, {"sequences": 0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match="expected 1 or more"):
        Watch(**wrong)


def test_an_epoch_without_a_network_is_refused():
    records = train(make_model(), make_examples(), None, TrainingSettings(epochs=1)).epochs
    with pytest.raises(ElmanError, match="call begin"):
        Watch().epoch(records[0])
