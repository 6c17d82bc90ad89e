"""elman and torch.nn on the same problem, from the same weights; and whether they agree.

Dimensions: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman import layers
from elman.data.batches import Batch
from elman.models import ModelConfig, SequenceModel
from elman.settings import TrainingSettings
from elman.train.gradients import gradient_source
from elman.train.loop import to_device
from elman.train.metrics import RunningMetrics
from elman.train.optimizer import learning_rate, make_optimizer

from .rows import Shape

CLASSES = 2
RATE = 3e-3  # while losses are compared: elman's default
# While time is taken. Thousands of steps on one batch would otherwise end in gradients that have
# vanished into denormal numbers, sooner for whoever has taken more steps.
TIMED_RATE = 1e-6
COMPARED_STEPS = 5
LAYER_LIMIT = 1e-4  # of the largest value, for outputs, states and gradients in float32
LOSS_LIMIT = 1e-3
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
ELMAN = {"rnn": layers.RNN, "gru": layers.GRU, "lstm": layers.LSTM}
Run = Callable[[], object]
Results = dict[str, Tensor]


@dataclass(frozen=True)
class Problem:
    """The problem that all contenders solve.

    Args:
        x: (B, T, I), and `time_major` the same as (T, B, I); both contiguous.
        upstream: gradient of every output, (T, B, H).
        target: class codes, (B,).
        recurrent: the layer's weights under torch.nn's names.
        output: the linear layer's `weight` (K, H) and `bias` (K,).
    """

    cell: str
    shape: Shape
    x: Tensor
    time_major: Tensor
    upstream: Tensor
    target: Tensor
    recurrent: Results
    output: Results


def make_problem(cell: str, shape: Shape) -> Problem:
    """Draw a problem: normal input, labels by chance, torch.nn's own first weights."""
    B, T, I, H = shape
    torch.manual_seed(0)
    x = torch.randn(B, T, I)
    return Problem(
        cell,
        shape,
        x,
        x.transpose(0, 1).contiguous(),
        torch.randn(T, B, H) / H,
        torch.randint(0, CLASSES, (B,)),
        TORCH[cell](I, H).state_dict(),
        nn.Linear(H, CLASSES).state_dict(),
    )


def training_settings(rate: float) -> TrainingSettings:
    """Return elman's default settings of a training, at one learning rate."""
    return TrainingSettings(learning_rate=rate, schedule="constant", warmup=0).resolve(False)


def make_layer(library: str, problem: Problem) -> nn.Module:
    """Build one layer in one direction, time-major as both libraries have it by default."""
    kind = (ELMAN if library == "elman" else TORCH)[problem.cell]
    layer = kind(problem.shape.I, problem.shape.H)
    layer.load_state_dict(problem.recurrent)
    return layer


def layer_contender(library: str, problem: Problem) -> tuple[Run, Callable[[], Results]]:
    """Forward and backward of a layer: what to time, and its output and gradients."""
    layer = make_layer(library, problem)
    parameters = list(layer.parameters())
    x, upstream = problem.time_major, problem.upstream

    def run() -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        y, _ = layer(x)
        y.backward(upstream)
        return y

    def results() -> Results:
        tensors = {"output": run().detach()}
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None
            tensors[name] = parameter.grad
        return tensors

    return run, results


def inference_contender(library: str, problem: Problem) -> tuple[Run, Callable[[], Results]]:
    """Forward of a layer over whole sequences under no_grad, and its output and last states."""
    layer, x = make_layer(library, problem), problem.time_major

    @torch.no_grad()
    def run() -> tuple[Tensor, object]:
        y, states = layer(x)
        return y, states

    return run, lambda: named_results(*run())


def stepwise_contender(library: str, problem: Problem) -> tuple[Run, Callable[[], Results]]:
    """Forward of a layer in T calls of one step that hand the state on."""
    layer = make_layer(library, problem)
    steps = list(problem.time_major.split(1))

    @torch.no_grad()
    def run() -> tuple[list[Tensor], object]:
        states = None
        outputs = []
        for x in steps:
            y, states = layer(x, states)
            outputs.append(y)
        return outputs, states

    def results() -> Results:
        outputs, states = run()
        return named_results(torch.cat(outputs), states)

    return run, results


