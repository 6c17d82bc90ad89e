"""Networks of every kind, with a sequence and a label, as the page's engine and elman read them."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.explain import bptt, influence, trace
from elman.explain.forms import to_json
from elman.models import ModelConfig, SequenceModel
from elman.models.static import bind

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
READOUTS = ["last", "mean", "max", "every"]
KINDS = ["numbers", "tokens", "mixed", "categories"]
TASKS = ["classification", "multilabel", "regression"]
FEATURES = [None, "readout", "state", "both"]
SIZES = {
    "numbers": {"input_size": 2},
    "tokens": {"vocabulary_size": 9, "embedding_size": 3},
    "mixed": {"input_size": 2, "category_sizes": (4, 5)},
    "categories": {"category_sizes": (6,)},
}
OUTPUTS, STATIC = 3, 2


@dataclass(frozen=True)
class Case:
    """A network in float32 with a sequence, its static features and its label."""

    name: str
    model: SequenceModel
    x: Tensor
    static: Tensor | None
    label: Tensor

    def bound(self) -> SequenceModel:
        """The network with the features of the sequence, in float64."""
        return bind(SequenceModel.double(self.copy()), self.static)

    def copy(self) -> SequenceModel:
        """A copy of the network."""
        model = SequenceModel(self.model.config).eval()
        model.load_state_dict(self.model.state_dict())
        return model

    def to_json(self, changes: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """The case as `runCase` of engine.js takes it."""
        config = self.model.config
        return {
            "config": dataclasses.asdict(config) | {"category_widths": config.category_widths},
            "weights": {n: w.flatten().tolist() for n, w in self.model.state_dict().items()},
            "steps": len(self.x),
            "x": self.x.flatten().tolist(),
            "static": None if self.static is None else self.static.tolist(),
            "label": to_json(
                self.label.flatten().tolist() if self.label.ndim else self.label.item()
            ),
            "changes": changes or {},
            **options,
        }


def make_case(
    cell: str = "gru",
    nonlinearity: str = "tanh",
    layers: int = 1,
    bidirectional: bool = False,
    readout: str = "last",
    kind: str = "numbers",
    task: str = "classification",
    static_to: str | None = None,
    *,
    steps: int = 6,
    units: int = 5,
    outputs: int = OUTPUTS,
    seed: int = 0,
) -> Case:
    """Draw a network, biases included, a sequence and a label."""
    sizes: dict[str, Any] = SIZES[kind]
    config = ModelConfig(
        cell=cell,
        nonlinearity=nonlinearity,
        hidden_size=units,
        num_layers=layers,
        bidirectional=bidirectional,
        readout=readout,
        task=task,
        num_outputs=outputs,
        static_size=STATIC if static_to else 0,
        static_to=static_to,
        **sizes,
    )
    draws = torch.Generator().manual_seed(seed)
    model = SequenceModel(config, draws).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0, 0.5, generator=draws)
    numbers = torch.randn(steps, config.input_size, generator=draws)
    codes = [torch.randint(0, n, (steps, 1), generator=draws) for n in config.category_sizes]
    x = torch.cat([numbers, *codes], 1)
    if config.vocabulary_size:
        x = torch.randint(0, config.vocabulary_size, (steps,), generator=draws)
    shape = (steps,) if config.per_step else ()
    if task == "classification":
        label = torch.randint(0, outputs, shape, generator=draws)
    elif task == "multilabel":
        label = torch.randint(0, 2, (*shape, outputs), generator=draws).float()
    else:
        label = torch.randn(*shape, outputs, generator=draws)
    static = torch.randn(STATIC, generator=draws) if static_to else None
    words = (cell, nonlinearity, layers, bidirectional, readout, kind, task, static_to)
    return Case(" ".join(map(str, words)), model, x, static, label)


def every_choice() -> list[tuple[Any, ...]]:
    """The arguments of `make_case` for all combinations, 1 to 3 layers."""
    stacks = itertools.product(CELLS, (1, 2, 3), (False, True))
    return [
        (*cell, layers, both, *rest)
        for (cell, layers, both) in stacks
        for rest in itertools.product(READOUTS, KINDS, TASKS, FEATURES)
    ]


def some_choices() -> list[tuple[Any, ...]]:
    """Every cell with each depth up to 2, direction and readout; the others take turns."""
    turns = itertools.cycle(
        (KINDS[i % 4], TASKS[i % 3], FEATURES[(i // 2 + i) % 4]) for i in range(48)
    )
    stacks = itertools.product(CELLS, (1, 2), (False, True), READOUTS)
    return [(*cell, n, both, readout, *next(turns)) for cell, n, both, readout in stacks]


def expected_of(case: Case) -> dict[str, np.ndarray]:
    """What `elman.explain` says, by the names that `runCase` uses; row t for x_t."""
    model = case.bound()
    x = case.x if case.x.dtype is torch.int64 else case.x.double()
    traced, back = trace(model, x), bptt(model, x, case.label)
    found = {
        "hidden": traced.hidden,
        "outputs": traced.outputs,
        "distribution": traced.distribution,
        "readout": traced.read,
        "losses": back.losses,
        "loss": np.array(back.loss),
        "dy": back.backward_pass.dy.numpy(),
        "dx": back.backward_pass.embedded.numpy(),
    }
    for k in range(case.model.config.num_outputs):
        found[f"votes {k}"] = traced.votes(traced.classes[k])
    for layer, own in zip(traced.layers, back.backward_pass.layers, strict=True):
        place = f"{layer.layer} {layer.direction}"
        found |= {f"{place} {name}": values for name, values in layer.gates.items()}
        found |= {f"{place} before {n}": v.numpy() for n, v in own.forward.previous.items()}
        for name in ("dh", "da", "du"):
            found[f"{place} {name}"] = getattr(own, name).numpy()
        key = own.forward.place
        found[f"{place} norms"] = back.gradient_by_lag[key]
        found[f"{place} remaining"] = back.remaining[key]
        found[f"{place} sources"] = np.array(back.sources[key])
    for name, gradient in back.gradients.items():
        named = f"recurrent.{name}" if name.startswith(("weight_", "bias_")) else name
        found[f"gradient {named}"] = gradient
        found[f"contribution {named}"] = back.contribution_norms[name]
    found["influence"] = influence(model, x).values
    return {name: np.asarray(values, dtype=float) for name, values in found.items()}
