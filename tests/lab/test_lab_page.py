"""The page as a file: modules that can be joined, a policy, data that cannot end their element."""

import base64
import hashlib
import json
import re

import pytest
from joined import join_modules

from elman.errors import ElmanError
from elman.lab import page
from elman.lab.page import PAGE, build_page, encode_json, modules_of

EMPTY = {"version": 1, "elman": "0", "mode": "tasks", "notes": [], "runs": [], "tasks": []}
MODULES = sorted(PAGE.glob("*.js"))
TOP_LEVEL = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|class|const|let|var) +(\w+|\{[^}]*\}|\[[^\]]*\])",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_can_be_joined(path):
    text = path.read_text(encoding="utf-8")
    rest = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", text, flags=re.MULTILINE)
    assert not re.search(r"^\s*import\b|\bimport\(", rest, re.MULTILINE), "only plain imports"
    assert not re.search(r"\bexport (default|\{|\*)|\bas\b.*from \"", text)
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML", text)
    assert "https://" not in text.replace("https://www.w3.org", "")
    assert len(text.splitlines()) < 400
    assert max(map(len, text.splitlines())) <= 110
    for names, source in re.findall(
        r'^import \{([^}]*)\} from "\./(\w+)\.js";', text, re.MULTILINE
    ):
        exported = (PAGE / f"{source}.js").read_text(encoding="utf-8")
        for name in filter(None, (name.strip() for name in names.split(","))):
            assert re.search(rf"^export (async )?(function\*?|class|const|let) {name}\b",
                             exported, re.MULTILINE), (source, name)  # fmt: skip
            used = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
            assert re.search(rf"\b{name}\b", used), f"{name} is imported and not used"


def test_names_at_the_top_level_are_unique():
    owner = {}
    for path in MODULES:
        for found in TOP_LEVEL.findall(path.read_text(encoding="utf-8")):
            for each in re.findall(r"\w+", found):
                assert each not in owner, f"{each}: in {owner[each]} and {path.name}"
                owner[each] = path.name


def lines_in_texts(text):
    """Numbers of the lines of a module that begin within the text of a template literal."""
    found, open_braces, place, line = [], [], 0, 1  # braces open in each ${...}; None for a text
    token = re.compile(
        r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
        r"|(?<=[(,=:] )/(?:\\.|\[[^\]]*\]|[^/\\\n])+/|(?<=\()/(?:\\.|\[[^\]]*\]|[^/\\\n])+/|.",
        re.DOTALL,
    )
    while place < len(text):
        if open_braces and open_braces[-1] is None:  # in a text
            part = re.compile(r"\\.|\$\{|.", re.DOTALL).match(text, place)[0]
            if part == "`":
                open_braces.pop()
            elif part == "${":
                open_braces.append(0)
            elif part == "\n":
                found.append(line + 1)
        else:
            part = token.match(text, place)[0]
            if part == "`":
                open_braces.append(None)
            elif part == "{" and open_braces:
                open_braces[-1] += 1
            elif part == "}" and open_braces:
                if open_braces[-1]:
                    open_braces[-1] -= 1
                else:
                    open_braces.pop()
        line += part.count("\n")
        place += len(part)
    assert not open_braces
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_text_spans_lines(path):
    """The page has no indentation, which would be part of such a text."""
    assert not lines_in_texts(path.read_text(encoding="utf-8"))


def test_a_text_that_spans_lines_is_found():
    assert lines_in_texts("const a = `x ${\n f({})\n} y`;\nconst b = `\n  z`; // `\n") == [5]


def test_the_page_has_the_code_and_not_its_comments():
    script = page.join_script()
    assert "/**" not in script and not re.search(r"^\s|^//|\n\n", script, re.MULTILINE)
    for path in MODULES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.match(r" *(/\*|\*|//|import |\w+,? |\} from)|$", line) is None:
                assert re.sub(r"^ *(export )?", "", line) in script, (path.name, line)


def test_every_module_is_used():
    used = {name for root in page.ROOTS for name in modules_of(root)}
    assert {path.stem for path in MODULES} == used


def test_a_module_stands_before_those_that_import_it(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path)
    (tmp_path / "main.js").write_text('import {\n  a,\n} from "./b.js";\nexport const m = a;\n')
    (tmp_path / "b.js").write_text("export const a = 1;\n")
    assert join_modules("main") == '"use strict";\nconst a = 1;\nconst m = a;\n'
    (tmp_path / "b.js").write_text('import { m } from "./main.js";\nexport const a = m;\n')
    with pytest.raises(ElmanError, match="main -> b -> main"):
        join_modules("main")


def test_the_policy_allows_this_script_and_no_request():
    text = build_page(EMPTY)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    assert f"script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}';" in policy
    assert policy.startswith("default-src 'none';") and "connect-src 'none'" in policy
    assert "connect-src 'self'" in build_page(EMPTY, live=True)


def test_data_cannot_end_their_element():
    hostile = {**EMPTY, "notes": ["</script><script>alert(1)</script>", "\u2028 é <!--"]}
    text = build_page(hostile)
    assert text.count("</script>") == build_page(EMPTY).count("</script>")
    assert json.loads(encode_json(hostile)) == hostile


def test_a_name_cannot_add_elements():
    run = {"name": '"><img src=x onerror=alert(1)>'}
    text = build_page({**EMPTY, "runs": [run]})
    assert "<img" not in text


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError):
        build_page({**EMPTY, "x": float("nan")})


VENDOR = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_code_of_others_is_unchanged():
    names = {path.name for path in (PAGE / "vendor").iterdir()}
    assert names == {*VENDOR, "README.md"}
    for name, digest in VENDOR.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest, name
