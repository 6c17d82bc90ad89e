"""The last lines of a run: the verdict, and suggestions that fit the situation."""

import dataclasses
import html
import json
import re

import numpy as np
import pytest

from elman.data.splits import resampling_groups
from elman.evaluate import evaluate, evaluate_values
from elman.runs.advice import Situation, last_lines, suggest
from elman.runs.config import RunSettings, merge
from elman.runs.experiment import run
from elman.settings import DataSettings, ModelSettings, ReportSettings, TrainingSettings
from elman.train import EpochRecord, History

RIVAL = "logistic regression on summaries"


def report(right, rival, n=400, constant=0.5, **options):
    """A report of two classes with exactly these shares of right answers."""
    true = np.arange(n) % 2
    flips = np.random.default_rng(0).permutation(n)

    def answers(share):
        codes = true.copy()
        wrong = flips[: round(n * (1 - share))]
        codes[wrong] = 1 - codes[wrong]
        return codes

    rivals = {"majority class": answers(constant), RIVAL: answers(rival)}
    kw = {"lengths": np.ones(n), "baselines": rivals, **options}
    return evaluate(true, np.eye(2)[answers(right)], "ab", **kw)


def situation(test, train, losses=(0.5, 0.4, 0.4, 0.4, 0.4), stopped="all epochs done", **changes):
    model = {"cell": "gru", "hidden_size": 64, "num_layers": 1, "bidirectional": True,
             "dropout": 0.1, "streaming": False}  # fmt: skip
    training = {"effort": "high", "batch_size": 1, "learning_rate": 3e-3}
    for name, value in changes.items():
        (model if name in model else training)[name] = value
    records = [
        EpochRecord(e, loss, 0.5, None, None, 1e-3, 1.0, 1.0) for e, loss in enumerate(losses, 1)
    ]
    settings = RunSettings(
        DataSettings(), ModelSettings(**model), TrainingSettings(**training), ReportSettings()
    )
    return Situation(test, train, History(records, len(records), stopped), settings)


def test_a_network_that_beats_its_baseline_gets_the_verdict_only():
    test = report(0.9, 0.7)
    assert suggest(situation(test, report(0.95, 0.7))) == ()
    lines = last_lines(test, ())
    assert " ".join(lines.split()) == test.comparison.sentence
    assert lines.startswith("The network is better than the best baseline, ")
    assert max(map(len, lines.splitlines())) <= 80


def joined(*arguments, **options):
    found = suggest(situation(*arguments, **options))
    assert 1 <= len(found) <= 4
    assert found[-1].startswith(f"or use the baseline: {RIVAL} does ")
    return "\n".join(found)


def test_the_baseline_is_always_an_answer_and_worse_is_not_as_well():
    worse = joined(report(0.7, 0.9), report(0.72, 0.9))
    assert "does better, and is simpler and faster" in worse
    tied = joined(report(0.8, 0.8), report(0.82, 0.8))
    assert "does as well, as far as these data can tell" in tied


def test_a_loss_that_still_falls_asks_for_epochs():
    text = joined(report(0.7, 0.9), report(0.72, 0.9), losses=(0.9, 0.7, 0.6, 0.5))
    assert "--epochs 8: the training loss was still falling" in text
    assert "from 0.6 in epoch 3 to 0.5 in epoch 4" in text
    for calm in (
        situation(report(0.7, 0.9), report(0.72, 0.9)),
        situation(report(0.7, 0.9), report(0.72, 0.9), losses=(0.9, 0.5), stopped="no lower loss"),
    ):
        assert "--epochs" not in "\n".join(suggest(calm))


def test_few_optimizer_steps_ask_for_epochs():
    text = joined(report(0.5, 0.9), report(0.56, 0.9), batch_size=32)
    # 400 sequences are 13 batches of 32: five epochs have 65 steps, 154 have 2,002.
    assert "--epochs 154: the training had 65 optimizer steps only, in 5 epochs" in text


