"""C programs of every form of network, compiled by gcc with its sanitizers and asked."""

import random
import re

import numpy as np
import pytest
import torch
from c_programs import (
    CELLS,
    FLAGS,
    KINDS,
    STATIC,
    TASKS,
    combinations,
    compile_and_run,
    fit,
    run,
    with_network,
    write,
)
from cases import unregister_cell

from elman import SequenceClassifier
from elman.errors import ExportError, SettingsError
from elman.export import c, to_c
from elman.export.c.literals import comment, string
from elman.export.c.sizes import count_bytes
from elman.export.c.source import Program
from elman.export.c.tables import make_tables
from elman.layers import register_cell
from elman.ops.cells import Cell

LIMIT = 1e-5
_FITTED = {}


def make(key, seed=0, **changes):
    if key not in _FITTED:
        _FITTED[key] = fit(*key)
    estimator, data = _FITTED[key]
    return with_network(estimator, seed, **changes), data


def sample(count):
    """Combinations that have every kind, task, cell and place of static features."""
    chosen = random.Random(5).sample(list(combinations()), count)
    keys = [key for key, _ in chosen]
    assert {key[0] for key in keys} == set(KINDS)
    assert {key[1] for key in keys} == set(TASKS)
    assert {key[2] for key in keys} == set(STATIC)
    cells = {(changes["cell"], changes["nonlinearity"]) for _, changes in chosen}
    assert cells == set(CELLS)
    forms = {(c["bidirectional"], c["readout"]) for _, c in chosen}
    assert len(forms) == 8
    return chosen


def write_all(folder, chosen):
    for i, (key, changes) in enumerate(chosen):
        estimator, data = make(key, i, **changes)
        # Every third in int8, every second on sequences of the user, the others on random ones.
        report = write(folder, f"m{i}", estimator, data if i % 2 else None, int8=i % 3 == 0)
        assert report.parity is None or report.parity.difference <= LIMIT
        sizes = {path.name: path.stat().st_size for path, _ in report.files}
        assert sizes == {path.name: size for path, size in report.files}
    return [f"m{i}" for i in range(len(chosen))]


def test_programs_answer_as_elman_does(tmp_path):
    names = write_all(tmp_path, sample(26))
    found = compile_and_run(tmp_path, names)
    assert list(found) == names
    assert max(found.values()) <= LIMIT, found


@pytest.mark.slow
@pytest.mark.parametrize("part", range(40))
def test_every_combination(part, tmp_path):
    names = write_all(tmp_path, list(combinations())[part::40])
    found = compile_and_run(tmp_path, names)
    assert list(found) == names
    assert max(found.values()) <= LIMIT, found


FAULTS = {
    "gru": [
        (r"HIDDEN \+ j, m = 2 \* HIDDEN \+ j", "2 * HIDDEN + j, m = HIDDEN + j"),
        (r"\(1\.0f - z\) \* n \+ z \* h\[j\]", "z * n + (1.0f - z) * h[j]"),
        (r" \+ l->candidate_bias\[j\]", ""),
        (r"memcpy\(h, next, sizeof next\);", "memcpy(h, next, sizeof next - 4);"),
        (r"memset\(state->h, 0, sizeof state->h\);", ""),
        (r"\* mask\+\+ = missing", "*mask++ = !missing"),
        (r"state->pooled\[j\] / \(float\)state->steps", "state->pooled[j]"),
        (r"memcpy\(state->last, filled, sizeof filled\);", ""),
    ],
    "lstm": [
        (r"sigmoid\(sums\[1\]\) \* c\[j\]", "sigmoid(sums[0]) * c[j]"),
        (r"memset\(state->c, 0, sizeof state->c\);", ""),
        (r" \+ output_bias\[k\]", ""),
    ],
}


