"""The page of a running training: who may ask, what it is told, and how it ends."""

import contextlib
import http.client
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import save

from elman.runs.watching import News, Seen
from elman.serve.watch import serve_page

WEIGHTS = {"output.bias": torch.arange(3.0)}


class FakeRun:
    """A run folder that grows as a training makes it grow."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "epochs").mkdir()
        (folder / "metrics.jsonl").write_text("")
        self.keep(0)

    def keep(self, epoch):
        (self.folder / "epochs" / f"epoch-{epoch:04}.safetensors").write_bytes(save(WEIGHTS))

    def drop(self, epoch):
        (self.folder / "epochs" / f"epoch-{epoch:04}.safetensors").unlink()

    def end_epoch(self, epoch):
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, "loss": 1 / epoch}) + "\n")
        self.keep(epoch)

    def complete(self, epoch):
        (self.folder / "metrics.json").write_text(json.dumps({"kept_epoch": epoch}))


@pytest.fixture
def run(tmp_path):
    return FakeRun(tmp_path)


@pytest.fixture
def served(run):
    with serve_page("<p>the page</p>", News(run.folder)) as address:
        yield address


def ask(address, path=None, method="GET", **headers):
    """Status, headers and body of an answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, parts.path if path is None else path, headers=names)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


class Listener:
    """A browser's EventSource: collects messages in a thread."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        self.connection.request("GET", parts.path + "events")
        self.answer = self.connection.getresponse()
        self.messages, self.times, self.ended = [], [], threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            for line in self.answer:
                if line.startswith(b"data: "):
                    self.messages.append(json.loads(line[6:]))
                    self.times.append(time.monotonic())
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.answer.close()
        self.connection.close()
        self.ended.set()

    def wait_for(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition(self.messages):
            assert time.monotonic() < end, self.messages
            time.sleep(0.01)

    def close(self):
        # The thread reads from it, so that closing alone would wait for that.
        if not self.ended.is_set():
            self.connection.sock.shutdown(socket.SHUT_RDWR)
            assert self.ended.wait(5)


@pytest.fixture
def listen():
    opened = []

    def make(address):
        opened.append(Listener(address))
        return opened[-1]

    yield make
    for listener in opened:
        listener.close()


@contextlib.contextmanager
def reading_nothing(address):
    """A browser that asks for the events and reads none."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        request = f"GET {parts.path}events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
        connection.sendall(request.encode())
        time.sleep(0.3)
        yield


def test_the_page_is_there_for_who_knows_the_address(served):
    status, headers, body = ask(served)
    assert (status, body) == (200, "<p>the page</p>")
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY" and "server" not in headers
    assert urlsplit(served).hostname == "127.0.0.1" and len(urlsplit(served).path) > 30


@pytest.mark.parametrize("path", ["/", "/x/", "/events", "/docs", "//", "/%00/"])
def test_without_the_token_there_is_nothing(served, path):
    status, _, body = ask(served, path)
    assert status == 403 and "page" not in body


def test_a_token_that_is_nearly_right_and_other_routes(served):
    path = urlsplit(served).path
    assert ask(served, path[:-2] + "/")[0] == 403
    assert ask(served, path + "events/x")[0] == ask(served, path + "metrics")[0] == 404
    assert ask(served, path + "../x")[0] in (403, 404)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(served, method=method)[0] == 405


def test_another_host_or_origin_is_refused(served):
    assert ask(served, Host="evil.example")[0] == 403
    assert ask(served, Host="evil.example:80")[0] == 403
    assert ask(served, Origin="http://evil.example")[0] == 403
    assert ask(served, Origin="null")[0] == 403
    own = served.rsplit("/", 2)[0]
    assert ask(served, Origin=own)[0] == 200
    assert ask(served, Host=f"localhost:{urlsplit(served).port}")[0] == 200
    events = urlsplit(served).path + "events"
    assert ask(served, events, Origin="http://evil.example")[0] == 403


