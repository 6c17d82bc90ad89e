"""Entities in tags, against cases by hand and a second, dumber count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.targets import find_entities, find_scheme
from elman.evaluate import evaluate
from elman.evaluate.entities import NameMetrics, entity_metrics
from elman.evaluate.resampling import Resampling

CASES = [
    ("O O", []),
    ("B-a", [(0, 1, "a")]),
    ("B-a I-a O", [(0, 2, "a")]),
    ("B-a B-a", [(0, 1, "a"), (1, 2, "a")]),
    ("I-a I-a O I-b", [(0, 2, "a"), (3, 4, "b")]),  # conlleval forgives a missing B-
    ("B-a I-b", [(0, 1, "a"), (1, 2, "b")]),
    ("O B-a-b I-a-b", [(1, 3, "a-b")]),
    ("", []),
]


@pytest.mark.parametrize(("tags", "found"), CASES)
def test_by_hand(tags, found):
    assert find_entities(tags.split()) == found


def test_figures_by_hand():
    true = [["B-x", "I-x", "O", "B-y"], ["B-x"]]
    predicted = [["B-x", "I-x", "O", "B-x"], ["O"]]
    found = entity_metrics(true, predicted)
    assert (found.precision, found.recall, found.support) == (1 / 2, 1 / 3, 3)
    assert found.f1 == pytest.approx(2 / 5)
    assert found.by_name == (
        NameMetrics("x", 1 / 2, 1 / 2, 1 / 2, 2),
        NameMetrics("y", 0.0, 0.0, 0.0, 1),
    )
    assert found.interval is None
    nothing = entity_metrics([["O"]], [["O"]], Resampling.of(1, None, None, 5, 0))
    assert (nothing.f1, nothing.support, nothing.by_name) == (0.0, 0, ())


def test_the_interval_draws_sequences():
    """Of two kinds of sequences, right and wrong, F1 is the share of the right ones."""
    true = [["B-x"]] * 100
    predicted = [["B-x"] if i % 5 else ["B-y"] for i in range(100)]
    found = entity_metrics(true, predicted, Resampling.of(100, None, None, 2000, 0))
    assert found.f1 == pytest.approx(0.8)
    deviation = (0.8 * 0.2 / 100) ** 0.5
    assert found.interval == pytest.approx(
        (0.8 - 1.96 * deviation, 0.8 + 1.96 * deviation), abs=0.02
    )


def test_the_report_of_a_tagger_has_them():
    rng = np.random.default_rng(0)
    classes = ["B-x", "I-x", "O"]
    lengths = [3, 1, 4]
    true, predicted = rng.integers(3, size=(2, 8))
    owners = np.repeat([0, 1, 2], lengths)
    report = evaluate(true, np.eye(3)[predicted], classes, lengths=lengths, owners=owners)
    split = [
        [[classes[c] for c in codes[owners == i]] for i in range(3)] for codes in (true, predicted)
    ]
    assert report.entities == entity_metrics(*split, Resampling.of(3, owners, None, 1000, 0))
    assert report.to_dict()["entities"]["by_name"][0]["label"] == "x"
    assert "entity" in str(report) and "entity" in report._repr_html_()
    plain = evaluate(true, np.eye(3)[predicted], ["a", "b", "c"], lengths=lengths, owners=owners)
    assert plain.entities is None and plain.to_dict()["entities"] is None
    assert "entity" not in str(plain)


def test_the_network_is_compared_by_whole_entities_too():
    """Few steps are entities, so the accuracy hides that a baseline finds none."""
    rng, classes, n = np.random.default_rng(0), ["B-x", "I-x", "O"], 60
    lengths = np.full(n, 10)
    true = np.full((n, 10), 2)
    true[:, 4:6] = 0, 1
    network, rival = true.copy(), true.copy()
    network[:12, 5] = 2  # half an entity is none
    rival[:, 5] = np.where(rng.random(n) < 0.5, 1, 2)
    kw = {"lengths": lengths, "owners": np.repeat(np.arange(n), 10)}
    baselines = {"majority class": np.full(10 * n, 2), "tag of token": rival.ravel()}
    report = evaluate(
        true.ravel(), np.eye(3)[network.ravel()], classes, baselines=baselines, **kw
    )  # fmt: skip
    found = report.comparisons["entity_f1"]
    assert (found.baseline, found.verdict) == ("tag of token", "better")
    assert found.network == report.entities.f1
    alone = evaluate(true.ravel(), np.eye(3)[rival.ravel()], classes, **kw)
    assert found.reference == alone.entities.f1
    assert found.low > 0 and found.units == n
    assert "By whole entities, it is better than the best baseline, tag of token: entity F1" in (
        report.headline("test")
    )
    assert "entity_f1" not in alone.comparisons


def starts_here(tags, i):
    """As conlleval's startOfChunk."""
    before = tags[i - 1] if i else "O"
    if tags[i] == "O":
        return False
    return tags[i][0] == "B" or before == "O" or before[2:] != tags[i][2:]


def ends_here(tags, i):
    """As conlleval's endOfChunk, of the chunk that step i is in."""
    after = tags[i + 1] if i + 1 < len(tags) else "O"
    return tags[i] != "O" and (after == "O" or after[0] == "B" or after[2:] != tags[i][2:])


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=12))
def test_as_conlleval_counts(tags):
    starts = [i for i in range(len(tags)) if starts_here(tags, i)]
    ends = [i + 1 for i in range(len(tags)) if ends_here(tags, i)]
    wanted = [(a, b, tags[a][2:]) for a, b in zip(starts, ends, strict=True)]
    assert find_entities(tags) == wanted


def test_what_entity_tags_look_like():
    assert find_scheme(["O", "B-a", "I-a"])
    for tags in (["O"], ["I-a", "I-b"], ["B-", "O"], ["B-a", "x"], [1, 2], ["NOUN", "VERB"]):
        assert not find_scheme(tags)
