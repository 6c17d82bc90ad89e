"""Files are written in one place: no other file of the package opens one for writing."""

import ast
import re
from pathlib import Path

import pytest

import elman

SRC = Path(elman.__file__).parent
WRITERS = {"disk.py", "files.py", "guards.py"}
# Names that write wherever they occur, as `x.name(...)`, `name(...)` or a reference to pass on.
CHANGING = {
    "write_text", "write_bytes", "mkdir", "makedirs", "rmdir", "removedirs", "rename", "renames",
    "unlink", "rmtree", "touch", "symlink", "symlink_to", "hardlink_to", "link", "truncate",
    "ftruncate", "chmod", "copyfile", "copytree", "copy2", "copyfileobj", "copymode", "sendfile",
    "mkstemp", "mkdtemp", "mkfifo", "mknod", "NamedTemporaryFile", "TemporaryFile",
    "TemporaryDirectory", "SpooledTemporaryFile", "make_archive", "unpack_archive", "extractall",
    "memmap", "open_memmap", "tofile", "savetxt", "savez", "savez_compressed",
    "save_file", "serialize_file", "to_pickle", "to_hdf", "to_excel", "to_sql", "pwrite",
    "FileHandler", "RotatingFileHandler", "OSFile", "output_stream", "create_memory_map",
}  # fmt: skip
# Writers of libraries, which take a path or a stream: only a stream is allowed.
TO_STREAM = {"savefig", "write_table", "write_feather", "write_csv", "imsave"}
# `x.replace(y)`, `os.replace(x, y)` with one path: text has two arguments.
MODULES = {"tempfile", "shutil", "mmap", "sqlite3", "dbm", "shelve", "logging.handlers"}
READ_MODES = {"r", "rb", "rt", "br"}


def writes(source):
    """What in a file may write to a file system, with its line."""
    tree = ast.parse(source)
    streams = names_of_streams(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or "", *(f"{node.module}.{name}" for name in names)]
                names = names if node.module in {"os", "pathlib", "io"} else []
            else:
                modules, names = names, []
            found += [(node.lineno, m) for m in modules if m in MODULES]
            found += [(node.lineno, n) for n in names if n in CHANGING | {"open", "replace"}]
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in CHANGING:
                found.append((node.lineno, name))
        elif isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in problems_of_call(node, streams, tree)]
    return found


def names_of_streams(tree):
    """Names that are only ever set to an io.BytesIO or io.StringIO."""
    streams, others = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            is_stream = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in (
                "io.BytesIO",
                "io.StringIO",
            )
            for target in node.targets:
                if isinstance(target, ast.Name):
                    (streams if is_stream else others).add(target.id)
        elif isinstance(node, ast.arg):
            others.add(node.arg)
    return streams - others


def problems_of_call(node, streams, tree):
    """Problems of one call: opening for writing, and writers of libraries that get no stream."""
    function = ast.unparse(node.func)
    name = function.rpartition(".")[2]
    arguments = [*node.args, *(k.value for k in node.keywords)]
    constants = {a.value for a in arguments if isinstance(a, ast.Constant)}
    if name == "open" and function != "self.open":
        # Path.open(mode), open(path, mode), gzip.open(path, mode), os.open(path, flags)
        path_first = function in ("open", "io.open", "os.open") or function.split(".")[0] in (
            "gzip", "bz2", "lzma", "codecs", "zstandard",
        )  # fmt: skip
        mode = next((k.value for k in node.keywords if k.arg in ("mode", "flags")), None)
        position = 1 if path_first else 0
        if mode is None and len(node.args) > position:
            mode = node.args[position]
        if function == "os.open":
            nowhere = ast.unparse(node.args[0]) == "os.devnull"
            return [] if nowhere or reads(node.args[1], tree) else ["os.open"]
        if mode is None or (isinstance(mode, ast.Constant) and mode.value in READ_MODES):
            return []
        # An entry of a ZipFile, which is refused above where it is open for writing.
        readers = function in ("archive.open", "Image.open") and len(arguments) == 1
        return [] if readers else ["open"]
    if name == "fdopen" and not (len(node.args) == 2 and constants & READ_MODES):
        return [name]
    if name == "ZipFile" and (len(node.args) > 1 or any(k.arg == "mode" for k in node.keywords)):
        return [name]
    if name == "replace" and len(arguments) == 1 and isinstance(node.func, ast.Attribute):
        dated = any(k.arg in ("tzinfo", "microsecond") for k in node.keywords)
        return [] if dated else ["replace"]
    if function in ("os.replace", "os.remove"):
        return [function]
    if name == "remove" and function.startswith("os."):
        return [function]
    if name in TO_STREAM and not any(
        isinstance(a, ast.Name) and a.id in streams for a in arguments
    ):
        return [name]
    if name in ("to_csv", "to_json", "to_parquet", "to_feather", "to_html") and (
        any(k.arg in ("path_or_buf", "path", "buf") for k in node.keywords)
        or any(isinstance(a, str) and a.endswith((".csv", ".json")) for a in constants)
    ):
        return [name]
    return []


