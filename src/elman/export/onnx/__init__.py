"""A fitted estimator as one ONNX file, from raw numbers or ids to probabilities or values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from elman.errors import ExportError
from elman.estimators import EncodedSequences, Estimator
from elman.export.onnx.graph import Graph
from elman.export.onnx.inputs import Weights, read_inputs
from elman.export.onnx.metadata import describe
from elman.export.onnx.network import add_answers, add_network
from elman.export.onnx.streaming import add_stream, ask_in_pieces
from elman.export.parity import (
    LENGTHS,
    Answer,
    Parity,
    check,
    compare,
    sample_lengths,
    sample_sequences,
)
from elman.export.raw_inputs import RawInputs
from elman.models.model import SequenceModel, native_fallback_reason
from elman.ops.cells import KERNELS

MOST_BYTES = 2**31 - 2**20  # a file of protocol buffers holds 2 GiB; the rest is for the nodes
_BATCH = 64  # sequences per batch of a user's own, in the comparison

_PIECES = ((1,), (7, 1, 64, 200))  # steps at a time, with a state

Feeds = dict[str, NDArray[Any]]


def make_file(
    estimator: Estimator,
    sequences: EncodedSequences | None,
    longest: int | None,
    *,
    streaming: bool = False,
) -> tuple[bytes, Parity]:
    """Return the ONNX file of a fitted estimator, which was compared with it in onnxruntime.

    Args:
        sequences: sequences to compare in addition to random ones.
        longest: most steps of the random ones; None for 1,000.
        streaming: whether the file reads sequences in pieces, with a state.
    Raises: ExportError if the network has no form in ONNX, or the answers differ.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    lengths = sample_lengths(longest)
    content: bytes = build(estimator, streaming=streaming).SerializeToString()
    parity = compare_in_runtime(estimator, content, sequences, lengths, streaming=streaming)
    return content, parity


def build(estimator: Estimator, *, streaming: bool = False) -> Any:
    """Return a fitted estimator as an `onnx.ModelProto`.

    Args:
        streaming: whether it reads sequences in pieces, with a state.
    Raises: ExportError if the network has no form in ONNX.
    """
    refuse_other_networks(estimator.model_)
    config, target = estimator.model_.config, estimator.target_
    weights = read_weights(estimator.model_)
    graph = Graph()
    if streaming:
        add_stream(graph, estimator, weights)
    else:
        values = read_inputs(graph, estimator.encoder_, config, weights)
        logits = add_network(graph, config, weights, values)
        add_answers(graph, target, logits, values, per_step=config.per_step)
    return graph.model("elman", describe(estimator))


def refuse_other_networks(model: SequenceModel) -> None:
    """Raise ExportError unless the network's settings say all that it computes."""
    cell = model.config.cell_definition
    if KERNELS.get(cell.kernel) is not cell:
        names = ", ".join(dict.fromkeys(known.name for known in KERNELS.values()))
        raise ExportError(
            f"cell {cell.name!r} is a cell of your own, and ONNX has operators for {names} only. "
            "Train with one of them to export the network"
        )
    reason = native_fallback_reason(model, model.config)
    if type(model) is not SequenceModel:
        reason = f"{type(model).__name__} is a subclass of SequenceModel"
    if reason:
        raise ExportError(
            f"an ONNX file cannot describe this network: {reason}. Export the estimator as it was "
            "trained"
        )
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    if size > MOST_BYTES:
        raise ExportError(
            f"the weights take {size:,} bytes, and one ONNX file holds {MOST_BYTES:,}. Train a "
            "smaller network: lower hidden_size, num_layers or embedding_size"
        )


def read_weights(model: SequenceModel) -> Weights:
    """Return the weights of a network by name, float32."""
    return {k: v.detach().cpu().float().numpy() for k, v in model.state_dict().items()}


