import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from elman.evaluate import evaluate, evaluate_values
from elman.plots import save_all, style
from elman.runs.report_page import Page, render
from elman.train import EpochRecord, History

VOID = {"meta", "img", "br"}
LOGISTIC, MAJORITY, TAGS = "logistic regression", "majority class", "most frequent tag of the token"


class Reader(HTMLParser):
    """Fails on a tag that is not closed in its turn; keeps elements, and text by element."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.texts, self.rows = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if self.rows and self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def text(self, *tags):
        return " ".join(text for tag, text in self.texts if not tags or tag in tags)

    def table(self, name):
        """Rows of the table whose first cell is `name`, as lists of text."""
        return [row for row in self.rows if row and row[0] == name]


def report(k=2, right=0.8, n=200, *, baselines=None, tagger=False, classes=None, **options):
    """A report with exactly `right` of the answers right, and baselines right as told."""
    lengths = np.full(n, 5)
    m = int(lengths.sum()) if tagger else n
    true = np.arange(m) % k

    def answers(share):
        # Spread over the classes and sequences, so that every kind of accuracy is about `share`.
        wrong = np.zeros(m, dtype=bool)
        wrong[np.random.default_rng(1).permutation(m)[: round(m * (1 - share))]] = True
        return np.where(wrong, (true + 1) % k, true)

    p = np.full((m, k), 0.1 / (k - 1))
    p[np.arange(m), answers(right)] = 0.9
    return evaluate(
        true,
        p,
        classes or [f"c{i}" for i in range(k)],
        lengths=lengths,
        owners=np.repeat(np.arange(n), lengths) if tagger else None,
        baselines={name: answers(share) for name, share in (baselines or {}).items()},
        **options,
    )


def history(count=4, kept=3, validation=True):
    losses = [0.5, 0.4, 0.3, 0.35]
    return History(
        [
            EpochRecord(e, 1 / e, 0.5, losses[e - 1] if validation else None, None, 0.1, 1.0, 2.0)
            for e in range(1, count + 1)
        ],
        kept,
        "no lower validation loss for 1 epochs" if validation else "all epochs done",
    )


def page(reports=None, **changes):
    parts = {
        "title": "digits",
        "created": "2026-01-02T03:04:05",
        "command": "elman train digits.csv --seed 0",
        "version": "0.1.0",
        "seconds": 184.2,
        "data": "digits.csv\n  sequences  200",
        "model": "GRU, 64 units",
        "history": history(),
        "reports": reports or {"test": report(baselines={MAJORITY: 0.5, LOGISTIC: 0.6})},
        "figures": [],
        "config": "[model]\ncell = 'gru'\n",
    }
    return Page(**(parts | changes))


def png(path):
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    Figure(figsize=(4, 2)).savefig(stream, format="png", dpi=style.DPI)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize(("k", "tagger"), [(2, False), (10, False), (18, True)])
def test_is_one_well_formed_file(k, tagger, tmp_path):
    test = report(k, baselines={MAJORITY: 1 / k, LOGISTIC: 0.7}, tagger=tagger)
    epochs = history()
    pictures = save_all([e.to_dict() for e in epochs.epochs], test, tmp_path, epochs.kept_epoch)
    html = render(page({"test": test, "validation": report(k), "train": report(k)}, history=epochs,
                       figures=pictures))  # fmt: skip
    read = Reader(html)
    assert html.startswith("<!DOCTYPE html>") and len(html.encode()) < 2_000_000
    assert read.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all(
        "meta"
    )
    assert read.text("title") == "digits: elman report"
    images = read.all("img")
    assert len(images) == len(pictures) >= 4
    for image, path in zip(images, pictures, strict=True):
        assert image["alt"] and int(image["width"]) > 200 and int(image["height"]) > 200
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64" and base64.b64decode(data) == path.read_bytes()
    assert len(read.all("figcaption")) == len(pictures)
    for words in re.findall(r"</strong> (.*?)</figcaption>", html):
        assert len(words) > 60  # every picture says how to read it


def test_fetches_and_runs_nothing():
    read = Reader(render(page()))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.elements}
    for _, attrs in read.elements:
        assert not {"href", "srcset"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
    css = read.text("style")
    assert "url(" not in css and "@import" not in css and "http" not in css
    policy = next(m for m in read.all("meta") if "http-equiv" in m)["content"]
    assert "default-src 'none'" in policy


def test_headings_go_down_in_order_and_every_head_cell_has_a_scope():
    test = report(3, baselines={MAJORITY: 1 / 3, LOGISTIC: 0.6})
    read = Reader(render(page({"test": test, "validation": test, "train": test})))
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h\d", tag)]
    assert levels == [1] + [2] * (len(levels) - 1)
    assert all(cell["scope"] in ("row", "col") for cell in read.all("th"))
    assert all(div["tabindex"] == "0" and div["aria-label"]
               for div in read.all("div") if div.get("class") == "scroll")  # fmt: skip


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_from_its_ground(scheme):
    css = Reader(render(page())).text("style")
    colours = dict(re.findall(r"--(\w+): (#\w{6})", css.split("@media")[scheme]))
    for ink in ("ink", "quiet", "blue"):
        for ground in ("paper", "wash"):
            dark, light = sorted(luminance(colours[name]) for name in (ink, ground))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)  # WCAG 2.2, level AA


def test_what_others_wrote_is_shown_and_never_obeyed(tmp_path):
    evil = "</title><script>alert('1 & 2')</script>"
    label = "<script>"
    test = report(3, right=0.7, classes=[label, 'a"b', "x\ud800\0y"], baselines={"<b>": 0.5})
    changes = dict.fromkeys(("title", "created", "command", "version", "data", "model"), evil)
    html = render(
        page(
            {"test": test},
            **changes,
            config=evil,
            notes=[evil],
            history=History(stopped=evil),
            figures=[png(tmp_path / "<i>.png")],
        )
    )
    read = Reader(html)
    assert not {"script", "b", "i"} & {tag for tag, a in read.elements if "style" not in a}
    for tag in ("title", "h1", "li", "dd", "pre", "p"):
        assert evil in read.text(tag)
    assert read.table(label) and read.table('a"b')
    assert '<script> → a"b' in read.text("th")
    assert "x\ufffd\ufffdy" in html.encode().decode()


def test_headline_when_the_network_is_better():
    text = report(right=0.95, baselines={MAJORITY: 0.5, LOGISTIC: 0.8}).headline("test")
    assert re.fullmatch(
        r"Test accuracy 0\.950 \(95 % interval 0\.9\d\d to 0\.9\d\d\), better than the best "
        r"baseline, logistic regression \(0\.800; difference 0\.15, 95 % interval 0\.\d\d to "
        r"0\.\d\d\)\.",
        text,
    )


@pytest.mark.parametrize("simpler", [0.79, 0.8, 0.82])
def test_headline_when_a_baseline_is_as_good(simpler):
    text = report(right=0.8, baselines={MAJORITY: 0.5, LOGISTIC: simpler}).headline("test")
    assert ", not distinguishable from the best baseline, logistic regression (" in text
    assert "better" not in text


def test_headline_when_a_baseline_is_better():
    text = report(right=0.6, baselines={MAJORITY: 0.5, LOGISTIC: 0.9}).headline("test")
    assert ", worse than the best baseline, logistic regression (0.90; difference -0.30, " in text


def test_headline_without_an_error_is_not_certain():
    text = report(right=1.0, n=40, baselines={LOGISTIC: 0.95}).headline("test")
    assert "no error in 40 sequences, 95 % interval 0.93 to 1.00" in text
    assert "not distinguishable from" in text
    assert "they differ in 2 of 40 sequences only; at least 6 must differ to decide" in text


def test_headline_never_rounds_up_to_all():
    text = report(right=1 - 1 / 5000, n=5000, resamples=0).headline("test")
    assert text.startswith("Test accuracy 0.999. ")


def test_headline_says_what_it_lacks():
    assert "No baseline was evaluated" in report().headline("test")
    only = report(right=0.95, baselines={MAJORITY: 0.5}).headline("test")
    assert "it is not known whether this takes a recurrence" in only
    text = report(right=0.9, baselines={LOGISTIC: 0.7}, resamples=0).headline("test")
    assert "not yet compared with the best baseline" in text
    assert "without resamples it is not known how much of the difference is chance" in text
    assert "kept epoch may have been chosen" in report().headline("validation")
    assert "nothing about new ones" in report().headline("train")


@pytest.mark.parametrize(("low", "high", "written"), [
    (0.82, 0.88, "0.853"), (0.75, 0.95, "0.85"), (0.8521, 0.8539, "0.8530"), (0.3, 0.9, "0.85"),
])  # fmt: skip
def test_numbers_are_rounded_to_what_their_interval_supports(low, high, written):
    test = dataclasses.replace(
        report(baselines={LOGISTIC: 0.5}), intervals={"accuracy": (low, high)}
    )
    assert test.ranked("accuracy").write(0.853) == written


def test_headline_of_errors_is_the_lower_the_better():
    true = np.linspace(-1, 1, 50)[:, None]
    bases = {"mean of training": 0 * true, "ridge regression": 0.5 * true}
    how = {"lengths": np.ones(50), "baselines": bases}
    good = evaluate_values(true, 0.9 * true, ["y"], **how).headline("test")
    assert "better than the best baseline, ridge regression (" in good and "difference 0.2" in good
    bad = evaluate_values(true, 0 * true - 1, ["y"], **how).headline("test")
    assert "worse than the best baseline, ridge regression (" in bad and "difference -" in bad


def test_headline_adds_balanced_accuracy_where_it_tells_another_story():
    true = np.array([0] * 190 + [1] * 10)
    answers = true.copy()
    answers[:12] = 1  # finds every rare case at the price of false alarms
    rare = evaluate(true, np.eye(2)[answers], ["healthy", "ill"], lengths=np.full(200, 3),
                    baselines={MAJORITY: np.zeros(200, dtype=int)})  # fmt: skip
    text = rare.headline("test")
    assert "not distinguishable from the best baseline" in text
    assert "By balanced accuracy, which counts every class the same, it is better than" in text
    assert "balanced" not in report(baselines={LOGISTIC: 0.6}).headline("test")


def test_tagger_speaks_of_steps():
    test = report(4, right=0.9, tagger=True, baselines={MAJORITY: 0.25, TAGS: 0.8})
    text = test.headline("test")
    assert text.startswith("Test accuracy over steps 0.900 ")
    assert f"better than the best baseline, {TAGS} (0.800; difference 0.100" in text
    read = Reader(render(page({"test": test})))
    assert read.table("sequences")[0][1] == "200" and read.table("steps")[0][1] == "1,000"
    assert "All metrics are over steps" in read.text("p")
    assert read.table("class")[0][-1] == "steps"


def test_metrics_by_split():
    test = report(3, right=0.9, baselines={MAJORITY: 0.3, LOGISTIC: 0.6})
    validation, train = report(3, right=0.85), report(3, right=0.99)
    read = Reader(render(page({"test": test, "validation": validation, "train": train})))
    low, high = test.intervals["accuracy"]
    (row,) = read.table("accuracy")
    found = ["0.900", f"{low:.3f} to {high:.3f}", "0.600", "0.300", "0.850", "0.990"]
    assert row == ["accuracy", *found]
    (row,) = read.table("log loss")
    losses = [f"{r.log_loss:.3f}" for r in (test, validation, train)]
    assert row == ["log loss", losses[0], "–", "–", "–", *losses[1:]]
    for name in ("balanced accuracy", "precision (macro)", "recall (macro)", "F1 (macro)",
                 "ROC AUC (macro)", "calibration error"):  # fmt: skip
        assert len(read.table(name)[0]) == 7
        assert name in read.text("dt")  # what it means
    assert Reader(render(page())).table("precision (c1)")


def test_one_class_has_no_roc_auc():
    only = evaluate([0, 0], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"], lengths=[1, 1], resamples=0)
    read = Reader(render(page({"test": only})))
    assert read.table("ROC AUC (b)") == [["ROC AUC (b)", "–"]]
    assert "undefined: only one class occurs" in read.text("p")


def test_confusions_are_the_largest_off_the_diagonal():
    true = np.array([0] * 10 + [1] * 10 + [2] * 20)
    answers = true.copy()
    answers[:4], answers[10:13], answers[20:21] = 1, 2, 0
    test = evaluate(true, np.eye(3)[answers], ["a", "b", "c"], lengths=np.full(40, 2))
    read = Reader(render(page({"test": test})))
    assert [row for row in read.rows if row and " → " in row[0]] == [
        ["true → predicted", "count", "of the true class"],
        ["a → b", "4", "40.0%"],
        ["b → c", "3", "30.0%"],
        ["c → a", "1", "5.0%"],
    ]
    flawless = Reader(render(page({"test": report(3, right=1.0)})))
    assert "No error in 200 sequences" in flawless.text("li")
    assert "confusions" not in Reader(render(page())).text("h2")  # two classes


def test_parts_that_are_missing_leave_no_trace():
    read = Reader(render(page(history=history(validation=False))))
    head = read.text("h2")
    assert "Figures" not in head and "Notes" not in read.text()
    assert not read.all("img")
    assert read.table("accuracy")[0][-1] == "0.500"  # the last baseline: no other part
    assert "validation loss" not in read.text("dd")
    empty = Reader(render(page(history=History(), notes=["interrupted"])))
    assert "interrupted" in empty.text("li") and "0" in empty.text("dd")


def test_many_classes_are_folded():
    assert len(Reader(render(page({"test": report(20)}))).all("details")) == 2  # meanings, config
    read = Reader(render(page({"test": report(21)})))
    assert len(read.all("details")) == 3 and "All 21 rows" in read.text("summary")


def test_training_in_words():
    facts = Reader(render(page())).text("dd")
    assert "GRU, 64 units" in facts and "3, validation loss 0.300" in facts
    assert "no lower validation loss for 1 epochs" in facts and "3 min 4 s" in facts
    assert "more epochs" not in facts
    late = Reader(render(page(history=history(3, 3), seconds=5.25))).text("dd")
    assert "the lowest and the last: more epochs may do better" in late and "5.2 s" in late
    # Kept because it is the last, not because it is the best: more epochs are no remedy.
    kept = Reader(render(page(history=history(4, 4), seconds=7260))).text("dd")
    assert "more epochs" not in kept and "2 h 1 min" in kept
    assert "elman train digits.csv --seed 0" in Reader(render(page())).text("pre")


def test_an_unknown_picture_is_shown_by_its_name(tmp_path):
    read = Reader(render(page(figures=[png(tmp_path / "state_norms.png")])))
    (image,) = read.all("img")
    assert image["alt"] == "State norms, test"
    assert (image["width"], image["height"]) == ("384", "192")  # 4 by 2 inches


def test_large_figures_keep_every_colour(tmp_path):
    from matplotlib.figure import Figure
    from PIL import Image

    from elman.runs.html import PageFigure, PageFigures

    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    shown = axes.imshow(np.random.default_rng(0).normal(size=(60, 60)), cmap="viridis")
    figure.colorbar(shown)
    path = tmp_path / "plots" / "heat.png"
    path.parent.mkdir()
    figure.savefig(path, dpi=style.DPI)
    size = path.stat().st_size
    html = str(PageFigures([path], most=int(size * 1.2)).show(PageFigure(path, "Heat", "Values.")))
    kind, data = re.search(r'src="data:(image/\w+);base64,([^"]+)"', html).groups()
    assert kind == "image/webp" and len(data) < size
    with Image.open(io.BytesIO(base64.b64decode(data))) as on_page, Image.open(path) as file:
        np.testing.assert_array_equal(
            np.asarray(on_page.convert("RGB")), np.asarray(file.convert("RGB"))
        )
    assert 'width="480"' in html and 'height="384"' in html
