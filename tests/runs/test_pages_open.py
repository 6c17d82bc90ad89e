"""The pages in a real browser: nothing is missing, nothing is asked of the network."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elman.runs.explanation import ExplainOptions, explain

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
READING = ("format", "target", "text", "values", "categories", "id", "time")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# Put before everything else in a copy of a page: it writes down what fails, and what every picture
# came to, where the dump of the page shows it. The page's own policy stays, but for this script.
WATCH = """<script>
const seen = {failed: [], refused: [], fetched: [], images: []};
addEventListener('error', e => seen.failed.push(String(e.target.src || e.message)), true);
addEventListener('securitypolicyviolation', e => seen.refused.push(e.blockedURI));
addEventListener('load', () => {
  seen.fetched = performance.getEntriesByType('resource').map(e => e.name);
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  seen.images = [...document.images].map(i => [i.alt, i.complete ? i.naturalWidth : 0]);
  seen.widths = [...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width]);
  const dump = document.createElement('pre');
  dump.id = 'seen';
  dump.textContent = JSON.stringify(seen);
  document.body.append(dump);
});
</script>"""
POLICY = "default-src 'none'; "


def opened(page, folder, width=1000):
    """What a browser saw of a page: `failed`, `refused`, `fetched`, `images`; and its log."""
    text = page if isinstance(page, str) else page.read_text(encoding="utf-8")
    assert POLICY in text
    text = text.replace(POLICY, f"{POLICY}script-src 'unsafe-inline'; ").replace(
        '<meta name="viewport"', f'{WATCH}<meta name="viewport"', 1
    )
    (folder / "copy.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
         f"--log-net-log={folder / 'net.json'}", f"--window-size={width},900", "--dump-dom",
         (folder / "copy.html").as_uri()],
        capture_output=True, text=True, timeout=300, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    seen["asked"] = re.findall(r'"(https?://[^"]+)"', (folder / "net.json").read_text())
    seen["console"] = re.findall(r"CONSOLE.*", done.stderr)
    return seen


@pytest.fixture(scope="module")
def explained(trained, files, tmp_path_factory):
    """A run, and the folder of an explanation made with it."""
    run, _ = trained
    out = tmp_path_factory.mktemp("explained") / "page"
    none = dict.fromkeys(READING)
    explain(run.folder, str(files / "text.csv"), none, ExplainOptions(), out)
    return run.folder, out


@pytest.mark.parametrize("which", ["report", "explanation"])
def test_opens_without_a_fault_and_alone(explained, tmp_path, which):
    run, explanation = explained
    page = run / "report.html" if which == "report" else explanation / "index.html"
    pictures = (
        list((run / "plots").glob("*.png"))
        if which == "report"
        else list(explanation.rglob("*.png"))
    )
    seen = opened(page, tmp_path)
    assert not seen["failed"] and not seen["refused"] and not seen["console"], seen
    assert not [name for name in seen["fetched"] if not name.startswith("data:")], seen["fetched"]
    # The browser's own, which lead nowhere here.
    own = re.compile(r"https?://(~notfound|([\w-]+\.)*(google|googleapis)\.com\b)")
    assert not [url for url in seen["asked"] if not own.match(url)], seen["asked"]
    assert len(seen["images"]) == len(pictures) >= 6
    for alt, width in seen["images"]:
        assert alt and width > 300, (alt, width)
    assert page.stat().st_size <= 3_000_000


@pytest.mark.parametrize("which", ["report", "explanation"])
def test_fits_the_width_of_a_phone(explained, tmp_path, which):
    run, explanation = explained
    page = run / "report.html" if which == "report" else explanation / "index.html"
    seen = opened(page, tmp_path, width=500)  # the narrowest window of a headless browser
    assert seen["overflow"] <= 0
    # Letters keep their size: a figure is not shrunk, it scrolls in its own frame.
    assert all(shown >= width * 96 // 150 - 1 for width, shown in seen["widths"])


def test_the_watch_sees_what_would_be_wrong(explained, tmp_path):
    text = Path(explained[0] / "report.html").read_text(encoding="utf-8")
    spoilt = re.sub(r'(src="data:image/png;base64,).{20}', r"\1", text, count=1)
    spoilt = spoilt.replace("</body>", '<img alt="x" src="https://example.org/x.png"></body>')
    seen = opened(spoilt, tmp_path)
    assert any("data:image" in name for name in seen["failed"])
    assert any("example.org" in name for name in seen["refused"])
    assert seen["images"][0][1] == 0 and seen["console"]
