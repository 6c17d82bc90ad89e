"""The size and shape of the source: short files and functions, no circles, no tasks by name."""

import ast
import io
import tokenize

import pytest
from test_architecture import FILES, SRC, TESTS, is_type_checking

from elman.tasks import TASKS

LONGEST_FILE = {SRC: 400, TESTS: 500}
LONGEST_FUNCTION = 80
MOST_FILES = 302
LEAST_COMMENTS = 0.02


def text_of(file):
    return file.read_text(encoding="utf-8")


def relative(file):
    """Path of a source file as the lists above have it."""
    return str(file.relative_to(SRC))


def exactly(found, expected, what):
    """Fail for what is new, and for what a list above names without need."""
    assert not found - expected, f"{what}: {sorted(found - expected)}"
    assert not expected - found, f"now clean, remove from the list: {sorted(expected - found)}"


@pytest.mark.parametrize("root", [SRC, TESTS], ids=["src", "tests"])
def test_no_file_is_long(root):
    lines = {f: len(text_of(f).splitlines()) for f in root.rglob("*.py")}
    long = {str(f.relative_to(root)) for f, n in lines.items() if n > LONGEST_FILE[root]}
    exactly(long, set(), f"over {LONGEST_FILE[root]} lines")


def test_files_are_few():
    assert len(FILES) <= MOST_FILES


def long_functions(source):
    """Names of functions that are too long, docstrings counted, decorators not."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]


def test_no_function_is_long():
    long = {f"{relative(file)}:{name}" for file in FILES for name in long_functions(text_of(file))}
    exactly(long, set(), f"over {LONGEST_FUNCTION} lines")


def test_the_walk_sees_long_functions():
    body = "\n        x = 1" * LONGEST_FUNCTION
    assert long_functions(f"class A:\n    def f(self):{body}") == ["f"]
    assert not long_functions(f"class A:\n    def f(self):{body.removesuffix(body[:14])}")


def compared_tasks(source):
    """Lines that compare something with the name of a task: they should ask a row of TASKS."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [child for side in (node.left, *node.comparators) for child in ast.walk(side)]
            named = {s.value for s in sides if isinstance(s, ast.Constant)} & set(TASKS)
            # `settings.task is None` asks whether there is one, not which.
            equality = any(
                isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops
            )
            attribute = any(isinstance(s, ast.Attribute) and s.attr == "task" for s in sides)
            if named or (equality and attribute):
                lines.append(node.lineno)
        elif isinstance(node, ast.match_case):
            values = {c.value for c in ast.walk(node.pattern) if isinstance(c, ast.Constant)}
            lines += [node.pattern.lineno] if values & set(TASKS) else []
    return lines


# These compare the tasks of two things, whichever they are; none asks what a task is.
COMPARE_TWO_TASKS = {
    "data/ahead.py",
    "data/read.py",
    "estimators/storage.py",
    "runs/data_splits.py",
    "estimators/reading.py",
}


def test_no_task_is_compared_by_name():
    comparing = {relative(f) for f in FILES if compared_tasks(text_of(f))}
    exactly(comparing, COMPARE_TWO_TASKS, "compare names of tasks")


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("if task == 'regression': pass", True),
        ("x = config.task in ('multilabel', 'regression')", True),
        ("x = 1 if self.task != other else 2", True),
        ("match task:\n    case 'tagging': pass", True),
        ("x = TASKS[task].has_classes", False),
        ("if settings.task is None: pass", False),
        ("TABLE = {'regression': 1}", False),
        ("if kind == 'numbers': pass", False),
    ],
)
def test_the_walk_sees_compared_tasks(source, wrong):
    assert bool(compared_tasks(source)) == wrong


def module_name(file):
    """Dotted name of a source file."""
    parts = file.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class WithoutTypingOnly(ast.NodeTransformer):
    """Removes what only type checkers import."""

    def visit_If(self, node):
        self.generic_visit(node)
        return node.orelse if is_type_checking(node.test) else node


def module_imports(sources):
    """Modules that each module imports when it runs, inside functions too.

    Args:
        sources: text of each module, by its dotted name; a package by the name of its folder.
    """
    graph = {}
    for name, source in sources.items():
        package = any(other.startswith(f"{name}.") for other in sources)
        targets = set()
        for node in ast.walk(WithoutTypingOnly().visit(ast.parse(source))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = name.split(".") if package else name.split(".")[:-1]
                    parts = parts[: len(parts) - node.level + 1]
                    base = ".".join([*parts, base] if base else parts)
                # `from elman.runs import config` imports a module, or else a name of the package.
                inner = [f"{base}.{alias.name}" for alias in node.names]
                targets |= {target if target in sources else base for target in inner}
        graph[name] = {target for target in targets if target in sources and target != name}
    return graph


def circles(graph):
    """Groups of modules that import each other, each group sorted."""
    reach = {}
    for start in graph:
        seen, left = set(), [start]
        while left:
            for target in graph[left.pop()] - seen:
                seen.add(target)
                left.append(target)
        reach[start] = seen
    members = [a for a in graph if a in reach[a]]
    return sorted(
        {tuple(sorted(b for b in members if b in reach[a] and a in reach[b])) for a in members}
    )


def test_no_modules_import_each_other():
    found = circles(module_imports({module_name(f): text_of(f) for f in FILES}))
    exactly({name for group in found for name in group}, set(), f"circles {found}")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"p": "", "p.a": "import p.b", "p.b": "import p.a"}, [("p.a", "p.b")]),
        (
            {"p": "", "p.a": "def f():\n    from p.b import x", "p.b": "from .a import y"},
            [("p.a", "p.b")],
        ),
        ({"p": "from p.a import x", "p.a": "from p import y"}, [("p", "p.a")]),
        ({"p": "from p.a import x", "p.a": "from p import b", "p.b": ""}, []),
        ({"p": "", "p.a": "import p.b", "p.b": "if TYPE_CHECKING:\n    import p.a"}, []),
    ],
)
def test_the_walk_sees_circles(sources, expected):
    assert circles(module_imports(sources)) == expected


def count_comments(source):
    """Lines with a comment for the reader, and lines that are not empty."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    for_tools = ("noqa", "type:", "mypy:")
    comments = {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and not token.string.lstrip("# ").startswith(for_tools)
    }
    return len(comments), sum(bool(line.strip()) for line in source.splitlines())


def test_comments_say_why():
    """One can only count them: the codebases we look up to have 4 to 12 lines in a hundred."""
    comments, lines = map(sum, zip(*(count_comments(text_of(f)) for f in FILES), strict=True))
    assert comments / lines >= LEAST_COMMENTS


def test_the_count_sees_comments():
    assert count_comments("# why\n\nx = 1  # why\ny = '#'\nz = 2  # type: ignore[x]\n") == (2, 4)