@pytest.mark.parametrize("cell", list(FAULTS))
def test_a_fault_in_a_program_is_found(cell, tmp_path):
    """The test program sees a wrong gate, a missing bias, a state that is not reset."""
    changes = {"cell": cell, "num_layers": 2, "bidirectional": False, "readout": "mean"}
    estimator, data = make(("gaps", "classes", ""), 3, **changes)
    write(tmp_path, "good", estimator, data)
    assert compile_and_run(tmp_path, ["good"], ["-std=c99"])["good"] <= LIMIT
    source = (tmp_path / "good.c").read_text()
    for pattern, fault in FAULTS[cell]:
        pattern = pattern.replace(r"\* mask", r"\*mask")
        bad, count = re.subn(pattern, fault, source)
        assert count == 1, pattern
        (tmp_path / "good.c").write_text(bad)
        assert compile_and_run(tmp_path, ["good"], ["-std=c99"])["good"] > LIMIT, fault


@pytest.fixture(scope="module")
def gru(tmp_path_factory):
    """A program that reads three numbers, two of which may be missing."""
    folder = tmp_path_factory.mktemp("gru")
    estimator, data = make(("gaps", "classes", ""), bidirectional=False, readout="mean")
    to_c(estimator, folder, test_data=data)
    return folder, estimator


def run_main(folder, body, name="elman", compiler=("gcc", *FLAGS), ending="c"):
    text = f'#include "{name}.h"\n#include <math.h>\n#include <stdio.h>\n'
    text += f"int main(void)\n{{\n{body}\n}}\n"
    (folder / f"main.{ending}").write_text(text)
    run(["gcc", *FLAGS, "-c", "-o", folder / "model.o", folder / f"{name}.c"])
    run([*compiler, "-o", folder / "main", folder / f"main.{ending}", folder / "model.o", "-lm"])
    return run([folder / "main"])


def test_two_states_and_a_copy_do_not_disturb_each_other(gru):
    folder, estimator = gru
    X = [np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([[0.5, 1, np.nan], [7, 8, 9]])]
    body = """
    static const float x[2][2][3] = {{{1, 2, 3}, {4, 5, 6}}, {{0.5f, 1, NAN}, {7, 8, 9}}};
    elman_state a, b, copy;
    float p[ELMAN_OUTPUTS];
    int i, t;
    elman_reset(&a);
    elman_reset(&b);
    for (t = 0; t < 2; t++) {
        if (elman_step(&a, x[0][t]) || elman_step(&b, x[1][t])) return 1;
        copy = a;
        for (i = 0; i < 2; i++) {
            if (elman_answer(i ? &b : &copy, p)) return 1;
            printf("%.9g %.9g %.9g ", (double)p[0], (double)p[1], (double)p[2]);
            puts(elman_names[elman_best(p)]);
        }
    }
    return 0;"""
    lines = [line.split() for line in run_main(folder, body).splitlines()]
    expected = [estimator.predict_proba([x[: t + 1]])[0] for t in (0, 1) for x in X]
    assert np.allclose([[float(v) for v in line[:3]] for line in lines], expected, atol=LIMIT)
    labels = [str(estimator.predict([x[: t + 1]])[0]) for t in (0, 1) for x in X]
    assert [line[3] for line in lines] == labels


def test_wrong_input_is_refused_and_changes_nothing(gru):
    folder, _ = gru
    body = """
    const float good[3] = {1, 2, 3}, missing[3] = {NAN, 2, NAN}, wrong[3] = {1, NAN, 3};
    const float infinite[3] = {1, INFINITY, 3}, minus[3] = {-INFINITY, 2, 3};
    elman_state state, before;
    float p[ELMAN_OUTPUTS];
    elman_reset(&state);
    if (elman_answer(&state, p) != ELMAN_LENGTH) return 1;
    if (elman_step(&state, good) || elman_step(&state, missing)) return 2;
    before = state;
    if (elman_step(&state, wrong) != ELMAN_MISSING) return 3;
    if (elman_step(&state, infinite) != ELMAN_RANGE) return 4;
    if (elman_step(&state, minus) != ELMAN_RANGE) return 5;
    if (memcmp(&state, &before, sizeof state) != 0) return 6;
    if (elman_answer(&state, p) || p[0] + p[1] + p[2] < 0.99f) return 7;
    return 0;"""
    run_main(folder, body)
    fast = ("gcc", "-std=c99", "-O2", "-ffast-math")
    run([*fast, "-o", folder / "fast", folder / "main.c", folder / "elman.c", "-lm"])
    run([folder / "fast"])


