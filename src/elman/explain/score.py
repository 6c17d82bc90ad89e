"""The number to explain, as a function of the recurrent stack's input.

Tokens and categories are discrete: only their embeddings can be interpolated and differentiated.
`EmbeddedNetwork` is therefore the network without its embeddings, a function of e:

    e_t = x_t, or the embedding of token x_t, or numbers and embedded categories concatenated

`Score` is the number F: one output, on one of several scales.

Dimensions: B rows, T steps, C channels and categorical columns, E size of e_t, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.errors import SettingsError, ShapeError
from elman.explain.forms import Scale, check_name
from elman.explain.network import ExplainedEstimator, ExplainedNetwork, ExplainedSequence
from elman.models import SequenceModel
from elman.models.model import UNKNOWN
from elman.models.static import bind
from elman.models.unrolled import embed
from elman.tasks import TASKS

_GATE_VALUES = 2**24  # most values that a batch keeps for its gradient: 128 MB in float64
_WORDS: dict[Scale, str] = {
    "log_odds": "log-odds",
    "logit": "logit",
    "log_probability": "log-probability",
    "probability": "probability",
    "value": "value",
}
_IN_NATS = ("log_odds", "logit", "log_probability")


@dataclass(frozen=True)
class Score:
    """One number of a prediction.

    Args:
        network: the network that makes the prediction.
        index: index of the output, from 0.
        scale: scale of the number; see the argument `output` of `elman.explain.attribute`.
        step: the step, from 0, if the network has an output at every step; else None.
    """

    network: ExplainedNetwork
    index: int
    scale: Scale
    step: int | None

    @property
    def target(self) -> Any:
        """The class, label or value to which the number belongs."""
        return self.network.output_names[self.index]

    @property
    def unit(self) -> str:
        """`nats` for logarithms, empty for probabilities and values."""
        return "nats" if self.scale in _IN_NATS else ""

    @property
    def smallest(self) -> float:
        """The change of the number below which there is none to speak of; 0 if it is not known.

        A thousandth of a nat, of a probability, or of the standard deviation of the target.
        """
        if not self.network.has_classes and not isinstance(self.network, ExplainedEstimator):
            return 0.0
        return 1e-3 * float(self.network.scale[self.index])

    def __str__(self) -> str:
        what = f"{_WORDS[self.scale]} of {self.target}"
        return what if self.step is None else f"{what} at step {self.step + 1}"

    def of(self, outputs: Tensor) -> Tensor:
        """Compute the number for each row, (B,), from outputs, (B, K), or (B, T, K) if per step."""
        if self.step is not None:
            outputs = outputs[:, self.step]
        number = self.network.meaning.scores[self.scale](outputs, self.index)
        return number * self.network.scale[self.index] + self.network.mean[self.index]

    def describe_answer(self, outputs: Tensor) -> tuple[str, bool]:
        """Describe the prediction of one row, (K,) or (T, K), and whether it is the target.

        The prediction is the likeliest class with its probability, the probability of the label, or
        the value; numbers are never the target.
        """
        row = outputs if self.step is None else outputs[self.step]
        distribution = self.network.distribution(row)
        value = float(distribution[self.index])
        if not self.network.has_classes:
            return f"{value:.4g}", False
        if not TASKS[self.network.model.config.task].single_label:
            likely = value > 0.5
            return f"{self.target} with probability {value:.3f}", likely
        best = int(distribution.argmax())
        name = self.network.output_names[best]
        return f"{name} with probability {float(distribution[best]):.3f}", best == self.index


def choose_score(
    sequence: ExplainedSequence, outputs: Tensor, target: Any, scale: Scale | None, step: int | None
) -> Score:
    """Choose the number to explain.

    Args:
        outputs: outputs for the sequence, (1, K) or (1, T, K).
        target: one of `ExplainedNetwork.output_names`; None for the likeliest.
        scale: None for log-odds, or for the value of a regression.
        step: from 0, or from the end if negative; None for the last, or without outputs per step.
    Raises: SettingsError for an output or step that this network does not have; DataError for an
        unknown target.
    """
    network, steps = sequence.network, sequence.steps
    if not sequence.per_step:
        if step is not None:
            raise SettingsError(
                f"step: got {step}, but this network has one output a sequence. Leave it out"
            )
        row = outputs[0]
    else:
        step = steps - 1 if step is None else step
        if not -steps <= step < steps:
            raise SettingsError(
                f"step: got {step}, expected 0 (step 1) to {steps - 1} (step {steps}), or, from "
                f"the end, {-steps} to -1"
            )
        step %= steps
        row = outputs[0, step]
    # Log-odds against the other classes need another class.
    if len(row) < 2 and TASKS[network.model.config.task].single_label:
        raise SettingsError("model: it has one class only, whose probability is always 1")
    if target is not None:
        index = check_name("target", target, network.output_names, "one of")
    elif network.has_classes or len(row) == 1:
        index = int(row.argmax())
    else:
        raise SettingsError(
            f"target: this network predicts {len(row)} values; give one of "
            f"{', '.join(map(repr, network.output_names))}"
        )
    scales = list(network.meaning.scores)
    if scale is not None and scale not in scales:
        raise SettingsError(
            f"output: got {scale!r}, expected {' or '.join(map(repr, scales))} for "
            f"{network.model.config.task}"
        )
    return Score(network, index, scale or scales[0], step)


class EmbeddedNetwork:
    """A network as a function of its embedded input.

    Args:
        network: the network, in evaluation mode.
    """

    def __init__(self, network: SequenceModel) -> None:
        config = network.config
        self.network = network
        self.tables: list[nn.Embedding] = []
        if config.vocabulary_size:
            self.tables = [network.embedding]
        elif config.category_sizes:
            self.tables = [table for table in network.embeddings if isinstance(table, nn.Embedding)]
        widths = [table.embedding_dim for table in self.tables]
        self.numbers = config.input_size
        sizes = [1] * self.numbers + widths
        #: Input column of each of the E numbers, (E,).
        self.columns: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)

    def embed(self, x: Tensor) -> Tensor:
        """Embed the input, (B, T, C), or token ids, (B, T): (B, T, E)."""
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return embed(self.network, x, mask).detach()

    def outputs(self, e: Tensor) -> Tensor:
        """Return the network's outputs for e, (B, T, E): (B, K), or (B, T, K) if per step.

        Every row has T steps. The outputs are differentiable with respect to e.
        """
        rows, steps, _ = e.shape
        lengths = torch.full((rows,), steps, device="cpu")
        if not self.tables:
            return self._run(e, lengths)
        parts = torch.split(e[:, :, self.numbers :], [t.embedding_dim for t in self.tables], -1)
        if self.network.config.vocabulary_size:
            x = torch.zeros(rows, steps, dtype=torch.int64, device=e.device)
        else:
            codes = e.new_zeros(rows, steps, len(self.tables))
            x = torch.cat([e[:, :, : self.numbers], codes], -1)
        # The network runs its own forward, so that an overridden forward of a subclass is explained
        # too; only the values that its embedding tables return are replaced.
        with ExitStack() as hooks:
            for table, part in zip(self.tables, parts, strict=True):
                hooks.enter_context(_returning(table, part))
            return self._run(x, lengths)

    def rows_at_once(self, steps: int) -> int:
        """Number of sequences of this length to run through the network in one batch."""
        config = self.network.config
        blocks = len(config.cell_definition.blocks)
        values = steps * max(config.num_layers * config.width * blocks, len(self.columns))
        return max(1, _GATE_VALUES // values)

    def _run(self, x: Tensor, lengths: Tensor) -> Tensor:
        # cuDNN's recurrent layers have a backward pass only in training mode, where dropout would
        # change the outputs, so torch's own kernels are used instead.
        without = x.is_cuda and torch.is_grad_enabled()
        with without_cudnn() if without else nullcontext():
            outputs: Tensor = self.network(x, lengths)
        return outputs


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Disable cuDNN within the context.

    torch.backends.cudnn.flags is not used, because it also reads and writes the TF32 settings and
    fails if a user has set them for only convolutions or only recurrent layers.
    """
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


