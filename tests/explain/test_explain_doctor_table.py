"""The table of broken networks: what the doctor says first, and what it advises.

CI runs a sample; `make test-all` runs the whole table.
"""

import broken_trainings  # noqa: F401, enters its part of the table
import pytest
from broken_networks import BROKEN
from doctor_cases import sums, waves, words

from elman import SequenceClassifier, SequenceRegressor
from elman.explain import doctor
from elman.explain.doctor.causes import EFFECTS
from elman.setting_list import list_settings

SETTINGS = {field.name for field in list_settings()}
TABLE = [
    pytest.param(name, marks=() if each.sampled else pytest.mark.slow)
    for name, each in BROKEN.items()
]


@pytest.mark.parametrize("name", TABLE)
def test_the_cause_comes_first(name):
    case = BROKEN[name]
    model, X, y, held_out = case.make()
    found = doctor(model, X, y, held_out=held_out)
    first = found.findings[0]
    assert first.name in case.first and case.remedy in first.message + first.remedy, str(found)
    assert not first.explained_by and first.setting in SETTINGS | {""}
    if case.verdict is not None:
        assert found.score.verdict == case.verdict
    if found.score is not None:
        assert found.summary.startswith(found.score.sentence)
    # What follows from a cause is told under it, without a remedy of its own.
    causes = {finding.name for finding in found.causes}
    for finding in found.findings:
        assert finding.name in EFFECTS
        if finding.explained_by:
            assert finding.explained_by in causes
            assert str(found).count(f": {finding.name}") == 0


def test_the_table_is_long_and_a_sample_of_it_is_in_ci():
    assert len(BROKEN) >= 55
    assert 20 <= sum(each.sampled for each in BROKEN.values()) <= 35


@pytest.mark.parametrize(
    ("kind", "data", "options"),
    [
        (SequenceClassifier, waves, {}),
        (SequenceClassifier, words, {}),
        (SequenceRegressor, sums, {}),
        (SequenceClassifier, words, {"epochs": 2, "learning_rate": 0.02}),
    ],
    ids=["numbers", "tokens", "values", "two epochs"],
)
def test_what_is_chosen_from_the_data_is_no_fault(kind, data, options):
    """The settings that a user gets who sets nothing."""
    model = kind(random_state=0, **{"epochs": 40, **options}).fit(*data(120))
    found = doctor(model, *data(120), held_out=data(80, seed=1))
    assert found.healthy and found.score.verdict in ("fine", "does not beat the baseline")