def test_names_are_looked_up_and_ids_checked(tmp_path):
    estimator, _ = make(("tokens", "tags", ""), bidirectional=True, num_layers=1, readout="every")
    to_c(estimator, tmp_path, name="tokens", max_length=2)
    known = estimator.encoder_.vocabulary
    lines = [f"if (tokens_token({string(word)}) != {known[word]}) return 9;" for word in known]
    body = "\n".join(lines) + """
    static tokens_workspace w;
    const int32_t ids[3] = {2, 1, 3}, low[1] = {0}, high[1] = {TOKENS_TOKENS};
    float p[3 * TOKENS_OUTPUTS];
    if (tokens_token("never seen") != TOKENS_UNKNOWN || tokens_token("") != 1) return 1;
    if (tokens_sequence(&w, ids, 2, p) || tokens_sequence(&w, ids, 1, p)) return 2;
    if (tokens_sequence(&w, ids, 3, p) != TOKENS_LENGTH) return 3;
    if (tokens_sequence(&w, ids, 0, p) != TOKENS_LENGTH) return 4;
    if (tokens_sequence(&w, low, 1, p) != TOKENS_CODE) return 5;
    if (tokens_sequence(&w, high, 1, p) != TOKENS_CODE) return 6;
    return 0;"""  # fmt: skip
    run_main(tmp_path, body, "tokens")


def test_categories_bytes_and_static_features_are_looked_up(tmp_path):
    estimator, _ = make(
        ("mixed", "number", "both"), bidirectional=False, readout="last", num_layers=1
    )
    to_c(estimator, tmp_path, name="mixed")
    known, sites = estimator.encoder_.categories[0], estimator.encoder_.static.categories[0]
    checks = [
        f"if (mixed_category(0, {string(k)}) != {code}) return 1;" for k, code in known.items()
    ]
    checks += [
        f"if (mixed_static_category(0, {string(k)}) != {i}) return 2;"
        for i, k in enumerate(sites, 2)
    ]
    checks += [
        'if (mixed_category(0, "green") != MIXED_UNKNOWN || mixed_category(1, "") >= 0) return 3;',
        "const mixed_number ages[2] = {NAN, 1e6}, wrong[2] = {50, NAN}, numbers[2] = {1, 2};",
        "const int32_t one[1] = {1}, none[1] = {0}, beyond[1] = {99};",
        "mixed_state s;",
        "if (mixed_reset(&s, ages, one) || mixed_reset(&s, wrong, one) != MIXED_MISSING) return 4;",
        "if (mixed_reset(&s, ages, none) != MIXED_CODE) return 5;",
        "if (mixed_reset(&s, ages, beyond) != MIXED_CODE) return 6;",
        "if (mixed_step(&s, numbers, none) != MIXED_CODE) return 7;",
        "if (mixed_step(&s, numbers, one) != MIXED_OK) return 8;",
        "return 0;",
    ]
    run_main(tmp_path, "\n".join(checks), "mixed")
    estimator, _ = make(("bytes", "classes", ""), bidirectional=False, readout="last", num_layers=1)
    to_c(estimator, tmp_path, name="bytes")
    ids = [estimator.encoder_.vocabulary.get(t, 1) for t in (*"t *", "\\xc3", "\\x00")]
    assert min(ids[:4]) > 1
    calls = [f"bytes_byte({b})" for b in (ord("t"), 32, ord("*"), 0xC3, 0)]
    checks = [f"if ({call} != {code}) return 1;" for call, code in zip(calls, ids, strict=True)]
    run_main(tmp_path, "\n".join([*checks, "return 0;"]), "bytes")