@contextmanager
def _returning(table: nn.Embedding, values: Tensor) -> Iterator[None]:
    """Make an embedding table return `values`, (B, T, width), for any input, within the context."""
    hook = table.register_forward_hook(lambda *_: values)
    try:
        yield
    finally:
        hook.remove()


def choose_baseline(
    explained: ExplainedSequence, embedded: EmbeddedNetwork, baseline: Any
) -> tuple[Tensor, str]:
    """Return the baseline, (T, E), and its description."""
    has_tables = bool(embedded.tables)
    if baseline is None:
        baseline = "unknown" if has_tables else "zero"
    if not isinstance(baseline, str) or baseline not in ("zero", "unknown"):
        if isinstance(baseline, str) and explained.tokens is None:
            raise SettingsError(
                f"baseline: got {baseline!r:.40}, expected 'zero', 'unknown' or a sequence"
            )
        other = explained.network.read(baseline)
        if other.steps != explained.steps:
            raise ShapeError(
                f"baseline: got a sequence of {other.steps} steps, expected {explained.steps}, as "
                "the sequence has"
            )
        return embedded.embed(other.x)[0], "another sequence"
    if baseline == "unknown" and not has_tables:
        raise SettingsError(
            "baseline: got 'unknown', but the inputs are numbers. Expected 'zero' or a sequence"
        )
    if baseline == "zero":
        what = "embeddings of zero" if has_tables else "zero"
        return torch.zeros_like(embedded.embed(explained.x)[0]), what
    x0 = torch.zeros_like(explained.x)
    x0[..., embedded.numbers :] = UNKNOWN  # for tokens, which have no numbers, all of x0
    what = "unknown in every place" if explained.tokens else "zero and unknown"
    return embedded.embed(x0)[0], what