def test_every_epoch_is_told_within_a_second(run, served, listen):
    listener = listen(served)
    listener.wait_for(lambda messages: messages)
    first = listener.messages[0]
    assert first["state"] == "training" and first["records"] == [] and first["epoch"] == 0
    for epoch in range(1, 6):
        count, began = len(listener.messages), time.monotonic()
        run.end_epoch(epoch)
        listener.wait_for(lambda messages, count=count: len(messages) > count)
        assert listener.times[count] - began < 1
        message = listener.messages[count]
        assert [record["epoch"] for record in message["records"]] == [epoch]
        assert message["first"] == epoch - 1 and message["epoch"] == epoch
        assert message["weights"]["output.bias"]["shape"] == [3]
    run.drop(3)
    run.complete(5)
    listener.wait_for(lambda messages: messages[-1]["state"] == "complete")
    assert listener.messages[-1]["kept_epoch"] == 5
    assert listener.messages[-1]["epochs"] == [0, 1, 2, 4, 5]
    assert listener.ended.wait(5)  # nothing more will come


def test_a_browser_that_comes_late_or_again_is_told_all(run, served, listen):
    for epoch in (1, 2, 3):
        run.end_epoch(epoch)
    early = listen(served)
    early.wait_for(lambda messages: {m["epoch"] for m in messages} >= {0, 1, 2, 3})
    early.close()
    assert early.ended.wait(5)
    run.end_epoch(4)
    late = listen(served)
    late.wait_for(lambda messages: {m["epoch"] for m in messages} >= {0, 1, 2, 3, 4})
    records = [record["epoch"] for message in late.messages for record in message["records"]]
    assert records == [1, 2, 3, 4]


def test_a_slow_browser_delays_nobody(run, served, listen):
    big = {"output.bias": torch.zeros(500_000)}
    with reading_nothing(served):
        for epoch in (1, 2, 3):
            path = run.folder / "epochs" / f"epoch-{epoch:04}.safetensors"
            path.write_bytes(save(big))
        fast = listen(served)
        fast.wait_for(lambda messages: {m["epoch"] for m in messages} >= {0, 1, 2, 3})
        began = time.monotonic()
        assert ask(served)[0] == 200 and time.monotonic() - began < 1


def test_the_end_waits_for_no_browser(run, listen):
    with serve_page("<p>the page</p>", News(run.folder)) as address:
        listener = listen(address)
        stuck = reading_nothing(address)
        stuck.__enter__()
        listener.wait_for(lambda messages: messages)
        run.end_epoch(1)
        run.complete(1)
        began = time.monotonic()
    assert time.monotonic() - began < 3.5  # the last news and the end of the server
    stuck.__exit__(None, None, None)
    assert listener.messages[-1]["state"] == "complete"  # told before the end
    assert listener.ended.wait(2)
    with pytest.raises(OSError):
        ask(address)


def test_a_page_that_still_opens_is_told_of_the_end(run, listen):
    with serve_page("<p>the page</p>", News(run.folder)) as address:
        assert ask(address)[0] == 200
        run.end_epoch(1)
        run.complete(1)
        late = threading.Timer(0.4, lambda: heard.append(listen(address)))
        heard = []
        late.start()
    late.join()
    assert heard[0].ended.wait(2) and heard[0].messages[-1]["state"] == "complete"


def test_a_run_that_is_resumed_writes_its_lines_again(run):
    news, seen = News(run.folder), Seen()
    for epoch in (1, 2, 3):
        run.end_epoch(epoch)
    news.read()
    list(news.since(seen))
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1.0}\n')
    news.read()
    (message,) = news.since(seen)
    assert message["first"] == 0 and [record["epoch"] for record in message["records"]] == [1]
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "loss"')  # half a line
    news.read()
    assert list(news.since(seen)) == []


def test_a_few_files_at_a_time_the_newest_first(run):
    for epoch in range(1, 10):
        run.end_epoch(epoch)
    run.complete(9)
    news, seen = News(run.folder), Seen()
    news.read(4)
    assert [message["epoch"] for message in news.since(seen)] == [6, 7, 8, 9]
    assert news.state == "training"
    news.read(4)
    news.read(4)
    messages = list(news.since(seen))
    assert [message["epoch"] for message in messages] == [0, 1, 2, 3, 4, 5]
    # A page stops listening when it is complete, and must have every epoch then.
    assert [message["state"] for message in messages] == ["training"] * 5 + ["complete"]
    assert messages[-1]["kept_epoch"] == 9