def named_results(y: Tensor, states: object) -> Results:
    """Output and states under their names."""
    tensors = {"output": y}
    for name, state in zip("hc", states if isinstance(states, tuple) else (states,), strict=False):
        tensors[f"{name}_n"] = state
    return tensors


def elman_model(problem: Problem) -> SequenceModel:
    """The standard model: one direction, last state, linear layer."""
    config = ModelConfig(
        cell=problem.cell,
        hidden_size=problem.shape.H,
        input_size=problem.shape.I,
        num_outputs=CLASSES,
        bidirectional=False,
        readout="last",
        initialization="torch",
    )
    model = SequenceModel(config)
    model.recurrent.load_state_dict(problem.recurrent)
    model.output.load_state_dict(problem.output)
    return model


def elman_gradients() -> str:
    """Describe the source of gradients of elman's training step."""
    model = elman_model(make_problem("gru", Shape(2, 3, 4, 5)))
    return gradient_source(model, training_settings(RATE)).description


def elman_step(problem: Problem, rate: float) -> Callable[[], float]:
    """One training step as `elman.train.loop.train` takes it; making the batch is left out."""
    settings = training_settings(rate)
    B, T, _, _ = problem.shape
    model = elman_model(problem)
    model.train()
    device = torch.device(settings.device)
    gradients = gradient_source(model, settings)
    optimizer = make_optimizer(gradients.groups, settings)
    batch = Batch(problem.x, torch.full((B,), T, dtype=torch.int64), problem.target)
    metrics = RunningMetrics()

    def step() -> float:
        now = learning_rate(settings, 0, 1)
        for group in optimizer.param_groups:
            group["lr"] = now
        with gradients.around:
            loss, logits, target, weight = gradients(to_device(batch, device))
            norm = gradients.clip(settings.clip_norm or math.inf)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise ValueError(f"loss {loss}, gradient norm {norm}")
            optimizer.step()
            metrics.add(loss, logits, target, weight)
        return loss

    return step


def torch_step(problem: Problem, rate: float) -> Callable[[], Tensor]:
    """One training step of a plain torch loop: same weights, clipping, decay and AdamW, fused.

    In torch's favour: time-major input, the last state taken from h_n (reading y[:, -1] costs a
    gradient of zeros for the other steps), the loss not read.
    """
    settings = training_settings(rate)
    layer = make_layer("torch", problem)
    output = nn.Linear(problem.shape.H, CLASSES)
    output.load_state_dict(problem.output)
    parameters = [*layer.parameters(), *output.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    x, target = problem.time_major, problem.target

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        _, states = layer(x)
        h_n = states[0] if isinstance(states, tuple) else states  # (1, B, H)
        loss = functional.cross_entropy(output(h_n[-1]), target)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


STEPS = {"elman": elman_step, "torch": torch_step}


def losses_of(step: Callable[[], object]) -> Results:
    """Losses of the first steps."""
    return {
        f"loss {number}": torch.as_tensor(float(step()))  # type: ignore[arg-type]
        for number in range(1, COMPARED_STEPS + 1)
    }


def disagreement(results: Results, expected: Results, limit: float) -> str:
    """Describe what differs by more than `limit` of the largest expected value; empty if none.

    Both must have the same names and shapes; NaN agrees with nothing.
    """
    if results.keys() != expected.keys():
        return f"{sorted(results)} instead of {sorted(expected)}"
    wrong = []
    for name, value in expected.items():
        if results[name].shape != value.shape:
            wrong.append(f"{name} {tuple(results[name].shape)} instead of {tuple(value.shape)}")
            continue
        largest = max(float(value.abs().max()), torch.finfo(value.dtype).tiny)
        error = float((results[name] - value).abs().max()) / largest
        if not error <= limit:
            wrong.append(f"{name} by {error:.1e}")
    return ", ".join(wrong)
