"""Trainings that one process and several must do alike; run as a program under torchrun.

torchrun --nproc-per-node 3 tests/train/rank_cases.py FILE
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))
from cases import make_examples, make_model
from test_custom_cell import MGU

from elman.data.ragged import Ragged, flatten
from elman.layers import register_cell
from elman.settings import TrainingSettings
from elman.train import from_env, train
from elman.train.distributed import current

# 23 sequences in batches of 7: three ranks have shares of different sizes, and in the last batch,
# of two, one of them has none.
N, PLAN = (
    23,
    TrainingSettings(epochs=3, batch_size=7, learning_rate=0.02, clip_norm=0.5, keep_epochs=1),
)
AUGMENTED = {"noise": 0.1, "token_dropout": 1.0, "label_smoothing": 0.1}

CASES = {
    "rnn": {"cell": "rnn"},
    "relu_weights": {"cell": "rnn", "nonlinearity": "relu", "weighted": True},
    "gru_noise": {"plan": {"noise": 0.2}, "dropout": 0.4, "num_layers": 2},
    "lstm_both_ways": {"cell": "lstm", "bidirectional": True, "readout": "mean", "dropout": 0.3},
    "tokens": {"tokens": True, "plan": {"token_dropout": 1.0}, "dropout": 0.3},
    "mixed": {"mixed": True, "plan": AUGMENTED, "readout": "max", "dropout": 0.2},
    "tagging_gaps": {"readout": "every", "gaps": True, "class_weight": True, "dropout": 0.3},
    "tagging_weights": {"readout": "every", "weighted": True, "num_layers": 2, "dropout": 0.3},
    "numbers": {"task": "regression", "num_outputs": 2, "plan": {"noise": 0.1}},
    "numbers_gaps": {"task": "regression", "num_outputs": 2, "readout": "every", "gaps": True},
    "multilabel": {"task": "multilabel", "class_weight": True, "dropout": 0.3},
    "focal": {"plan": {"loss": "focal"}, "class_weight": True},
    "static": {"static_size": 2, "static_to": "both", "dropout": 0.3},
    "own_cell": {"cell": "mgu", "num_layers": 2, "dropout": 0.4, "bidirectional": True},
    "smallest": {"plan": {"batch_size": 1, "epochs": 1}, "dropout": 0.4},
    "full": {"plan": {"batch_size": "full", "optimizer": "sgd"}, "tokens": True},
    "tbptt_gaps": {"readout": "every", "gaps": True, "dropout": 0.3, "plan": {"tbptt": 3}},
    "tbptt_weights": {
        "cell": "lstm",
        "readout": "every",
        "weighted": True,
        "num_layers": 2,
        "dropout": 0.3,
        "plan": {"tbptt": 2, "batch_size": 4},
    },
    "chunks": {"readout": "every", "gaps": True, "cell": "lstm", "plan": {"tbptt": 2}},
    "few_streams": {"readout": "every", "dropout": 0.3, "plan": {"tbptt": 3, "batch_size": 2}},
    "one_labelled": {"readout": "every", "labelled": 1, "plan": {"schedule": "cosine"}},
}


def make_data(case, n=N, seed=0):
    """The sequences of a case, with what is drawn of its targets."""
    per_step = case.get("readout") == "every"
    kind = {name: case.get(name, False) for name in ("tokens", "mixed")}
    data, rng = make_examples(n, per_step=per_step, seed=seed, **kind), np.random.default_rng(seed)
    shape = (len(flatten(data.target)), case.get("num_outputs", 3))
    target, unit = flatten(data.target), None
    if case.get("task") == "regression":
        target, unit = rng.normal(size=shape).astype(np.float32), np.array([2.0, 3.0])
    elif case.get("task") == "multilabel":
        target = rng.integers(0, 2, shape).astype(np.float32)
    gap = np.nan if unit is not None else -100
    if case.get("gaps"):
        target[rng.random(len(target)) < 0.4] = gap
    if "labelled" in case:  # most batches have no labelled step at all
        target[case["labelled"] :] = gap
    weight = rng.uniform(0.1, 3, len(target)).astype(np.float32)
    offsets = data.inputs.offsets
    inputs = data.inputs
    if size := case.get("static_size", 0):
        inputs = dataclasses.replace(inputs, static=rng.normal(size=(n, size)).astype(np.float32))
    return dataclasses.replace(
        data,
        inputs=inputs,
        target=Ragged(target, offsets) if per_step else target,
        weight=(Ragged(weight, offsets) if per_step else weight) if case.get("weighted") else None,
        unit=unit,
        measured=0 if case.get("tokens") else 2,
    )


def run(name, folder=None, **more):
    """Train a case; return weights, figures and the generator's state as tensors by name."""
    case = dict(CASES[name])
    plan = dataclasses.replace(PLAN, **case.pop("plan", {}))
    data, held_out = make_data(case), make_data(case, 11, seed=1)
    by_class = np.array([0.5, 2.0, 1.0]) if case.pop("class_weight", False) else None
    for key in ("weighted", "gaps", "labelled"):
        case.pop(key, None)
    model = make_model(**case)
    if by_class is not None:
        plan = dataclasses.replace(plan, class_weight=by_class.tolist())
    generator = torch.Generator().manual_seed(0)
    history = train(model, data, held_out, plan, class_weight=by_class, generator=generator, **more)
    found = {f"weight {key}": value.clone() for key, value in model.state_dict().items()}
    for record in history.epochs:
        for key, value in record.to_dict().items():
            found[f"{key} {record.epoch}"] = torch.tensor(float("nan" if value is None else value))
    for epoch, weights in history.kept_epochs.items():
        found |= {f"epoch {epoch} {key}": value for key, value in weights.items()}
    found["kept"] = torch.tensor(history.kept_epoch)
    found["generator"] = generator.get_state()
    return found


if __name__ == "__main__":
    register_cell(MGU)
    torch.set_num_threads(1)
    results = {}
    with from_env() as ranks:
        for name in CASES:
            results |= {f"{name}/{key}": value for key, value in run(name).items()}
        results["ranks"] = torch.tensor(ranks.size)
        assert current() is ranks
    if ranks.is_first:
        save_file(results, sys.argv[1])
