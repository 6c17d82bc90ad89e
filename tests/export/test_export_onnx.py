"""ONNX files of every form of network, asked in onnxruntime."""

import itertools

import pytest
from onnx_cases import AXES, PER_STEP, READOUTS, cover_pairs, make_case, name_case

from elman.export import to_onnx

EVERY = [c for c in itertools.product(*AXES) if c[-2] not in PER_STEP or c[-1] == READOUTS[0]]


def export(case, tmp_path):
    path = tmp_path / "model.onnx"
    report = to_onnx(make_case(*case), path)
    assert report.parity.difference <= 1e-5
    assert report.parity.longest == 1000
    assert path.stat().st_size == report.files[0][1]


@pytest.mark.parametrize("case", cover_pairs(), ids=name_case)
def test_every_pair_of_options(case, tmp_path):
    export(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=name_case)
def test_every_combination(case, tmp_path):
    export(case, tmp_path)
