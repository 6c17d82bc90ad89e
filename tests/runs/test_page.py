import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from elman.evaluate import evaluate
from elman.plots import save_all
from elman.runs.report.page import Page, headline, render
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
        "pictures": [],
        "config": "[model]\ncell = 'gru'\n",
    }
    return Page(**(parts | changes))


def png(path):
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    Figure(figsize=(4, 2)).savefig(stream, format="png", dpi=150)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize(("k", "tagger"), [(2, False), (10, False), (18, True)])
def test_is_one_well_formed_file(k, tagger, tmp_path):
    test = report(k, baselines={MAJORITY: 1 / k, LOGISTIC: 0.7}, tagger=tagger)
    epochs = history()
    pictures = save_all([e.to_dict() for e in epochs.epochs], test, tmp_path, epochs.kept_epoch)
    html = render(page({"test": test, "validation": report(k), "train": report(k)}, history=epochs,
                       pictures=pictures))  # fmt: skip
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
            pictures=[png(tmp_path / "<i>.png")],
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
    text = headline("test", report(right=0.95, baselines={MAJORITY: 0.5, LOGISTIC: 0.8}))
    assert re.match(
        r"Test accuracy 95\.0\s% \(95\s% interval 9\d\.\d – 9\d\.\d\s%\), against", text
    )
    assert re.search(
        r"80\.0\s% for logistic regression on summaries and 50\.0\s% for the majority class: "
        r"the recurrence earns its keep\.$",
        text,
    )


@pytest.mark.parametrize("simpler", [0.79, 0.8, 0.82])
def test_headline_when_the_simpler_answer_is_as_good(simpler):
    text = headline("test", report(right=0.8, baselines={MAJORITY: 0.5, LOGISTIC: simpler}))
    assert "not shown to beat the simpler answer, which lies within the interval." in text
    assert "earns its keep" not in text


def test_headline_when_the_simpler_answer_is_better():
    text = headline("test", report(right=0.6, baselines={MAJORITY: 0.5, LOGISTIC: 0.9}))
    assert "does worse than the simpler answer, which lies above the interval." in text
    assert "earns its keep" not in text


def test_headline_without_an_error_is_not_certain():
    text = headline("test", report(right=1.0, n=40, baselines={LOGISTIC: 0.95}))
    assert re.search(r"no error in 40 sequences, 95\s% interval 92\.5 – 100\.0\s%", text)
    assert "lies within the interval" in text


def test_headline_never_rounds_up_to_all():
    text = headline("test", report(right=1 - 1 / 5000, n=5000, resamples=0))
    assert text.startswith("Test accuracy 99.9\N{NO-BREAK SPACE}%.")


def test_headline_says_what_it_lacks():
    assert "No baseline was run" in headline("test", report())
    only = headline("test", report(right=0.95, baselines={MAJORITY: 0.5}))
    assert "whether that takes a recurrence was not tried" in only
    for right, words in ((0.9, "it is ahead"), (0.5, "it is not ahead")):
        text = headline("test", report(right=right, baselines={LOGISTIC: 0.7}, resamples=0))
        assert f"{words}, but no interval says how much is chance." in text
    assert "may have chosen the epoch" in headline("validation", report())
    assert "nothing about new ones" in headline("train", report())


def test_headline_adds_balanced_accuracy_where_it_tells_another_story():
    true = np.array([0] * 190 + [1] * 10)
    answers = true.copy()
    answers[:12] = 1  # finds every rare case at the price of false alarms
    rare = evaluate(true, np.eye(2)[answers], ["healthy", "ill"], lengths=np.full(200, 3),
                    baselines={MAJORITY: np.zeros(200, dtype=int)})  # fmt: skip
    text = headline("test", rare)
    assert "lies within the interval. By balanced accuracy" in text
    assert text.endswith("it is clearly ahead.")
    assert "balanced" not in headline("test", report(baselines={LOGISTIC: 0.6}))


