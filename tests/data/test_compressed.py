"""Compressed files: read as the ending before tells, bombs and damaged files refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from elman.data import read, readers
from elman.errors import DataError
from elman.estimators.containers import is_path

CSV = b"text,label\n" + b"\n".join(f"word{i} again,{'ab'[i % 2]}".encode() for i in range(30))
JSONL = b"\n".join(
    b'{"text": "word %d", "label": "%s"}' % (i, b"ab"[i % 2 :][:1]) for i in range(9)
)
TS = b"@problemName p\n@univariate true\n@classLabel true a b\n@data\n1,2,3:a\n3,2,1:b\n"
ARFF = b"@relation r\n@attribute v1 numeric\n@attribute v2 numeric\n@attribute c {a,b}\n@data\n"
ARFF += b"1,2,a\n2,1,b\n3,1,a\n"


def zipped(data: bytes, name: str = "inner.csv", *others: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        for other in others:
            archive.writestr(other, data)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".zip": zipped,
}


@pytest.mark.parametrize("ending", PACK)
def test_a_compressed_file_is_read_as_its_content(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(PACK[ending](CSV))
    plain = tmp_path / "plain.csv"
    plain.write_bytes(CSV)
    data, expected = read(path), read(plain)
    assert data.inputs == expected.inputs and data.layout.target == "label"
    assert read(path, layout=expected.layout).inputs == expected.inputs
    assert read(plain, layout=data.layout).inputs == expected.inputs
    assert is_path(str(path))


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.tsv", CSV.replace(b",", b"\t"), "rows"),
        ("a.jsonl", JSONL, "jsonl"),
        ("a.ts", TS, "ts"),
        ("a.arff", ARFF, "rows"),
        ("a.txt", CSV, "rows"),
        ("a", CSV, "rows"),
    ],
)
def test_every_text_format_may_be_compressed(
    name: str, content: bytes, form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(content))
    assert read(path).layout.format == form


def test_the_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(CSV))
    (tmp_path / "b.csv.gz").write_bytes(CSV)  # unpacked by a browser
    (tmp_path / "c.csv.gz").write_bytes(zstd(CSV))
    (tmp_path / "d.zip").write_bytes(zipped(JSONL, "d/inner.jsonl", "__MACOSX/._inner"))
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(CSV[:400]) + gzip.compress(CSV[400:]))
    assert [len(read(tmp_path / name)) for name in ("a.csv", "b.csv.gz", "c.csv.gz")] == [30] * 3
    assert len(read(tmp_path / "d.zip")) == 9 and len(read(tmp_path / "e.csv.gz")) == 30


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("where", ["end", "middle", "start", "changed"])
def test_damaged_files_are_refused(ending: str, where: str, tmp_path: Path) -> None:
    whole = PACK[ending](CSV * 200)
    half = len(whole) // 2
    cut = {
        "end": whole[:-3],
        "middle": whole[:half],
        "start": whole[:8],
        "changed": whole[:half]
        + bytes(255 - b for b in whole[half : half + 8])
        + whole[half + 8 :],
    }
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(cut[where])
    with pytest.raises(DataError, match=r"damaged or was cut off.*-t FILE") as info:
        read(path)
    assert info.value.source == str(path)


@pytest.mark.parametrize("ending", PACK)
def test_bombs_are_refused_early(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_ALWAYS_UNPACKED", 1 << 20)
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(PACK[ending](b"0,0,0,0\n" * (1 << 20)))
    with pytest.raises(DataError, match="compressed bytes unpack to more than") as info:
        read(path)
    assert "unpack it first" in str(info.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.zip", zipped(CSV, "a.csv", "b.csv"), "holds 2 files"),
        ("a.xlsx", zipped(b"", "[Content_Types].xml"), "spreadsheet"),
        ("a.csv", zipped(b"", "x.npy"), "end in .npz"),
        ("a.csv.gz", gzip.compress(gzip.compress(CSV)), "twice"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), "compressed inside"),
        ("a.npy.zip", zipped(b"\x93NUMPY", "x.npy"), "compressed inside"),
        ("a.tar.gz", gzip.compress(CSV), "not read"),
        ("a.csv", b"\x04\x22\x4d\x18" + CSV, "unlz4"),
    ],
)
def test_what_is_not_read_is_refused(
    name: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as info:
        read(tmp_path / name)
    assert problem in str(info.value)


def test_a_folder_of_compressed_files(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            rows = "\n".join(f"{t},{t * i}" for t in range(4))
            (tmp_path / kind / f"{i}.csv.gz").write_bytes(gzip.compress(f"x,y\n{rows}".encode()))
    data = read(tmp_path)
    assert len(data) == 6 and data.layout.values == ("x", "y")


def test_comments_before_a_table_of_any_ending(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"# exported\n" + CSV)
    (tmp_path / "b.txt").write_bytes(b"# a comment\n" + TS)
    assert read(tmp_path / "a.txt").layout.format == "rows"
    assert read(tmp_path / "b.txt").layout.format == "ts"