def test_a_network_that_learnt_nothing_gets_another_learning_rate():
    text = joined(report(0.5, 0.9), report(0.51, 0.9))
    assert "--learning-rate 0.009 or 0.001 instead of 0.003" in text
    assert "each label belongs to its sequence" in text


def test_overfitting_asks_for_less():
    text = joined(report(0.7, 0.9), report(1.0, 0.9))
    assert "--dropout 0.3 or --hidden-size 32 instead of 64: the network overfits" in text
    assert "accuracy 1.00 on the training split and 0.70 on the test split" in text
    assert "--epochs" not in text


def test_one_long_epoch_says_nothing_about_more_of_them():
    test, train = report(0.7, 0.9, n=2000), report(0.75, 0.9, n=2000)
    assert "--epochs" in joined(report(0.7, 0.9), report(0.75, 0.9), losses=(0.5,))
    assert "--epochs" not in joined(test, train, losses=(0.5,))


def test_underfitting_asks_for_more():
    text = joined(report(0.7, 0.9), report(0.75, 0.9))
    assert "--hidden-size 128 instead of 64, or --num-layers 2" in text


def test_settings_that_were_not_tried_are_named_and_those_in_use_are_not():
    test, train = report(0.9, 0.95), report(0.98, 0.95)
    text = joined(test, train, cell="rnn", bidirectional=False, effort="quick")
    assert "--cell gru" in text and "--bidirectional" in text and "--effort high" in text
    # A network that shall answer step by step cannot read both ways.
    assert "--bidirectional" not in joined(test, train, bidirectional=False, streaming=True)
    text = joined(test, train)
    assert not any(flag in text for flag in ("--cell", "--bidirectional", "--effort"))
    assert "more training sequences: 400 are few" in text


def test_a_difference_that_needs_more_test_data_says_how_many():
    true, rng = np.arange(400) % 2, np.random.default_rng(0)
    network, rival = (np.where(rng.permutation(400) < wrong, 1 - true, true) for wrong in (52, 60))
    kw = {"lengths": np.ones(400), "baselines": {RIVAL: rival}}
    text = joined(evaluate(true, np.eye(2)[network], "ab", **kw), report(0.95, 0.9))
    assert "a larger test split (--test 0.4, or more data): the network is ahead by 0.02" in text
    assert re.search(
        r"which about [1-9][0-9]?,[0-9]00 sequences would decide, and there are 400", text
    )
    (few,) = suggest(situation(report(1.0, 0.5, n=4, constant=0.25), report(1.0, 0.5)))
    assert "4 sequences cannot decide" in few


def test_a_perfect_network_on_a_small_test_split_needs_a_larger_one_only():
    true = np.arange(12) % 2
    rival = np.where(np.arange(12) < 2, 1 - true, true)
    kw = {"lengths": np.ones(12), "baselines": {RIVAL: rival}}
    test = evaluate(true, np.eye(2)[true], "ab", **kw)
    (only,) = suggest(situation(test, report(1.0, 0.9)))
    assert only.startswith("a larger test split (--test 0.4, or more data): ")
    assert "differ in 2 of 12 sequences only" in only and "about 36 sequences" in only
    assert "accuracy 1.00 against 0.83 (difference 0.17; they differ" in test.comparison.sentence
    assert "Accuracy 1.00 (" in test.headline() and "(0.83; difference 0.17" in test.headline()


def test_two_perfect_answers_are_not_told_to_train_longer():
    found = suggest(situation(report(1.0, 1.0), report(1.0, 1.0), effort="quick"))
    assert len(found) == 2 and "almost no errors" in found[0]