def change_by_feature(explained: ExplainedSequence, score: Score, e: Tensor) -> dict[str, float]:
    """Return the change of F due to each static feature: F minus F with the feature replaced.

    A number is replaced by 0, the training mean if it is standardised; a category by an unknown
    one. The steps e, (T, E), stay as they are.
    """
    static = explained.model.bound_static
    if static is None:
        return {}
    changes = {}
    with torch.no_grad():
        before = score.of(EmbeddedNetwork(explained.model).outputs(e[None]))
        for name, columns, values in explained.network.static_groups():
            replaced = static[0].clone()
            replaced[list(columns)] = torch.tensor(values).to(replaced)
            other = EmbeddedNetwork(bind(explained.model, replaced))
            changes[name] = float(before - score.of(other.outputs(e[None])))
    return changes


def evaluate(embedded: EmbeddedNetwork, score: Score, rows: Tensor) -> Tensor:
    """Compute F of each row without gradients: (P, T, E) to (P,)."""
    with torch.no_grad():
        batches = torch.split(rows, embedded.rows_at_once(rows.shape[1]))
        return torch.cat([score.of(embedded.outputs(batch)) for batch in batches])


def differentiate(embedded: EmbeddedNetwork, score: Score, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compute F of each row of (P, T, E), (P,), and its gradient there, (P, T, E)."""
    values, gradients = [], []
    with torch.enable_grad():
        for batch in torch.split(rows.detach(), embedded.rows_at_once(rows.shape[1])):
            batch.requires_grad_(True)
            F = score.of(embedded.outputs(batch))
            (gradient,) = torch.autograd.grad(F.sum(), batch)
            values.append(F.detach())
            gradients.append(gradient)
    return torch.cat(values), torch.cat(gradients)
