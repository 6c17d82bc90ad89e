"""Requests that come at the same time are read, encoded and computed together, in one thread.

    event loop                           worker thread
    submit(request) ---- queue ------>   takes what has come, at most max_batch sequences
    answers the next connections         encodes and predicts all of it in one call
    future.result() <--------------      hands all results over in one call

A batch costs little more than a single sequence, because encoding and the call of the network
have a fixed cost that is ten times that of a short sequence. While one batch is computed, the
requests of the next one gather. Beyond that the thread waits for as many requests as the last
batch had, at most `latency_ms` from when the first of them came; one client never waits.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.errors import ElmanError
from elman.estimators import EncodedSequences
from elman.serve.models import LoadedModel, ServedModel
from elman.serve.settings import ServeSettings

# Bytes of JSON that are read for one batch, beyond its first request: a value may take up 30 times
# its text once it is parsed.
_BATCH_BYTES = 2**20
_WAITING_BYTES = 64 * 2**20  # of all requests that wait
# Expected seconds up to which a request may be computed in the event loop, where all others wait.
_IN_LOOP = 0.002

Floats = NDArray[np.float64]


class OverloadError(ElmanError):
    """More requests wait than the limit; the client may come back."""


class TooLongError(ElmanError):
    """A sequence, or all of a request, has more steps than the limit."""


class Computed(NamedTuple):
    """The predictions of one request.

    Args:
        names: of its n sequences: their ids, or their numbers from 1.
        values: probabilities or values, (n, K), or (N, K) per step.
        encoded: its sequences if there is a prediction per step, else None.
    """

    names: Sequence[Any]
    values: Floats
    encoded: EncodedSequences | None


class Request(NamedTuple):
    """One request for predictions.

    Args:
        size: bytes of its body.
        read: returns its records; called in the worker thread.
        answer: makes the body of the answer from the model and the predictions; called in the
            worker thread.
    """

    size: int
    read: Callable[[LoadedModel], list[Any]]
    answer: Callable[[LoadedModel, Computed], bytes]


class _Waiting(NamedTuple):
    request: Request
    future: asyncio.Future[bytes]
    since: float  # time.monotonic()


class Batcher:
    """Computes requests in batches.

    Args:
        models: holds the model; each batch uses the one that is current when it begins.
        settings: limits.
        on_batch: called in the worker thread after each batch, with its number of sequences and
            the seconds it took.
    """

    def __init__(
        self,
        models: ServedModel,
        settings: ServeSettings,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.waiting = 0  # requests that are submitted and not answered
        self.on_batch = on_batch
        self._models, self._settings = models, settings
        self._bytes = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = 1  # requests of the last batch
        self._arrived: list[_Waiting] = []  # in this round of the event loop
        self._per_byte = 0.0  # seconds of the last batches for a byte of their bodies

    def submit(self, request: Request) -> asyncio.Future[bytes]:
        """Queue a request; return the future of its answer. Called in the event loop.

        Raises: OverloadError at once if the queue is full. The future raises it if the request has
            waited for longer than the timeout, and the errors of reading and predicting.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._start(loop)
        if self.waiting >= self._settings.queue or self._bytes + request.size > _WAITING_BYTES:
            raise OverloadError(
                f"{self.waiting} requests are waiting, at most {self._settings.queue} may. Try "
                "again later, or start the server with a larger --queue"
            )
        self.waiting += 1
        self._bytes += request.size
        future: asyncio.Future[bytes] = loop.create_future()
        self._arrived.append(_Waiting(request, future, time.monotonic()))
        if len(self._arrived) == 1:
            loop.call_soon(self._dispatch)
        return future

    def _dispatch(self) -> None:
        """Compute a short request that came alone; queue all others for the thread."""
        arrived, self._arrived = self._arrived, []
        alone = self.waiting == len(arrived) == self._last == 1
        if alone and 0 < arrived[0].request.size * self._per_byte < _IN_LOOP:
            self._deliver(arrived, self._run(arrived))
        else:
            for item in arrived:
                self._queue.put(item)

    def close(self) -> None:
        """End the thread after the batch that it computes."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = self._loop = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._loop = loop
        self._thread = threading.Thread(target=self._work, args=(loop,), name="batches")
        self._thread.daemon = True
        self._thread.start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute batch after batch until `close`."""
        while (batch := self._take()) is not None:
            try:
                loop.call_soon_threadsafe(self._deliver, batch, self._run(batch))
            except RuntimeError:  # the loop is closed, and nobody waits for the answers
                return

    def _run(self, batch: list[_Waiting]) -> list[bytes | BaseException]:
        """Compute a batch; note how long it took."""
        start, used = time.monotonic(), time.thread_time()
        results, sequences = self._compute(batch, start)
        seconds, used = time.monotonic() - start, time.thread_time() - used
        per_byte = used / max(1, sum(item.request.size for item in batch))
        # The mean of the last ones: a single one may have been slow by chance.
        self._per_byte += 0.2 * (per_byte - self._per_byte) if self._per_byte else per_byte
        if self.on_batch is not None:
            self.on_batch(sequences, seconds)
        return results

    def _take(self) -> list[_Waiting] | None:
        """Return the next requests, or None if the queue was closed."""
        first = self._queue.get()
        if first is None:
            return None
        batch, size = [first], first.request.size
        until = first.since + self._settings.latency_ms / 1000
        while len(batch) < self._settings.max_batch and size < _BATCH_BYTES:
            try:
                left = until - time.monotonic() if len(batch) < self._last else 0.0
                item = self._queue.get(left > 0, max(left, 0.0))
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)  # for the next call
                break
            batch.append(item)
            size += item.request.size
        self._last = len(batch)
        return batch

    def _compute(
        self, batch: list[_Waiting], now: float
    ) -> tuple[list[bytes | BaseException], int]:
        """Return the answer or error of each request, and the number of sequences."""
        model = self._models.current
        results: list[bytes | BaseException] = [
            OverloadError(
                f"the request waited for more than {self._settings.timeout:g} s. Try again later"
            )
        ] * len(batch)
        records: dict[int, list[Any]] = {}
        for i, (request, _, since) in enumerate(batch):
            if now - since > self._settings.timeout:
                continue
            try:
                records[i] = self._check_count(request.read(model))
            except Exception as error:
                results[i] = error
        groups = self._encode(model, records, results)
        for members, sequences in groups:
            requests = [batch[i].request for i in members]
            counts = [len(records[i]) for i in members] if len(members) > 1 else [len(sequences)]
            try:
                answers = _answer(model, sequences, requests, counts)
            except Exception as error:
                answers = [error] * len(members)
            for i, answer in zip(members, answers, strict=True):
                results[i] = answer
        return results, sum(len(sequences) for _, sequences in groups)

    def _encode(
        self,
        model: LoadedModel,
        records: dict[int, list[Any]],
        results: list[bytes | BaseException],
    ) -> list[tuple[list[int], EncodedSequences]]:
        """Encode all records in one call, or one request after the other if there is a fault.

        The message of a fault counts the sequences of its own request.
        """
        if not records:
            return []
        try:
            together = [record for own in records.values() for record in own]
            encoded = self._check_length(model.reader.read_sequences(together))
            # A record may be cut into several windows; then only each request knows its own.
            if len(records) == 1 or len(encoded) == len(together):
                return [(list(records), encoded)]
        except Exception as error:
            if len(records) == 1:
                results[next(iter(records))] = error
                return []
        groups: list[tuple[list[int], EncodedSequences]] = []
        for i, own in records.items():
            groups += self._encode(model, {i: own}, results)
        return groups

    def _check_count(self, own: list[Any]) -> list[Any]:
        """Return the records of a request unless they are too many to be read."""
        if len(own) > self._settings.max_records:
            raise TooLongError(
                f"the request has {len(own):,} sequences, expected at most "
                f"{self._settings.max_records:,}. Send fewer at once, or start the server with a "
                "larger --max-records"
            )
        return own

    def _check_length(self, encoded: EncodedSequences) -> EncodedSequences:
        """Return the sequences unless one, or all together, are too long."""
        settings, lengths = self._settings, encoded.inputs.lengths
        if (longest := int(lengths.max(initial=0))) > settings.max_length:
            raise TooLongError(
                f"sequence {int(lengths.argmax())} has {longest:,} steps, expected at most "
                f"{settings.max_length:,}. Cut it, or start the server with a larger --max-length"
            )
        if (steps := int(lengths.sum())) > settings.max_steps:
            raise TooLongError(
                f"the request has {steps:,} steps in all, expected at most "
                f"{settings.max_steps:,}. Send fewer sequences at once, or start the server with a "
                "larger --max-steps"
            )
        return encoded

    def _deliver(self, batch: Sequence[_Waiting], results: list[bytes | BaseException]) -> None:
        """Set the results of a batch; called in the event loop."""
        self.waiting -= len(batch)
        for (request, future, _), result in zip(batch, results, strict=True):
            self._bytes -= request.size
            if future.done():  # cancelled
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


def _answer(
    model: LoadedModel,
    encoded: EncodedSequences,
    requests: Sequence[Request],
    counts: Sequence[int],
) -> list[bytes | BaseException]:
    """Predict all sequences in one call, and return the answer of each request.

    Args:
        counts: number of sequences of each request.
    """
    per_step = model.estimator.per_step
    predictions = model.estimator.predict_encoded(encoded)
    answers: list[bytes | BaseException] = []
    start = 0
    for request, count in zip(requests, counts, strict=True):
        end = start + count
        names = encoded.ids[start:end] or range(1, count + 1)
        computed = Computed(names, predictions[start:end], None)
        if per_step:
            rows = slice(*encoded.inputs.offsets[[start, end]].tolist())
            own = encoded.take(np.arange(start, end)) if len(requests) > 1 else encoded
            computed = Computed(names, predictions[rows], own)
        try:
            answers.append(request.answer(model, computed))
        except Exception as error:
            answers.append(error)
        start = end
    return answers