def test_a_baseline_by_position_tells_how_a_network_sees_positions():
    true, wrong = np.arange(200) % 2, np.zeros(200, int)
    test = evaluate(true, np.eye(2)[wrong], "ab", lengths=np.ones(200),
                    baselines={"logistic regression by position": true})  # fmt: skip
    assert "a channel numbers the steps" in suggest(situation(test, test))[-1]


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_errors_of_numbers_are_the_lower_the_better(spread):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(100, 1))

    def values(error):
        return evaluate_values(
            true, true + error * rng.normal(size=true.shape), ["y"], lengths=np.ones(100),
            baselines={"mean of training": 0 * true, "ridge regression on summaries": 0.8 * true},
        )  # fmt: skip

    test = values(0.6)
    found = "\n".join(suggest(situation(test, values(spread), bidirectional=False)))
    assert test.comparison.verdict == "worse"
    assert ("overfits" in found) == (spread == 0.1)
    assert ("hardly learnt" in found) == (spread == 1.0)
    assert "--bidirectional" not in found


def test_duplicates_are_left_out_of_the_verdict_that_counts():
    n = 300
    copies = np.arange(n) < 200
    true = np.arange(n) % 2
    network = np.where(copies, true, np.random.default_rng(0).integers(0, 2, n))
    test = evaluate(
        true, np.eye(2)[network], "ab", lengths=np.ones(n), duplicates=copies,
        baselines={"majority class": 0 * true, RIVAL: np.where(np.arange(n) % 4 < 3, true, 0)},
    )  # fmt: skip
    assert test.comparison.verdict == "better"
    assert test.without_duplicates.comparison.verdict == "worse"
    found = suggest(situation(test, report(1.0, 0.7)))
    assert found and "overfits" in "\n".join(found)
    lines = " ".join(last_lines(test, found).split())
    assert "Without the 200 sequences that are also in the training split: The network" in lines
    assert "What to try:" in lines


def test_no_baseline_no_verdict():
    test = dataclasses.replace(report(0.9, 0.7), comparisons={})
    assert last_lines(test, ()) == ""


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A run on eight subjects, some of whose sequences are copies of other subjects'."""
    root, rng = tmp_path_factory.mktemp("grouped"), np.random.default_rng(0)
    rows, copied = ["subject,label,a,b,c,d"], "0.5,-0.5,0.25,1.5"
    for i in range(160):
        label = i // 8 % 2
        values = ",".join(f"{v:.3f}" for v in rng.normal(2 * label, 1, 4))
        rows.append(f"s{i % 8},{'no' if label else 'yes'},{copied if i % 20 == 0 else values}")
    (root / "data.csv").write_text("\n".join(rows))
    settings = {
        "data": {"data": str(root / "data.csv"), "group": "subject", "test": 0.25},
        "model": {"hidden_size": 4},
        "training": {"epochs": 1},
        "report": {"diagnostics": False},
    }
    return run(merge(settings), out=root / "run", verbose=0, echo=lambda text: None)


def test_a_run_draws_its_groups_and_leaves_duplicates_out(grouped):
    report = grouped.reports["test"]
    assert report.groups == 2 and report.comparison.unit == "group"
    lines = (grouped.folder / "predictions.csv").read_text().splitlines()
    assert report.count == len(lines) - 1 == 40
    assert report.duplicates > 0
    assert report.without_duplicates.count == 40 - report.duplicates
    found = json.loads((grouped.folder / "metrics.json").read_text())["test"]
    assert found["groups"] == 2 and found["duplicates"] == report.duplicates
    assert found["comparison"] == report.comparison.to_dict()
    rest = found["without_duplicates"]
    assert rest["count"] == 40 - report.duplicates
    assert rest["accuracy"] == report.without_duplicates.accuracy


def test_the_verdict_stands_in_terminal_page_and_card(grouped):
    report = grouped.reports["test"]
    page = (grouped.folder / "report.html").read_text()
    card = " ".join((grouped.folder / "model/README.md").read_text().split())
    phrase = f"{report.comparison.phrase} ("
    without = f"Without the {report.duplicates} sequences that are also in the training split: "
    for text in (page, card, " ".join(str(report).split()), report._repr_html_()):
        assert phrase in text and without in text
    assert "To try: " in page
    assert grouped.result.startswith("The network is ")
    assert "What to try:" in grouped.result and "use the baseline" in grouped.result


