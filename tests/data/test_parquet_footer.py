"""The footer of a Parquet file is read as by pyarrow; one that contradicts itself is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elman.data import read
from elman.data.readers.footer import read_chunks
from elman.errors import DataError

TABLE = pa.table(
    {
        "a": range(50),
        "b": ["x", "é", None, "y", "z"] * 10,
        "l": [[1.0, 2.0]] * 50,
        "s": [{"u": 1, "v": "q"}] * 50,
        "d": [True, False] * 25,
        "ü.x": np.linspace(0, 1, 50),
    }
)


@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("table", [TABLE, TABLE.slice(0, 0), pa.table({})])
def test_it_says_what_pyarrow_says(tmp_path, table, version, compression, index):
    path = tmp_path / "a.parquet"
    options = {"compression": compression, "write_page_index": index, "row_group_size": 7}
    pq.write_table(table, path, version=version, write_page_checksum=index, **options)
    about = pq.read_metadata(path)
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    expected = [
        (c.path_in_schema, c.num_values, c.total_uncompressed_size, c.physical_type == "BYTE_ARRAY")
        for group in groups
        for c in map(group.column, range(about.num_columns))
    ]
    found = [(c.name, c.values, c.size, c.is_text) for c in read_chunks(path)]
    assert found == expected


def test_every_byte_of_a_footer(tmp_path):
    """pyarrow's own metadata end the process at some of these."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "label": ["a", "b", "a"]}), path)
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    refused = 0
    for at in range(len(content) - 8 - length, len(content)):
        for change in (1, 0x80):
            path.write_bytes(content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
            try:
                read_chunks(path)
            except ValueError:
                refused += 1
    assert refused > 50
    path.write_bytes(content[:-8] + (1 << 27).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError):
        read(path)
    with pytest.raises(ValueError, match="the footer would have"):
        read_chunks(path)


def test_a_footer_that_contradicts_itself(tmp_path):
    """A histogram of another length than the levels of a column: pyarrow throws through Python."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"l": [[1.0, 2.0]] * 20, "label": ["a", "b"] * 10}), path)
    content = bytearray(path.read_bytes())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    ended = []
    for at in range(start, len(content) - 8):
        changed = content.copy()
        changed[at] ^= 0x10
        path.write_bytes(changed)
        try:
            read(path)
        except DataError as error:
            ended.append(str(error))
    assert any("histogram size mismatch" in message for message in ended)
