"""The files of a run, compared with those of another."""

import json


def tree(root):
    return {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
        for p in sorted(root.rglob("*"))
    }


def same_files(one, two):
    """All files of two runs are equal, apart from times."""
    first, second = tree(one), tree(two)
    assert first.keys() == second.keys()
    for name, content in first.items():
        if name not in ("report.html", "metrics.json", "times.jsonl"):
            assert content == second[name], name
    metrics = [json.loads(files["metrics.json"]) for files in (first, second)]
    assert len({json.dumps({**m, "seconds": 0}) for m in metrics}) == 1
    assert len((one / "times.jsonl").read_text().splitlines()) == metrics[0]["epochs"]