def test_windows_of_a_sequence_are_a_group(settings, files, tmp_path):
    long = tmp_path / "long.csv"
    rows = [f"{i},{'no' if i % 2 else 'yes'},{t},{t * (1 + i % 2)}" for i in range(20)
            for t in range(8)]  # fmt: skip
    long.write_text("\n".join(["id,label,time,value", *rows]))
    changed = settings(data={"data": str(long), "window": 4, "validation": None})
    report = run(changed, out=tmp_path / "run", verbose=0, echo=lambda text: None).reports["test"]
    assert (report.count, report.groups) == (8, 4)


def test_groups_of_their_own_are_no_groups():
    from elman.data import load_task

    data, _ = load_task("waves", 0)
    assert resampling_groups(data) is None
    names = tuple(f"s{i}" for i in range(len(data)))
    assert resampling_groups(dataclasses.replace(data, groups=names)) is None
    pairs = tuple(f"s{i // 2}" for i in range(len(data)))
    assert resampling_groups(dataclasses.replace(data, groups=pairs)) == list(pairs)
    twice = data.take(np.repeat(np.arange(5), 2))
    assert resampling_groups(twice) is None
    assert len(set(resampling_groups(twice, by_content=True))) == 5


def test_class_weights_ask_for_the_balanced_accuracy():
    """Finding rare cases costs accuracy; the majority class must not look better for that."""
    true = np.array([0] * 190 + [1] * 10)
    found = true.copy()
    found[:14] = 1
    kw = {"lengths": np.ones(200), "baselines": {"majority class": 0 * true, RIVAL: 0 * true}}
    test = evaluate(true, np.eye(2)[found], ["well", "ill"], **kw)
    text = "\n".join(suggest(situation(test, test, class_weight="balanced")))
    assert "by balanced accuracy, which --class-weight aims at: there the network is better" in text
    assert "hardly learnt" not in text
    assert "balanced" not in "\n".join(suggest(situation(test, test)))


def test_a_constant_target_is_said_and_no_divergence():
    true = np.full((30, 1), 3.5)
    near = true + np.random.default_rng(0).normal(0, 0.1, true.shape)
    test = evaluate_values(true, near, ["y"], lengths=np.ones(30), baselines={"mean": true})
    found = suggest(situation(test, test))
    assert len(found) == 2 and "the same value in every sequence" in found[0]


def test_one_sequence_beside_duplicates_decides_nothing():
    true, copies = np.arange(60) % 2, np.arange(60) > 0
    test = evaluate(
        true, np.eye(2)[1 - true], "ab", lengths=np.ones(60), duplicates=copies,
        baselines={"majority class": 0 * true, RIVAL: true},
    )  # fmt: skip
    assert test.without_duplicates.count == 1
    case = situation(test, test)
    assert case.judged is test and case.comparison.verdict == "worse"
    assert "the 59 sequences that are also in the training split: accuracy" in test.headline("test")
    every = evaluate(true, np.eye(2)[true], "ab", lengths=np.ones(60), duplicates=true >= 0)
    assert "All 60 sequences are also in the training split, so this says" in every.headline()


def test_the_page_gives_the_advice_of_the_terminal(settings, files, tmp_path):
    """A cause that the doctor has found takes the place of the other suggestions in both."""
    rng = np.random.default_rng(0)
    lines = ["id,time,value,label"]
    for i in range(80):
        label = "ab"[rng.integers(2)]
        lines += [f"{i},{t},{rng.normal():.3f},{label}" for t in range(6)]
    noise = tmp_path / "noise.csv"
    noise.write_text("\n".join(lines))
    changed = settings(data={"data": str(noise), "validation": None}, report={"diagnostics": True})
    done = run(changed, out=tmp_path / "run", verbose=0, echo=lambda text: None)
    cause = done.diagnosis.cause
    assert cause is not None and "What to try:" in done.result
    page = html.unescape((done.folder / "report.html").read_text())
    assert f"To try: {cause.remedy.rstrip('.')}." in page
    assert " ".join(done.result.split()).endswith(cause.remedy)
    for other in done.suggestions:
        assert f"To try: {other}" not in page
