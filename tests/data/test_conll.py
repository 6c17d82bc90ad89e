"""CoNLL files: sentences of tokens in columns, in the forms in which they are shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from elman.data import Dataset, Ragged, describe, read
from elman.data.targets import find_entities, find_scheme, name_scheme
from elman.errors import DataError

Sentence = list[tuple[str, ...]]
SENTENCES: list[Sentence] = [
    [("EU", "NNP", "B-NP", "B-ORG"), ("rejects", "VBZ", "B-VP", "O"), ("it", "PRP", "B-NP", "O")],
    [("Peter", "NNP", "B-NP", "B-PER"), ("Blackburn", "NNP", "I-NP", "I-PER")],
    [("#tag", "NN", "B-NP", "O"), ("in", "IN", "O", "O"), ("Rome", "NNP", "B-NP", "B-LOC")],
]
TOKENS = [[token[0] for token in sentence] for sentence in SENTENCES]
TAGS = [[token[3] for token in sentence] for sentence in SENTENCES]


def write(separator: str, columns: Sequence[int]) -> str:
    blocks = [
        "".join(separator.join(token[c] for c in columns) + "\n" for token in sentence)
        for sentence in SENTENCES
    ]
    return "\n".join(blocks)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(name: str, content: str, **settings: Any) -> Dataset:
        (tmp_path / name).write_bytes(content.encode())
        return read(tmp_path / name, **settings)

    return load


def lists(values: Any) -> list[Any]:
    assert isinstance(values, Ragged)
    return [own.tolist() for own in values]


FORMS = [
    ("2003", "a.conll", "-DOCSTART- -X- O O\n\n" + write(" ", range(4)), [3, 7, 10]),
    ("two columns", "a.iob", write(" ", (0, 3)), [1, 5, 8]),
    ("tabs", "a.tsv", write("\t", (0, 3)), [1, 5, 8]),
    ("runs of blanks", "a.bio", write("   ", (0, 3)), [1, 5, 8]),
    ("blanks", "a.txt", write(" ", (0, 3)), [1, 5, 8]),
    ("no ending", "a", write(" ", (0, 1, 3)), [1, 5, 8]),
    ("commas", "a.csv", write(",", (0, 3)), [1, 5, 8]),
    ("semicolons", "a.csv", write(";", (0, 3)), [1, 5, 8]),
    ("header", "a.tsv", "token\ttag\n" + write("\t", (0, 3)), [2, 6, 9]),
    ("header and blank", "a.csv", "Word,POS,Tag\n\n" + write(",", (0, 1, 3)), [3, 7, 10]),
    ("header of blanks", "a.txt", "Token POS NER\n" + write(" ", (0, 1, 3)), [2, 6, 9]),
    ("CRLF", "a.tsv", write("\t", (0, 3)).replace("\n", "\r\n"), [1, 5, 8]),
    ("byte order mark", "a.conll", "\ufeff" + write("\t", (0, 3)), [1, 5, 8]),
    ("comments", "a.txt", "# id 1\n" + write("\t", (0, 3)).replace("\n\n", "\n\n# id 2\n"), None),
    ("blank cells", "a.txt", write("\t", (0, 3)).replace("\n\n", "\n \t\n"), [1, 5, 8]),
    ("several blank lines", "a.conll", write("\t", (0, 3)).replace("\n\n", "\n\n\n\n"), None),
    ("documents", "a.conll", write(" ", (0, 3)).replace("\n\n", "\n-DOCSTART- O\n"), None),
]


@pytest.mark.parametrize(("form", "name", "content", "starts"), FORMS, ids=[f[0] for f in FORMS])
def test_forms(form: str, name: str, content: str, starts: list[int] | None, load: Any) -> None:
    data = load(name, content)
    assert lists(data.inputs) == TOKENS
    assert lists(data.target) == TAGS
    assert data.lines is not None and data.ids == ("1", "2", "3")
    assert starts is None or data.lines.tolist() == starts
    assert any("BIO (IOB2)" in note for note in data.layout.notes)
    again = load(name, content, layout=data.layout)
    assert lists(again.inputs) == TOKENS and lists(again.target) == TAGS
    # A sentence whose tags are all O still has a tag at every step.
    ended = content.replace("\r", "").rstrip().split("\n")
    short = "\n".join([*ended[:1] * data.layout.header, *ended[-3:-1]]) + "\n"
    if data.layout.header:
        with pytest.raises(DataError, match="does not name the columns"):
            load(name, "\n".join(ended[-3:]) + "\n", layout=data.layout)
    if form not in ("blank cells", "commas", "semicolons"):
        assert lists(load(name, short, layout=data.layout).target) == [["O", "O"]]
    tokens = "\n\n".join("\n".join(sentence) for sentence in TOKENS)
    assert lists(load(name, tokens, layout=data.layout).inputs) == TOKENS
    assert "a blank line after each sentence" in describe(data)


def test_a_guess_by_content_is_said(load: Any) -> None:
    (guess,) = [g for g in load("a.tsv", write("\t", (0, 3))).layout.guesses if g.role == "format"]
    assert (guess.flag, guess.change) == ("--format conll", "--format rows")
    assert not any(g.role == "format" for g in load("a.conll", write("\t", (0, 3))).layout.guesses)
    rows = load("a.tsv", write("\t", (0, 3)), format="rows", target="B-ORG")
    assert rows.layout.format == "rows"
    assert lists(load("b.x", write("\t", (0, 3)), format="conll").inputs) == TOKENS


@pytest.mark.parametrize("target", ["2", "POS"])
def test_the_target_by_name_or_number(target: str, load: Any) -> None:
    data = load("a.txt", "Word POS NER\n" + write(" ", (0, 1, 3)), target=target)
    assert data.layout.target == "POS" and lists(data.target)[1] == ["NNP", "NNP"]
    plain = load("a.txt", write(" ", range(4)), target="3", text="2")
    assert lists(plain.inputs)[1] == ["NNP", "NNP"] and lists(plain.target)[1] == ["B-NP", "I-NP"]
    mixed = load("a.txt", write(" ", range(4)), target="4", categories="1,2")
    assert mixed.layout.kind == "mixed" and mixed.layout.categories == ("1", "2")


TREEBANK = """# newdoc id = d
# sent_id = s-1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_
5.1\tx\tx\tNOUN\t_\t_\t_\t_\t1:obl\t_