def test_tagger_speaks_of_steps():
    test = report(4, right=0.9, tagger=True, baselines={MAJORITY: 0.25, TAGS: 0.8})
    text = headline("test", test)
    assert text.startswith("Test accuracy over steps 90.0")
    assert "for the most frequent tag of the token and" in text
    read = Reader(render(page({"test": test})))
    assert read.table("Sequences")[0][1] == "200" and read.table("Steps")[0][1] == "1,000"
    assert "All figures are over steps" in read.text("p")
    assert read.table("class")[0][-1] == "steps"
    alone = headline("test", report(tagger=True, baselines={LOGISTIC: 0.5}))
    assert "logistic regression on each step alone" in alone


def test_figures_by_part():
    test = report(3, right=0.9, baselines={MAJORITY: 0.3, LOGISTIC: 0.6})
    validation, train = report(3, right=0.85), report(3, right=0.99)
    read = Reader(render(page({"test": test, "validation": validation, "train": train})))
    low, high = test.intervals["accuracy"]
    (row,) = read.table("Accuracy")
    found = ["0.900", f"{low:.3f} – {high:.3f}", "0.600", "0.300", "0.850", "0.990"]
    assert row == ["Accuracy", *found]
    (row,) = read.table("Log loss")
    figures = [f"{r.log_loss:.3f}" for r in (test, validation, train)]
    assert row == ["Log loss", figures[0], "–", "–", "–", *figures[1:]]
    for name in ("Balanced accuracy", "Precision", "Recall", "F1", "ROC AUC", "Calibration error"):
        assert len(read.table(name)[0]) == 7
    assert "(macro)" in read.text("p")
    assert "those of the class “c1”" in Reader(render(page())).text("p")


def test_one_class_has_no_roc_auc():
    only = evaluate([0, 0], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"], lengths=[1, 1], resamples=0)
    assert Reader(render(page({"test": only}))).table("ROC AUC") == [["ROC AUC", "–"]]


def test_confusions_are_the_largest_off_the_diagonal():
    true = np.array([0] * 10 + [1] * 10 + [2] * 20)
    answers = true.copy()
    answers[:4], answers[10:13], answers[20:21] = 1, 2, 0
    test = evaluate(true, np.eye(3)[answers], ["a", "b", "c"], lengths=np.full(40, 2))
    read = Reader(render(page({"test": test})))
    assert [row for row in read.rows if row and " → " in row[0]] == [
        ["true → predicted", "count", "of the true class"],
        ["a → b", "4", "40.0 %"],
        ["b → c", "3", "30.0 %"],
        ["c → a", "1", "5.0 %"],
    ]
    flawless = Reader(render(page({"test": report(3, right=1.0)})))
    assert "every answer is right" in flawless.text("p")
    assert "confusions" not in Reader(render(page())).text("h2")  # two classes


def test_parts_that_are_missing_leave_no_trace():
    read = Reader(render(page(history=history(validation=False))))
    head = read.text("h2")
    assert "Pictures" not in head and "Notes" not in read.text()
    assert not read.all("img")
    assert read.table("Accuracy")[0][-1] == "0.500"  # the last baseline: no other part
    assert "validation loss" not in read.text("dd")
    empty = Reader(render(page(history=History(), notes=["interrupted"])))
    assert "interrupted" in empty.text("li") and "0" in empty.text("dd")


def test_many_classes_are_folded():
    assert len(Reader(render(page({"test": report(20)}))).all("details")) == 1  # the config's
    read = Reader(render(page({"test": report(21)})))
    assert len(read.all("details")) == 2 and "All 21 classes" in read.text("summary")


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
    read = Reader(render(page(pictures=[png(tmp_path / "state_norms.png")])))
    (image,) = read.all("img")
    assert image["alt"] == "state norms, test"
    assert (image["width"], image["height"]) == ("384", "192")  # 4 by 2 inches
