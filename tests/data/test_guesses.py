"""What is guessed of a file is right and said; what cannot be guessed is asked, with the flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elman.data import read
from elman.errors import DataError


def cell(kind: str, i: int, k: int, row: int, rng: np.random.Generator) -> str:
    """Return a cell of sequence i, step k, of the kind that a test asks for."""
    seconds = {"clock": row, "own": k}.get(kind, 0)
    moment = np.datetime64("2024-01-31T00:00:00") + seconds * 3600
    return {
        "id": f"r{i}",
        "number": str(i + 1),
        "group": f"s{i // 3}",
        "age": str(30 + 7 * (i // 2)),
        "rare": f"{40 + i * 1.37:.2f}",
        "file": "one",
        "time": f"{k * 0.02:.2f}",
        "count": str(k),
        "row": str(row),
        "trial": str(i % 3 + 1),
        "clock": str(moment),
        "own": str(moment),
        "noise": f"{rng.normal():.3f}",
        "comma": f"{rng.normal():.2f}".replace(".", ","),
        "whole": str(rng.integers(50, 90)),
        "label": ("walk", "run")[i % 2],
        "code": str(i % 2),
        "tag": ("on", "off")[int(rng.integers(2))],
        "word": "abcd"[int(rng.integers(4))],
        "text": " ".join(rng.choice(["so", "it", "goes", "on", "and"], 6)) + f" {row}",
        "dna": "".join("ACGT"[c] for c in rng.integers(0, 4, 40)),
        "score": f"{i * 0.25 + 0.1:.2f}",
        "gappy": "" if row % 3 else "hot",
    }[kind]


def table(spec: str, n: int = 8, steps: int = 6, mark: str = ",", quoted: bool = False) -> str:
    """Return a file of n sequences; `spec` has `name:kind` for each column, separated by |.

    `t0..t4:noise` stands for numbered columns.
    """
    names, kinds = [], []
    for column in spec.split("|"):
        name, kind = column.rsplit(":", 1)
        first, dots, last = name.partition("..")
        stem = first.rstrip("0123456789")
        ends = [int(end.removeprefix(stem)) for end in (first, last)] if dots else []
        own = [f"{stem}{i}" for i in range(ends[0], ends[1] + 1)] if ends else [name]
        names += own
        kinds += [kind] * len(own)
    rng = np.random.default_rng(0)
    head = [f'"{name}"' if quoted or mark in name else name for name in names]
    rows = [
        mark.join(cell(kind, i, k, i * steps + k, rng) for kind in kinds)
        for i in range(n)
        for k in range(steps)
    ]
    return "\n".join([mark.join(head), *rows]) + "\n"


def steps(spec: str, **how: Any) -> dict[str, Any]:
    return {"text": table(spec, **how)}


def rows(spec: str, **how: Any) -> dict[str, Any]:
    return {"text": table(spec, **{"n": 24, "steps": 1, **how})}


# A name, the file, the flags, and the roles that must be found; `unused` are columns left out.
LAYOUTS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # The cases of the issue.
    ("recordings",
     steps("recording:id|subject:group|time_s:time|acc_x:noise|acc_y:noise|activity:label"), {},
     {"format": "steps", "id": "recording", "time": "time_s", "values": ("acc_x", "acc_y"),
      "target": "activity", "unused": ["subject"], "per_step": False}),
    ("recordings, id named",
     steps("recording:id|subject:group|time_s:time|acc_x:noise|activity:label"),
     {"id": "recording"},
     {"time": "time_s", "values": ("acc_x",), "target": "activity", "unused": ["subject"]}),
    ("numbered subjects",
     steps("recording:number|subject:age|time_s:time|acc_x:noise|activity:label"), {},
     {"id": "recording", "values": ("acc_x",), "unused": ["subject"]}),
    ("pumps", steps("pump:id|second:count|pressure:noise|flow:noise|label:label"), {},
     {"format": "steps", "id": "pump", "time": "second", "values": ("pressure", "flow")}),
    ("pumps, numbered", steps("pump:number|second:count|pressure:noise|flow:noise|label:label"), {},
     {"id": "pump", "time": "second", "values": ("pressure", "flow")}),
    ("patients", rows("patient_id:number|age:age|sex:tag|t0..t19:noise|outcome:code"), {},
     {"format": "rows", "target": "outcome", "values": tuple(f"t{i}" for i in range(20)),
      "wide": (), "id": "patient_id", "static": ("age", "sex"), "unused": []}),
    ("channels over steps", rows("x_1..x_6:noise|y_1..y_6:noise|label:label"), {},
     {"format": "rows", "wide": ("x", "y"), "target": "label",
      "values": tuple(f"{c}_{i}" for c in "xy" for i in range(1, 7))}),
    ("natural order", rows("t1:noise|t10:noise|t11:noise|t2:noise|t3:noise|label:label"), {},
     {"values": ("t1", "t2", "t3", "t10", "t11")}),
    ("demand", {"text": table("date:clock|demand:whole", n=1, steps=3000)}, {},
     {"format": "steps", "id": None, "time": "date", "values": ("demand",), "target": None}),
    ("decimal commas", steps("id:number|t:count|temp:comma|label:label", mark=";"), {},
     {"id": "id", "time": "t", "values": ("temp",), "decimal": ","}),
    # Twenty more.
    ("units",
     steps("Sensor ID:id|Timestamp [ms]:count|Temp (°C):noise|Humidity [%]:whole|Class:label"), {},
     {"id": "Sensor ID", "time": "Timestamp [ms]", "values": ("Temp (°C)", "Humidity [%]"),
      "target": "Class"}),
    ("medicine", steps("patient_id:id|visit_hour:count|HR:whole|SpO2:whole|diagnosis:label"), {},
     {"id": "patient_id", "time": "visit_hour", "values": ("HR", "SpO2"), "target": "diagnosis"}),
    ("finance", steps("ticker:id|date:own|open:noise|close:noise|signal:tag"), {},
     {"id": "ticker", "time": "date", "values": ("open", "close"), "target": "signal",
      "per_step": True}),
    ("speech",
     steps("utterance:number|frame:count|mfcc_1..mfcc_5:noise|speaker:group|label:label"), {},
     {"id": "utterance", "time": "frame", "values": tuple(f"mfcc_{i}" for i in range(1, 6)),
      "unused": ["speaker"]}),
    ("logs", steps("session_id:id|timestamp:own|word:word|anomaly:code"), {},
     {"kind": "tokens", "id": "session_id", "text": "word", "target": "anomaly"}),
    ("DNA", steps("read_id:id|position:count|base:word|label:label"), {},
     {"kind": "tokens", "id": "read_id", "text": "base", "time": "position"}),
    ("engines", steps("unit:number|cycle:count|op_setting_1:noise|s1..s3:noise|failure:code"), {},
     {"id": "unit", "time": "cycle", "values": ("op_setting_1", "s1", "s2", "s3"),
      "target": "failure"}),
    ("quotes and a byte order mark",
     {"text": "\ufeff" + table("Recording ID:id|Time, s:time|Force, N:noise|Outcome:label",
      quoted=True)}, {},
     {"id": "Recording ID", "time": "Time, s", "values": ("Force, N",), "target": "Outcome"}),
    ("capitals", steps("ID:id|TIME:count|VALUE:noise|LABEL:label"), {},
     {"id": "ID", "time": "TIME", "values": ("VALUE",), "target": "LABEL"}),
    ("German, one recording",
     {"text": table("Zeit:clock|Wert:comma|Klasse:tag", n=1, steps=60, mark=";")}, {},
     {"format": "steps", "id": None, "time": "Zeit", "values": ("Wert",), "target": "Klasse",
      "per_step": True, "decimal": ","}),
    ("German machines",
     steps("Maschine:number|Zeit:time|Druck (bar):comma|Zustand:label", mark=";"), {},
     {"id": "Maschine", "time": "Zeit", "values": ("Druck (bar)",), "target": "Zustand"}),
    ("EEG, wide", rows("class:code|Fp_1..Fp_4:noise|Cz_1..Cz_4:noise"), {},
     {"wide": ("Fp", "Cz"), "target": "class"}),
    ("days of households", rows("household:group|date:clock|h0..h23:noise|label:code"), {},
     {"format": "rows", "values": tuple(f"h{i}" for i in range(24))}),
    ("reviews by user", rows("user_id:group|review:text|stars:code"), {},
     {"format": "rows", "text": "review", "target": "stars"}),
    ("conversations", steps("conversation_id:id|turn:count|text:text|label:tag"), {},
     {"id": "conversation_id", "target": "label"}),
    ("headlines", rows("date:clock|headline:text|label:label"), {},
     {"format": "rows", "text": "headline", "target": "label"}),
    ("journeys without times", steps("trip:id|lat:noise|lon:noise|mode:label"), {},
     {"id": "trip", "time": None, "values": ("lat", "lon"), "target": "mode"}),
    ("a file name as id", steps("file:id|frame:count|x:noise|y:noise|z:noise|gesture:label"), {},
     {"id": "file", "values": ("x", "y", "z"), "target": "gesture"}),
    ("a static measure", steps("patient:id|hour:count|weight:rare|pulse:whole|label:label"), {},
     {"id": "patient", "time": "hour", "values": ("pulse",), "static": ("weight",)}),
    ("camel case", steps("subjectId:id|timeMs:count|accX:noise|accY:noise|label:label"), {},
     {"id": "subjectId", "time": "timeMs", "values": ("accX", "accY")}),
    ("two clocks",
     steps("id:id|time:count|timestamp_ms:count|x:noise|label:label"), {"time": "time"},
     {"values": ("x",), "unused": ["timestamp_ms"]}),
    ("a row counter", steps("row:row|id:id|t:count|x:noise|label:label"), {},
     {"id": "id", "values": ("x",), "unused": ["row"]}),
    ("speed is no time", steps("id:id|t:count|wind_m_s:noise|label:label"), {},
     {"time": "t", "values": ("wind_m_s",)}),
    ("unknown name of the id", steps("valve:number|seconds:count|bar:noise|label:label"), {},
     {"id": "valve", "time": "seconds", "values": ("bar",)}),
    ("group named",
     steps("recording:id|subject:group|t:count|x:noise|label:label"), {"group": "subject"},
     {"id": "recording", "values": ("x",), "unused": []}),
    ("series of a forecast", steps("unique_id:id|ds:own|y:noise"), {},
     {"id": "unique_id", "time": "ds", "values": ("y",), "target": None}),
    ("milliseconds", steps("session:id|device:group|ms:count|gx:noise|gesture_name:label"), {},
     {"id": "session", "time": "ms", "values": ("gx",), "unused": ["device"]}),
    ("subject and trial", steps("subject:group|trial:trial|time:count|x:noise|label:label"), {},
     {"id": "subject,trial", "values": ("x",), "group": "subject"}),
    ("long trials of a subject",
     steps("subject_id:group|trial:trial|sample:count|x:noise|label:label", n=24, steps=40), {},
     {"id": "subject_id,trial", "values": ("x",), "group": "subject_id"}),
    ("numbered header with statics",
     rows("id:number|subject:group|age:age|label:label|0..9:noise"), {},
     {"values": tuple(map(str, range(10))), "id": "id", "group": "subject", "static": ("age",)}),
    ("y beside x and words", steps("id:id|time_s:time|x:noise|y:noise|phase:label"), {},
     {"values": ("x", "y"), "target": "phase"}),
    ("letters called sequence", rows("sequence:dna|promoter:label", n=40), {},
     {"format": "rows", "text": "sequence", "target": "promoter", "unused": []}),
    ("letters called protein", rows("accession_id:id|protein:dna|family:label", n=40), {},
     {"text": "protein", "target": "family", "id": "accession_id", "unused": []}),
    ("static as an input", steps("recording:id|subject:age|t:count|x:noise|label:label"),
     {"values": "x,subject"}, {"values": ("x", "subject"), "unused": []}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "flags", "expected"), [x[1:] for x in LAYOUTS], ids=[x[0] for x in LAYOUTS]
)
def test_roles(given, flags, expected, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(given["text"], encoding="utf-8")
    layout = read(path, **flags).layout
    found = {guess.role: guess for guess in layout.guesses}
    unused = [name for guess in layout.guesses if guess.role == "unused" for name in guess.columns]
    facts = {**vars(layout), "unused": unused}
    facts["decimal"] = "," if "decimal" in found else "."
    assert {name: facts[name] for name in expected} == expected
    for guess in layout.guesses:
        assert guess.flag and guess.reason and guess.change.startswith("--")
    again = read(path, layout=layout)
    assert (again.layout.values, again.layout.wide) == (layout.values, layout.wide)
    np.testing.assert_array_equal(again.lengths, read(path, **flags).lengths)


# A name, the file, the flags, and what the question must hold.
QUESTIONS: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ("rows or steps",
     {"text": table("acc_x:noise|acc_y:noise|acc_z:noise|label:tag", n=1, steps=50)}, {},
     ("3 channels of a time step or 3 time steps", "--format rows", "--format steps",
      "--id NAME", "--window")),
    ("recordings without an id", steps("time:count|force:noise|label:label"), {},
     ("'time'", "starts again 7 times", "--id NAME", "--format steps", "--format rows")),
    ("a label with gaps", steps("id:id|t:count|x:noise|mode:gappy"), {"labelled": True},
     ("no column is known to be the target", "--target mode", "cells empty")),
    ("two labels", steps("id:id|t:count|x:noise|terrain:label|posture:tag"), {"labelled": True},
     ("--target terrain", "--target posture")),
    ("one number a row", {"text": table("reading:noise|label:tag", n=1, steps=40)}, {},
     ("'reading'", "--format steps", "--text reading")),
    ("a life to predict", steps("unit:number|cycle:count|s1..s3:noise|RUL:score"),
     {"labelled": True}, ("--target RUL",)),
    ("recordings of a user",
     steps("user:group|timestamp:count|x:noise|activity:label", n=24, steps=40), {},
     ("'user' looks like the id", "'timestamp' starts again 16 times", "--id NAME",
      "--group user")),
    ("a number to predict", steps("event_id:id|sample:count|amplitude:noise|site:gappy|size:code"),
     {"labelled": True}, ("--target size",)),
    ("nothing to predict",
     {"text": table("date:clock|demand:whole", n=1, steps=300)}, {"labelled": True},
     ("no column is known to be the target", "'date', 'demand'", "--target NAME")),
    ("thousands or decimals",
     {"text": "id;t;x;label\na;0;1,234;u\na;1;2,345;u\nb;0;3,456;v\nb;1;4,567;v\n"}, {},
     ("'1,234'", "--decimal ,", "1.234", "1234")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "flags", "parts"), [x[1:] for x in QUESTIONS], ids=[x[0] for x in QUESTIONS]
)
def test_questions(given, flags, parts, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(given["text"], encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path, **flags)
    for part in parts:
        assert part in str(caught.value)


def faults(text: str, tmp_path: Any, **flags: Any) -> str:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path, labelled=True, **flags)
    return str(caught.value).removeprefix(f"{path}: ")


def test_faults_that_may_follow_from_a_guess_begin_with_it(tmp_path):
    # The label is guessed from its content, and one of 100 sequences has none.
    lines = table("id:id|t:count|x:noise|mode:label", n=100).splitlines()
    lines[7:13] = [line.rsplit(",", 1)[0] + "," for line in lines[7:13]]
    said = faults("\n".join(lines), tmp_path)
    assert said.startswith("column 'mode' was read as the label, a guess (likely: the only column")
    assert said.index("--target NAME changes it") < said.index("line 8, column mode: no row of")
    # Named and full, it is beyond doubt: the fault alone is told.
    said = faults("\n".join(lines).replace("mode", "label"), tmp_path)
    assert "guess" not in said


def test_many_faults_of_a_named_column_speak_against_its_role(tmp_path):
    head, *rows = table("id:id|t:count|x:noise|label:label", n=300).splitlines()
    rows = [r.rsplit(",", 1)[0] + "," if i // 6 % 6 else r for i, r in enumerate(rows)]
    said = faults("\n".join([head, *rows]), tmp_path)
    assert said.startswith("column 'label' was read as the label, a guess (unsure: by its name)")
    assert "250 faults" in said and len(said.splitlines()) == 8


def test_scattered_ids_are_doubted_first(tmp_path):
    head, *rows = table("id:id|t:count|x:noise|label:label").splitlines()
    said = faults("\n".join([head, *rows[::2], *rows[1::2]]), tmp_path)
    assert said.startswith("column 'id' was read as the sequence that a row belongs to, a guess")
    assert "its rows are scattered" in said and "--id NAME changes it" in said