# sent_id = s-2
1\tcanta\tcantar\tVERB\t_\t_\t0\troot\t_\t_
2\tbien\tbien\tADV\t_\t_\t1\tadvmod\t_\tSpaceAfter=No
3\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\t_

"""


@pytest.mark.parametrize("name", ["a.conllu", "a.txt", "a.tsv"])
def test_treebanks(name: str, load: Any) -> None:
    data = load(name, TREEBANK)
    assert lists(data.inputs) == [["vamos", "nos", "a", "el", "mar"], ["canta", "bien", "."]]
    assert lists(data.target)[1] == ["VERB", "ADV", "PUNCT"]
    assert data.ids == ("s-1", "s-2") and data.lines.tolist() == [5, 14]
    assert "left out 3 lines of ranges and empty nodes (ID 1-2 or 1.1)" in data.layout.notes
    (guess,) = [guess for guess in data.layout.guesses if guess.role == "target"]
    assert guess.columns == ("UPOS",) and "'DEPREL'" in guess.reason
    assert lists(load(name, TREEBANK, target="DEPREL").target)[1] == ["root", "advmod", "punct"]
    assert lists(load(name, TREEBANK, text="LEMMA").inputs)[1] == ["cantar", "bien", "."]


def test_other_tasks_of_conll(load: Any) -> None:
    words = [[("The", "DT"), ("cat", "NN"), ("sat", "VB")], [("A", "DT"), ("dog", "NN")]]
    lines = [
        "".join(f"d/x 0 {i} {w} {p} * - -\n" for i, (w, p) in enumerate(sentence))
        for sentence in words
    ]
    text = "#begin document (d/x); part 000\n" + "\n".join(lines) + "\n#end document\n"
    data = load("a.conll", text)
    assert lists(data.inputs) == [["The", "cat", "sat"], ["A", "dog"]]
    assert lists(data.target)[1] == ["DT", "NN"]
    plus = "# global.columns = ID FORM UPOS\n1\ta\tX\n2\tb\tY\n\n1\ta\tX\n2\tb\tY\n"
    data = load("a.conllu", plus)
    assert (data.layout.text, data.layout.target) == ("FORM", "UPOS")


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (write(" ", range(4)).replace("VBZ B-VP O", "VBZ B-VP"), [(2, "3 columns, expected 4")]),
        (
            write("\t", (0, 3)).replace("in\tO", "in").replace("it\tO", "it\tO\tO"),
            [(3, "3 columns, expected 2"), (9, "1 column, expected 2")],
        ),
        (write("\t", (0, 3)).replace("in\tO", "\tO"), [(9, "the token is empty")]),
        ("# only a comment\n\n", [(None, "there is no token")]),
    ],
)
def test_faults_by_line(content: str, faults: list[tuple[int | None, str]], load: Any) -> None:
    with pytest.raises(DataError) as caught:
        load("a.conll", content)
    found = caught.value.faults or (caught.value,)
    assert [
        (fault.line, fault.problem[: len(problem)])
        for fault, (_, problem) in zip(found, faults, strict=True)
    ] == faults


def test_a_token_without_a_tag_is_not_labelled(load: Any) -> None:
    data = load("a.conll", write("\t", (0, 3)).replace("in\tO", "in\t"))
    assert lists(data.target)[2] == ["O", None, "B-LOC"]


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", "id,t,x,label\n\n" + "\n\n".join(f"{i // 4},{i % 4},{i}.5,a" for i in range(12)),
         "steps"),
        ("a.csv", "text,label\ngood film,1\n\nbad film,0\nawful,0\n\nok,1\n", "rows"),
        ("a.csv", "name,kind\nAnna,f\nBo,m\n\nJim,m\nIda,f\nAda,f\n", "rows"),
        ("a.csv", "person,ward,outcome\nA,x,u\nB,y,v\n\nC,x,u\nD,y,v\n", "rows"),
    ],
)  # fmt: skip
def test_tables_with_blank_lines_are_no_sentences(
    name: str, content: str, form: str, load: Any
) -> None:
    layout = load(name, content).layout
    assert layout.format == form and not layout.blocks


SCHEMES = [
    ("B-a I-a O B-b", "BIO (IOB2)", [(0, 2, "a"), (3, 4, "b")]),
    ("I-a I-a B-a O I-b", "IOB1", [(0, 2, "a"), (2, 3, "a"), (4, 5, "b")]),
    ("O I-a", "IOB1", [(1, 2, "a")]),
    ("B-a I-a E-a S-a O S-b", "BIOES", [(0, 3, "a"), (3, 4, "a"), (5, 6, "b")]),
    ("B-a L-a U-a U-a O", "BILOU", [(0, 2, "a"), (2, 3, "a"), (3, 4, "a")]),
    ("B-a M-a E-a S-b", "BMEOS", [(0, 3, "a"), (3, 4, "b")]),
    ("I-a E-a E-a O", "IOE", [(0, 2, "a"), (2, 3, "a")]),
    ("NOUN VERB", None, None),
    ("B-a X-b", None, None),
    ("B-a L-a E-a", None, None),
]


@pytest.mark.parametrize(("tags", "scheme", "entities"), SCHEMES)
def test_schemes(tags: str, scheme: str | None, entities: list[Any] | None) -> None:
    own = tags.split()
    assert name_scheme([own]) == scheme
    assert (find_scheme(own) is None) == (scheme is None)
    if entities is not None:
        assert find_entities(own) == entities
