"""Large files that are refused before time or memory is spent on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from elman.data import read
from elman.data.readers import csv
from elman.errors import DataError


@pytest.mark.parametrize("kind", ["a.parquet", "a.arrow", "stream.arrow"])
def test_a_file_of_zeros(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    schema = pa.schema([(name, pa.float64()) for name in "abcdefgh"])
    zeros = pa.table({name: np.zeros(1 << 20) for name in "abcdefgh"}, schema)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    writers = {
        "a.parquet": lambda: pa.parquet.ParquetWriter(path, schema),
        "a.arrow": lambda: pa.ipc.new_file(path, schema, options=options),
        "stream.arrow": lambda: pa.ipc.new_stream(path, schema, options=options),
    }
    with writers[kind]() as writer:
        for _ in range(9):  # 576 MiB in a few kilobytes
            writer.write_table(zeros)
    assert path.stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"hold 9,437,184 rows of 8 columns, 576 MiB") as caught:
        read(path)
    assert caught.value.rule == "memory" and pa.total_allocated_bytes() - before < 1 << 20


@pytest.mark.parametrize("at", [0, 1, 700, 59_999])
@pytest.mark.parametrize("end", ['1,2,"open\n', '1,"two"3,b\n4,5,"c"\n', '"1\n2",3,"x\n'])
def test_a_quote_is_found_without_the_careful_reader(
    tmp_path: Path, end: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f'{i},"{i / 7:.3f}",b\n' if i % 3 else f"{i},oops,b\n\n" for i in range(60_000)]
    path = tmp_path / "a.csv"
    path.write_text("a,b,label\n" + "".join([*rows[:at], end, *rows[at:]]))

    def told(carefully: bool) -> str:
        with monkeypatch.context() as context:
            if carefully:
                context.setattr(csv, "read_cells", lambda *_: None)
            elif at:
                context.setattr(csv, "_records", None)
            with pytest.raises(DataError) as caught:
                read(path, values=["a", "b"], labelled=True)
        return str(caught.value)

    assert told(False) == told(True)