def compare_in_runtime(
    estimator: Estimator,
    content: bytes,
    sequences: EncodedSequences | None,
    lengths: Sequence[int] = LENGTHS,
    *,
    streaming: bool = False,
) -> Parity:
    """Compare an ONNX file with elman in onnxruntime; return the largest difference.

    Every sequence is asked alone, and in batches of unequal lengths whose padding is NaN or an
    invalid id; with `streaming`, in one batch, in single steps and in pieces.

    Args:
        sequences: sequences to compare in addition to random ones, of these `lengths`.
    Raises: ExportError if the difference is too large.
    """
    sample = sample_sequences(estimator, lengths)
    whole = np.arange(len(sample))
    ways = [answer_of(estimator, content, b) for b in ([whole], np.split(whole, len(whole)))]
    if streaming:
        ways = [answer_in_pieces(estimator, content, sizes) for sizes in _PIECES]
    expected = estimator.predict_encoded(sample)
    found = [compare(estimator, sample, answer, expected) for answer in ways]
    if sequences is not None and len(sequences):
        every = np.arange(len(sequences))
        batches = np.split(every, range(_BATCH, len(sequences), _BATCH))
        answer = answer_of(estimator, content, batches)
        if streaming:
            answer = answer_in_pieces(estimator, content, _PIECES[1])
        found.append(compare(estimator, sequences, answer))
    worst = max(found, key=lambda parity: parity.difference)
    # The random sequences count once, although they are asked in two ways.
    return check(
        dataclasses.replace(
            worst,
            sequences=sum(parity.sequences for parity in found[1:]),
            steps=sum(parity.steps for parity in found[1:]),
            longest=max(parity.longest for parity in found),
        )
    )


def answer_of(estimator: Estimator, content: bytes, batches: Sequence[NDArray[np.int64]]) -> Answer:
    """Return a function that asks an ONNX file in onnxruntime.

    Args:
        batches: indices of the sequences of each batch.
    """
    session = _open(estimator, content)

    def answer(encoded: EncodedSequences) -> NDArray[np.float64]:
        per_step, steps = estimator.per_step, encoded.steps
        count = len(steps.values) if per_step else len(steps)
        answers = np.full((count, estimator.target_.num_outputs), np.nan)
        for index in batches:
            feeds = make_feeds(encoded.take(index))
            (outputs,) = session.run(None, feeds)
            if not per_step:
                answers[index] = outputs
                continue
            for row, sequence in enumerate(index):
                own = slice(int(steps.offsets[sequence]), int(steps.offsets[sequence + 1]))
                length = own.stop - own.start
                answers[own] = outputs[row, :length]
                if outputs[row, length:].any():
                    raise ExportError("the exported model answers past the end of a sequence")
        return answers

    return answer


def answer_in_pieces(estimator: Estimator, content: bytes, sizes: Sequence[int]) -> Answer:
    """Return a function that asks a file with a state in onnxruntime, in pieces of these sizes."""
    session = _open(estimator, content)

    def answer(encoded: EncodedSequences) -> NDArray[np.float64]:
        return ask_in_pieces(session, estimator, encoded, make_feeds(encoded), sizes)

    return answer


def _open(estimator: Estimator, content: bytes) -> Any:
    """Return a session of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it warns of nodes that it replaces by constants
    options.intra_op_num_threads = estimator.threads if isinstance(estimator.threads, int) else 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def make_feeds(encoded: EncodedSequences) -> Feeds:
    """Return sequences as the inputs of the graph; padding is NaN, or -1 for ids."""
    encoder, steps, raw = encoded.encoder, encoded.steps, RawInputs.of(encoded)
    feeds: Feeds = {"lengths": steps.lengths}
    if encoder.vocabulary_size:
        feeds["tokens"] = steps.with_values(raw.codes[:, 0]).to_padded(-1)
    if raw.numbers.shape[1]:
        feeds["x"] = steps.with_values(raw.numbers).to_padded(np.nan)
    if encoder.categories:
        feeds["codes"] = steps.with_values(raw.codes).to_padded(-1)
    if raw.static_numbers.shape[1]:
        feeds["static"] = raw.static_numbers
    if raw.static_codes.shape[1]:
        feeds["static_codes"] = raw.static_codes
    return feeds
