"""The page as a file: modules that can be joined, a policy, data that cannot end their element."""

import base64
import hashlib
import json
import re

import pytest

from elman.errors import ElmanError
from elman.lab import page
from elman.lab.page import PAGE, build_page, encode_json, join_modules, modules_of

EMPTY = {"version": 1, "elman": "0", "mode": "tasks", "notes": [], "runs": [], "tasks": []}
MODULES = sorted(PAGE.glob("*.js"))
TOP_LEVEL = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|class|const|let|var) +(\w+|\{[^}]*\}|\[[^\]]*\])",
    re.MULTILINE,
)


def roots():
    return [name for name in ("main", *page.WORKERS) if (PAGE / f"{name}.js").exists()]


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
    for root in roots():
        owner = {}
        for name in modules_of(root):
            text = (PAGE / f"{name}.js").read_text(encoding="utf-8")
            for found in TOP_LEVEL.findall(text):
                for each in re.findall(r"\w+", found):
                    assert each not in owner, f"{each}: in {owner[each]}.js and {name}.js"
                    owner[each] = name


def test_every_module_is_used():
    used = {name for root in roots() for name in modules_of(root)}
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
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
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
