"""A headless Chromium for tests of pages: opens one, drives it like a person, notes all it does.

It is driven by Chromium's DevTools protocol over a pair of pipes, which needs no package.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
    "--remote-debugging-pipe", "--force-color-profile=srgb",
)  # fmt: skip
PATIENCE = 60  # seconds for an answer; a busy machine takes its time

# Names of keys in the protocol: code, key code, and the text that a key types.
KEYS = {
    "Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, ""),
    "Backspace": ("Backspace", 8, ""), "Delete": ("Delete", 46, ""), " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""), "ArrowDown": ("ArrowDown", 40, ""),
    "Home": ("Home", 36, ""), "End": ("End", 35, ""),
    "PageUp": ("PageUp", 33, ""), "PageDown": ("PageDown", 34, ""),
}  # fmt: skip


class Browser:
    """A running Chromium; `open_page` gives one page of it after another."""

    def __init__(self) -> None:
        self.home = tempfile.mkdtemp(prefix="elman-browser-")
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        command = " ".join(["exec", '"$0"', *FLAGS, f"--user-data-dir={self.home}", "about:blank"])
        command += f" 3<&{to_child} 4>&{from_child}"
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, str(CHROMIUM)],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.home},
        )
        os.close(to_child)
        os.close(from_child)
        self._numbers, self._buffer = itertools.count(1), b""
        self.events: list[dict] = []

    def close(self) -> None:
        with suppress(OSError, EOFError):
            self.send("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self.home, ignore_errors=True)

    def send(self, method: str, session: str | None = None, **params) -> dict:
        """Send a command and return its result; events that come first are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data, view = json.dumps(message).encode() + b"\0", 0
        while view < len(data):
            view += os.write(self._write, data[view : view + 65536])
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(end - time.monotonic())
            if answer is None:
                raise TimeoutError(f"{method}: no answer within {PATIENCE} s")
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def listen(self, seconds: float) -> None:
        """Take in events for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = self._receive(left)
            if message is not None and "method" in message:
                self.events.append(message)

    def _receive(self, seconds: float) -> dict | None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
            if not ready:
                return None
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError("Chromium has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    @contextmanager
    def open_page(self, page, *, width=1200, height=900, dark=False, address="", wait=True):
        """Open a file (a path), or an address, as a `Page`; closed at the end.

        Args:
            address: what follows the address of the page: `#step=3`.
            wait: until the lab says that it is drawn: `document.documentElement.dataset.ready`.
        """
        page = str(page)
        url = page if page.startswith("http") else Path(page).absolute().as_uri()
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        target = target["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        opened = Page(self, session)
        try:
            opened.start(url + address, width, height, dark)
            if wait:
                opened.wait_for("document.documentElement.dataset.ready === 'yes'")
            yield opened
        finally:
            self.send("Target.closeTarget", targetId=target)
            self.send("Target.disposeBrowserContext", browserContextId=context)
            self.events.clear()


class Page:
    """One open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.url = ""

    def send(self, method: str, **params) -> dict:
        return self.browser.send(method, self.session, **params)

    def start(self, url: str, width: int, height: int, dark: bool) -> None:
        self.url = url
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        failure = self.send("Page.navigate", url=url).get("errorText")
        assert not failure, f"{url}: {failure}"
        self.wait_for("document.readyState === 'complete'")

    def resize(self, width: int, height: int = 900) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def run(self, expression: str):
        """Evaluate JavaScript, also a promise, and return its value as JSON has it."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description", str(details)))
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30.0):
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + seconds
        while not (value := self.run(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"not true within {seconds} s: {expression}; {self.errors}")
            self.browser.listen(0.05)
        return value

    def settle(self) -> None:
        """Wait until the page has drawn what was asked for: two frames."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    # -- what a person does ------------------------------------------------------------------------

    def place(self, selector: str, fx: float = 0.5, fy: float = 0.5) -> tuple[float, float]:
        """Scroll an element into view and return the place in it, as shares of its size."""
        query = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{query}?.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.settle()  # a panel takes its size when it is first drawn
        found = self.run(
            f"(() => {{ const e = {query}; if (!e) return null;"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        assert found, f"no element matches {selector}"
        left, top, width, height = found
        return left + fx * width, top + fy * height

    def mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        """Send a mouse event: `mousePressed`, `mouseReleased` or `mouseMoved`."""
        pressing = kind != "mouseMoved" or held
        self.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=1,
            button="left" if pressing else "none",
            buttons=int(held or kind == "mousePressed"),
        )  # fmt: skip

    def hover(self, selector: str, fx: float = 0.5, fy: float = 0.5) -> None:
        self.mouse("mouseMoved", *self.place(selector, fx, fy))
        self.settle()

    def click(self, selector: str, fx: float = 0.5, fy: float = 0.5) -> None:
        x, y = self.place(selector, fx, fy)
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)
        self.settle()

    def drag(self, selector: str, start, end, steps: int = 5) -> None:
        """Press at one place of an element, move to another in some steps, and release."""
        x0, y0 = self.place(selector, *start)
        x1, y1 = self.place(selector, *end)
        x0, y0 = self.place(selector, *start)
        self.mouse("mouseMoved", x0, y0)
        self.mouse("mousePressed", x0, y0)
        for k in range(1, steps + 1):
            share = k / steps
            self.mouse("mouseMoved", x0 + share * (x1 - x0), y0 + share * (y1 - y0), held=True)
        self.mouse("mouseReleased", x1, y1)
        self.settle()

    def touch_drag(self, selector: str, start, end, steps: int = 5) -> None:
        """Drag with a finger."""
        x1, y1 = self.place(selector, *end)
        x0, y0 = self.place(selector, *start)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x0, "y": y0}])
        for k in range(1, steps + 1):
            point = {"x": x0 + k / steps * (x1 - x0), "y": y0 + k / steps * (y1 - y0)}
            self.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def focus(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press and release a key: one of KEYS, or a character."""
        code, number, text = KEYS.get(name, ("", ord(name.upper()[0]), name))
        common = {"key": name, "code": code, "windowsVirtualKeyCode": number}
        common["modifiers"] = 8 if shift else 0
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)
        self.settle()

    def type(self, text: str) -> None:
        """Type a text into the focused element."""
        self.send("Input.insertText", text=text)
        self.settle()

    def screenshot(self, path, *, whole: bool = True) -> None:
        """Write a PNG of the whole page, in a window as high as it, or of what is in view."""
        width, height = self.run("[innerWidth, innerHeight]")
        if whole:  # panels are drawn only in view
            for _ in range(2):
                self.resize(width, self.run("document.documentElement.scrollHeight"))
                self.browser.listen(0.1)
                self.settle()
        picture = self.send("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(picture))
        if whole:
            self.resize(width, height)

    # -- what happened -----------------------------------------------------------------------------

    def _events(self, method: str) -> list[dict]:
        self.browser.listen(0.02)
        return [
            event["params"]
            for event in self.browser.events
            if event["method"] == method and event.get("sessionId") == self.session
        ]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for; not itself, nor what it holds (data: and blob:)."""
        asked = (event["request"]["url"] for event in self._events("Network.requestWillBeSent"))
        here = self.url.partition("#")[0]
        return [url for url in asked if url.partition("#")[0] != here and url[:5] not in _OWN]

    @property
    def errors(self) -> list[str]:
        """Exceptions, errors in the console, and what the page's policy refused."""
        thrown = [
            event["exceptionDetails"].get("exception", {}).get("description", "")
            or event["exceptionDetails"]["text"]
            for event in self._events("Runtime.exceptionThrown")
        ]
        logged = [
            str(event["args"])
            for event in self._events("Runtime.consoleAPICalled")
            if event["type"] in ("error", "assert")
        ]
        refused = [
            event["entry"]["text"]
            for event in self._events("Log.entryAdded")
            if event["entry"]["level"] == "error"
        ]
        return thrown + logged + refused

    def check(self) -> None:
        """Assert that nothing failed and that no request left the page."""
        assert not self.errors, self.errors
        assert not self.requests, self.requests


_OWN = ("data:", "blob:")