def test_a_program_is_called_from_cpp(gru):
    folder, estimator = gru
    body = """
    elman_state state;
    elman_output p[ELMAN_OUTPUTS];
    const elman_number x[ELMAN_NUMBERS] = {1, 2, 3};
    elman_reset(&state);
    if (elman_step(&state, x) || elman_answer(&state, p)) return 1;
    puts(elman_names[elman_best(p)]);
    return 0;"""
    compiler = ("g++", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsanitize=undefined,address")
    said = run_main(folder, body, compiler=compiler, ending="cpp")
    assert said.strip() == str(estimator.predict([[[1.0, 2, 3]]])[0])


SIZED = [
    (("gaps", "classes", ""), {"bidirectional": False, "readout": "max", "num_layers": 2}),
    (("far", "numbers", "both"), {"bidirectional": False, "readout": "mean", "cell": "lstm"}),
    (("mixed", "labels", "readout"), {"bidirectional": True, "num_layers": 3, "readout": "last"}),
    (("tokens", "tags", ""), {"bidirectional": True, "readout": "every", "cell": "rnn"}),
]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(("key", "changes"), SIZED, ids=str)
def test_the_stated_sizes_are_those_of_the_program(key, changes, int8, tmp_path, monkeypatch):
    """Of constants with 8 bytes for a pointer, as on this machine, and of RAM as anywhere."""
    made = []
    monkeypatch.setattr(c, "Program", lambda *args: made.append(Program(*args)) or made[-1])
    estimator, _ = make(key, **changes)
    write(tmp_path, "m", estimator, int8=int8)
    [program] = made
    path = tmp_path / "m.o"
    flags = ["-std=c99", "-Os", "-fstack-usage", "-fno-merge-constants"]
    run(["gcc", *flags, "-c", "-o", path, tmp_path / "m.c"])
    lines = run(["size", "-A", path]).splitlines()
    sections = dict(line.split()[:2] for line in lines if line.startswith("."))
    constants = sum(int(n) for name, n in sections.items() if name.startswith((".rodata", ".data")))
    assert sections.get(".bss", "0") == "0"
    assert sections.get(".data", "0") == "0"  # nothing to be copied to RAM
    stated = count_bytes(program, 8).flash
    arrays = re.findall(r"static const \w+ \w+\[", (tmp_path / "m.c").read_text())
    # Each array begins at a multiple of 32 bytes on this machine; of 4 on a microcontroller.
    assert stated <= constants <= stated + 32 * len(arrays), (stated, constants)
    assert 500 < int(sections[".text"]) < 4096
    memory = "workspace" if estimator.model_.config.bidirectional else "state"
    size = run_main(tmp_path, f'printf("%u", (unsigned)sizeof(m_{memory})); return 0;', "m")
    assert int(size) == program.sizes.state
    header = (tmp_path / "m.h").read_text()
    assert f"RAM:   {int(size):,} bytes" in header
    assert f"flash: {program.sizes.flash:,} bytes" in header
    usage = [int(line.split("\t")[1]) for line in (tmp_path / "m.su").read_text().splitlines()]
    assert program.sizes.stack / 2 <= sum(usage) <= program.sizes.stack + 64 * len(usage) + 512


def test_int8_rounds_each_row_to_127_steps():
    estimator, _ = make(("numbers", "classes", ""), cell="lstm", num_layers=2, readout="last")
    exact, rounded = (list(make_tables(estimator, int8=int8).matrices) for int8 in (False, True))
    for full, small in zip(exact, rounded, strict=True):
        assert small.values.dtype == np.int8
        assert (np.abs(small.values).max(1) == 127).all()
        error = np.abs(full.values - small.weights).max(1)
        assert (error <= small.scale * 0.501).all()
        assert small.bytes < full.bytes / 2 or full.values.shape[1] < 8


def test_int8_report_tells_the_accuracy_before_and_after(tmp_path):
    estimator, data = make(("numbers", "classes", ""), bidirectional=False, readout="last")
    report = to_c(estimator, tmp_path, int8=True, test_data=data)
    accuracy = f"{np.mean(estimator.predict(data[0]) == data[1]):.3f}"
    text = f"On 12 sequences of test_data: accuracy {accuracy} in elman, "
    assert text in str(report)
    assert "with int8 weights" in str(report)
    assert "Rounding to int8 changes the answers: largest difference" in str(report)
    header = " ".join((tmp_path / "elman.h").read_text().replace(" *", "").split())
    assert text in header
    unmeasured = str(to_c(estimator, tmp_path, int8=True, overwrite=True))
    assert "was not measured, because no labelled test data were given" in unmeasured


def test_a_float64_network_becomes_float32(tmp_path):
    estimator, data = make(("gaps", "classes", ""), bidirectional=False, readout="last")
    estimator.model_ = estimator.model_.double()
    write(tmp_path, "wide", estimator, data)
    assert compile_and_run(tmp_path, ["wide"])["wide"] <= LIMIT


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    estimator, data = make(("numbers", "classes", ""), bidirectional=False, readout="last")
    out = tmp_path / "out"
    for name in ("", "1x", "a-b", "math", "x" * 41, "a/b", "é"):
        with pytest.raises(SettingsError, match="expected a letter"):
            to_c(estimator, out, name=name)
    with pytest.raises(SettingsError, match="Leave --max-length"):
        to_c(estimator, out, max_length=5)
    hook = estimator.model_.output.register_forward_hook(lambda *_: None)
    with pytest.raises(ExportError, match="has hooks"):
        to_c(estimator, out)
    hook.remove()
    with torch.no_grad():
        estimator.model_.output.bias[0] = torch.nan
    with pytest.raises(ExportError, match=r"weight output\.bias is infinite or NaN"):
        to_c(estimator, out)
    estimator, _ = make(("numbers", "classes", ""), bidirectional=True, readout="last")
    with pytest.raises(SettingsError, match="Give --max-length"):
        to_c(estimator, out)
    with pytest.raises(SettingsError, match="none of the 12 sequences of test_data"):
        to_c(estimator, out, max_length=2, test_data=data)
    assert not out.exists()
    to_c(estimator, out, max_length=9)
    with pytest.raises(SettingsError, match="exists already"):
        to_c(estimator, out, max_length=9)
    to_c(estimator, out, max_length=9, overwrite=True)


def test_a_cell_of_the_users_own_is_refused(tmp_path):
    def step(a, u, states):
        total = a["h"] + u["h"]
        return {"h": total}, {}, {"h": torch.sin(total)}

    cell = Cell("sine", ("h",), step)
    register_cell(cell)
    try:
        X = [np.arange(4.0)[:, None]] * 4
        estimator = SequenceClassifier(cell="sine", hidden_size=3, epochs=1, verbose=0).fit(
            X, [0, 1] * 2
        )
        with pytest.raises(ExportError, match="cell 'sine' is a cell of your own"):
            to_c(estimator, tmp_path / "out", max_length=9)
    finally:
        unregister_cell(cell)
    assert not (tmp_path / "out").exists()


def test_a_program_that_would_answer_otherwise_is_not_written(tmp_path, monkeypatch):
    estimator, _ = make(("numbers", "classes", ""), bidirectional=False, readout="last")
    monkeypatch.setattr("elman.export.c.arithmetic._sigmoid", lambda x: 0.5 + 0 * x)
    with pytest.raises(ExportError, match="nothing was written"):
        to_c(estimator, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_cannot_break_the_source():
    assert string('a"\\?\n\xe9') == r'"a\"\\\?\012\303\251"'
    assert comment("a */ b /* c ??/\n\\") == "a * / b / * c ? ?/ "
    with pytest.raises(ExportError, match="has 4,096 bytes"):
        string("x" * 4096)