def reads(flags, tree):
    """Whether the flags of os.open are constants, or a name set to constants, that only read."""
    if isinstance(flags, ast.Name):
        values = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and flags.id in [ast.unparse(t) for t in node.targets]
        ]
        return bool(values) and all(reads(value, tree) for value in values)
    names = set(re.findall(r"\w+", ast.unparse(flags))) - {"os"}
    return names <= {"O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY"}


def test_only_one_place_writes():
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        if name not in WRITERS and (wrong := writes(path.read_text(encoding="utf-8"))):
            found[name] = wrong
    assert not found


def test_those_places_are_found():
    for name in WRITERS:
        assert writes((SRC / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("open('x', 'w')", True),
        ("open('x', mode='ab')", True),
        ("open('x', how)", True),
        ("open('x')", False),
        ("open('x', 'rb')", False),
        ("path.open('w', encoding='utf-8')", True),
        ("path.open(mode)", True),
        ("path.open('rb')", False),
        ("path.open()", False),
        ("archive.open(entry)", False),
        ("archive.open(entry, 'w')", True),
        ("zipfile.ZipFile(path)", False),
        ("zipfile.ZipFile(path, 'a')", True),
        ("member.open(entry)", True),
        ("gzip.open(path, 'wt')", True),
        ("gzip.open(path)", False),
        ("os.open(path, os.O_RDONLY | os.O_NOFOLLOW)", False),
        ("os.open(path, os.O_RDWR)", True),
        ("os.open(os.devnull, os.O_RDWR)", False),
        ("os.open(path, os.O_CREAT | flags)", True),
        ("flags = os.O_RDONLY | os.O_CLOEXEC\nos.open(path, flags)", False),
        ("flags = os.O_RDONLY | os.O_CREAT\nos.open(path, flags)", True),
        ("def f(flags):\n    os.open(path, flags)", True),
        ("os.fdopen(descriptor, 'rb')", False),
        ("os.fdopen(descriptor, 'wb')", True),
        ("Image.open(io.BytesIO(content))", False),
        ("path.write_text('x')", True),
        ("write = path.write_bytes", True),
        ("path.mkdir()", True),
        ("part.replace(path)", True),
        ("part.replace(target=path)", True),
        ("date.replace(tzinfo=UTC)", False),
        ("text.replace('a', 'b')", False),
        ("os.replace(a, b)", True),
        ("from os import replace", True),
        ("os.remove(a)", True),
        ("names.remove(a)", False),
        ("path.unlink()", True),
        ("import shutil", True),
        ("def f():\n    from tempfile import mkdtemp", True),
        ("figure.savefig(path)", True),
        ("def f(stream):\n    figure.savefig(stream)", True),
        ("stream = io.BytesIO()\nfigure.savefig(stream, format='png')", False),
        ("pyarrow.parquet.write_table(table, where)", True),
        ("out = io.BytesIO()\npyarrow.parquet.write_table(table, out)", False),
        ("np.savez(path, x=x)", True),
        ("np.lib.format.open_memmap(path)", True),
        ("frame.to_csv(path_or_buf=path)", True),
        ("predictions.to_csv()", False),
        ("safetensors.torch.save_file(x, path)", True),
        ("'shutil.rmtree is not called'", False),
    ],
)
def test_the_walk_sees_what_writes(source, wrong):
    assert bool(writes(source)) == wrong
