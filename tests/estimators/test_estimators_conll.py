"""A tagger that is trained on a CoNLL file reads later ones alike."""

from __future__ import annotations

from pathlib import Path

from elman import SequenceTagger, load
from elman.data import read
from elman.runs.prediction_files import conll_pieces
from elman.runs.predictions import collect_predictions

SENTENCES = [
    [("Anna", "S-PER"), ("saw", "O"), ("New", "B-LOC"), ("York", "E-LOC")],
    [("Rome", "S-LOC"), ("is", "O"), ("far", "O")],
    [("Jo", "B-PER"), ("Smith", "E-PER"), ("left", "O")],
]


def write(path: Path, columns: int, ends: str = "\n") -> Path:
    blocks = ["".join("\t".join(pair[:columns]) + "\n" for pair in own) for own in SENTENCES * 4]
    path.write_text(ends.join(blocks))
    return path


def test_trained_saved_and_used_with_other_files(tmp_path: Path) -> None:
    data = read(write(tmp_path / "train.conll", 2))
    tagger = SequenceTagger(hidden_size=8, epochs=30, validation=0, random_state=0).fit(data)
    tagger.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.layout_ is not None and again.layout_.blocks
    alone = write(tmp_path / "new.txt", 1)
    found = again.predict(alone)
    expected = tagger.predict(data)
    assert [list(own) for own in found] == [list(own) for own in expected]
    assert again.read(alone).names == [str(i) for i in range(1, 13)]
    report = again.evaluate(write(tmp_path / "test.conll", 2))
    assert report.entities is not None
    assert [row.label for row in report.entities.by_name] == ["LOC", "PER"]
    assert report.entities.support == 16
    encoded = again.encode(data.inputs)
    text = "".join(conll_pieces(collect_predictions(again, data, encoded)))
    # What is written has the true and the predicted tags, as conlleval reads them.
    (tmp_path / "p.conll").write_text(text)
    written = read(tmp_path / "p.conll", target="2")
    assert [own.tolist() for own in written.target] == [own.tolist() for own in data.target]
    predicted = read(tmp_path / "p.conll", target="3")
    assert [own.tolist() for own in predicted.target] == [list(own) for own in expected]
