"""When a model is not run in one native call: the reason is named, and the modules run."""

import copy
import dataclasses
import io
import pickle
import threading

import pytest
import torch
from cases import CHANNELS, CLASSES, VOCABULARY, make_model, make_sequences, past_end, stack_rows
from reference_model import reference_logits
from tolerances import assert_close
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils._python_dispatch import TorchDispatchMode

from elman.models import SequenceModel

HOOKS = "a module has hooks or a parametrization"
OTHER = "a module is not the one that the config asks for"
PARAMETER = "a parameter is missing, or not of the shape, dtype or device of the others"
TOOL = "torch.func, or a tool that follows each operation, is active"


class Child(SequenceModel):
    pass


class Linear(nn.Linear):
    pass


class Subclassed(torch.Tensor):
    pass


class Halved(nn.Module):
    def forward(self, x):
        return x / 2


class Watching(TorchDispatchMode):
    """Counts operations."""

    seen = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen += 1
        return function(*args, **(kwargs or {}))


def set_parameter(module, name, value):
    module._parameters[name] = value


def drop_parameter(model):
    del model.recurrent._parameters["bias_hh_l0"]
    model.recurrent.bias_hh_l0 = torch.zeros(18)


CHANGES = {
    "forward hook": (lambda m: m.register_forward_hook(lambda *_: None), HOOKS),
    "pre-hook": (lambda m: m.output.register_forward_pre_hook(lambda *_: None), HOOKS),
    "backward hook": (lambda m: m.recurrent.register_full_backward_hook(lambda *_: None), HOOKS),
    "backward pre-hook": (lambda m: m.register_full_backward_pre_hook(lambda *_: None), HOOKS),
    "embedding's hook": (lambda m: m.embedding.register_forward_hook(lambda *_: None), HOOKS),
    "parametrization": (
        lambda m: parametrize.register_parametrization(m.output, "weight", Halved()),
        HOOKS,
    ),
    "weight norm": (lambda m: parametrizations.weight_norm(m.recurrent, "weight_hh_l0"), HOOKS),
    "pruned": (lambda m: prune.l1_unstructured(m.output, "weight", 0.5), HOOKS),
    "forward replaced": (lambda m: setattr(m.output, "forward", lambda x: x), HOOKS),
    "another output": (lambda m: setattr(m, "output", Linear(6, CLASSES)), OTHER),
    "no linear output": (lambda m: setattr(m, "output", nn.Sequential(m.output)), OTHER),
    "torch's layer": (lambda m: setattr(m, "recurrent", nn.GRU(4, 6, batch_first=True)), OTHER),
    "dropout of its own": (lambda m: setattr(m.recurrent, "dropout", 0.5), OTHER),
    "padding_idx": (
        lambda m: setattr(m, "embedding", nn.Embedding(VOCABULARY, 4, padding_idx=0)),
        OTHER,
    ),
    "max_norm": (
        lambda m: setattr(m, "embedding", nn.Embedding(VOCABULARY, 4, max_norm=1.0)),
        OTHER,
    ),
    "sparse": (lambda m: setattr(m, "embedding", nn.Embedding(VOCABULARY, 4, sparse=True)), OTHER),
    "scaled": (
        lambda m: setattr(m, "embedding", nn.Embedding(VOCABULARY, 4, scale_grad_by_freq=True)),
        OTHER,
    ),
    "config of more layers": (
        lambda m: setattr(m, "config", dataclasses.replace(m.config, num_layers=2)),
        OTHER,
    ),
    "config of another cell": (
        lambda m: setattr(m, "config", dataclasses.replace(m.config, cell="lstm")),
        OTHER,
    ),
    "config of other sizes": (
        lambda m: setattr(m, "config", dataclasses.replace(m.config, hidden_size=600)),
        PARAMETER,
    ),
    "config of more classes": (
        lambda m: setattr(m, "config", dataclasses.replace(m.config, num_outputs=600)),
        PARAMETER,
    ),
    "config of more tokens": (
        lambda m: setattr(m, "config", dataclasses.replace(m.config, vocabulary_size=600)),
        PARAMETER,
    ),
    "more classes": (lambda m: setattr(m, "output", nn.Linear(6, 600)), PARAMETER),
    "wider output": (lambda m: setattr(m, "output", nn.Linear(600, CLASSES)), PARAMETER),
    "no output bias": (
        lambda m: setattr(m, "output", nn.Linear(6, CLASSES, bias=False)),
        PARAMETER,
    ),
    "more tokens": (lambda m: setattr(m, "embedding", nn.Embedding(600, 4)), PARAMETER),
    "mixed dtypes": (lambda m: m.embedding.double(), PARAMETER),
    "mixed devices": (lambda m: m.recurrent.to("meta"), PARAMETER),
    "parameter missing": (drop_parameter, PARAMETER),
    "tensor subclass": (
        lambda m: set_parameter(m.output, "weight", torch.zeros(3, 6).as_subclass(Subclassed)),
        TOOL,
    ),
    "subclass further down": (
        lambda m: set_parameter(m.output, "bias", torch.zeros(3).as_subclass(Subclassed)),
        PARAMETER,
    ),
    "half": (lambda m: m.half(), "the model computes in torch.float16"),
    "bfloat16": (lambda m: m.bfloat16(), "the model computes in torch.bfloat16"),
    "meta": (lambda m: m.to("meta"), "the model is on meta"),
}


MIXED_CHANGES = {
    "an embedding's hook": (
        lambda m: m.embeddings[1].register_forward_hook(lambda *_: None),
        HOOKS,
    ),
    "the list's hook": (lambda m: m.embeddings.register_forward_hook(lambda *_: None), HOOKS),
    "an embedding's parametrization": (
        lambda m: parametrize.register_parametrization(m.embeddings[0], "weight", Halved()),
        HOOKS,
    ),
    "padding_idx": (
        lambda m: m.embeddings.__setitem__(1, nn.Embedding(3, 3, padding_idx=0)),
        OTHER,
    ),
    "one more embedding": (lambda m: m.embeddings.append(nn.Embedding(3, 3)), OTHER),
    "no list": (lambda m: setattr(m, "embeddings", nn.Sequential(*m.embeddings)), OTHER),
    "more codes": (lambda m: m.embeddings.__setitem__(1, nn.Embedding(600, 3)), PARAMETER),
    "mixed dtypes": (lambda m: m.embeddings[0].double(), PARAMETER),
}


@pytest.mark.parametrize(
    ("inputs", "apply", "reason"),
    [
        *(pytest.param("tokens", *case, id=name) for name, case in CHANGES.items()),
        *(pytest.param("mixed", *case, id=f"mixed, {n}") for n, case in MIXED_CHANGES.items()),
    ],
)
def test_each_reason_is_named(inputs, apply, reason):
    model = make_model(**{inputs: True})
    assert not isinstance(model.native(), str)
    apply(model)
    assert model.native() == reason


def test_a_subclass():
    assert make_model(kind=Child).native() == "Child is a subclass"


def test_autocast():
    model = make_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.native() == "autocast is on"
        with torch.no_grad():
            assert model(torch.randn(2, 3, CHANNELS)).dtype == torch.bfloat16
    assert not isinstance(model.native(), str)


def test_hooks_of_all_modules():
    seen = []
    register = torch.nn.modules.module.register_module_forward_hook
    hook = register(lambda module, *_: seen.append(type(module).__name__))
    model = make_model()
    try:
        assert model.native() == HOOKS
        with torch.no_grad():
            model(torch.randn(2, 3, CHANNELS))
    finally:
        hook.remove()
    assert seen == ["GRU", "Linear", "SequenceModel"]
    assert not isinstance(model.native(), str)


@torch.no_grad()
def test_hooks_see_and_change_what_passes():
    model, x = make_model(), torch.randn(2, 3, CHANNELS)
    plain = model(x)
    seen = []
    handles = [
        model.recurrent.register_forward_hook(lambda *given: seen.append(given[2][0].shape)),
        model.output.register_forward_hook(lambda *given: given[2] * 2),
    ]
    assert_close(model(x), plain * 2, "batchings")
    assert seen == [(2, 3, 6)]
    for handle in handles:
        handle.remove()
    assert torch.equal(model(x), plain)


@torch.no_grad()
def test_the_modules_give_the_same_answer():
    """What is in the way of the native call changes nothing else."""
    x, lengths = stack_rows(make_sequences([4, 1, 6], tokens=True))
    model = make_model("lstm", tokens=True, bidirectional=True)
    plain = model(x, lengths)
    model.register_forward_hook(lambda *_: None)
    assert_close(model(x, lengths), plain, "batchings")


@torch.no_grad()
def test_a_part_in_training_mode_drops():
    """Dropout at prediction, as for its uncertainty: the layers alone are put in training mode."""
    model, x = make_model(num_layers=2, dropout=0.5), torch.randn(2, 3, CHANNELS)
    assert torch.equal(model(x), model(x))
    model.recurrent.train()
    assert not torch.equal(model(x), model(x))
    model.recurrent.eval()
    assert torch.equal(model(x), model(x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["weight_ih_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_weight_put_back_at_another_place_is_found_by_name(name):
    """torch.nn.utils.prune leaves a parameter behind the others; two biases are of one shape."""
    model = make_model("gru", input_size=6)
    for parameter in model.parameters():
        parameter.normal_()
    prune.l1_unstructured(model.recurrent, name, 0.3)
    prune.remove(model.recurrent, name)
    assert list(model.recurrent._parameters)[-1] == name
    assert not isinstance(model.native(), str)
    x, lengths = torch.randn(3, 4, 6), torch.tensor([4, 1, 3])
    assert_close(model(x, lengths), reference_logits(model, x, lengths), "float32")


@torch.no_grad()
def test_weights_are_read_where_they_are_now():
    """Changed in place, replaced, loaded, converted, or lent for a call: the answer follows."""
    model, x, lengths = make_model(), torch.randn(3, 4, CHANNELS), torch.tensor([4, 1, 3])

    def follows(model, x):
        assert not isinstance(model.native(), str)
        line = str(x.dtype).removeprefix("torch.")
        assert_close(model(x, lengths), reference_logits(model, x, lengths), line)

    follows(model, x)
    model.output.bias.add_(1)
    follows(model, x)
    model.recurrent.weight_hh_l0 = nn.Parameter(torch.randn(18, 6))
    follows(model, x)
    model.output = nn.Linear(6, CLASSES)
    follows(model, x)
    model.output.weight.data = torch.randn(6, CLASSES).T
    follows(model, x)
    model.load_state_dict(make_model(seed=3).state_dict())
    follows(model, x)
    follows(model.double(), x.double())
    follows(model.float(), x)
    model.config = dataclasses.replace(model.config, readout="mean")
    follows(model, x)
    lent = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    found = torch.func.functional_call(model, lent, (x, lengths))
    model.load_state_dict(lent)
    assert torch.equal(found, model(x, lengths))


@torch.no_grad()
def test_tools_that_follow_each_operation():
    model, x = make_model(), torch.randn(2, 3, CHANNELS)
    plain = model(x)
    with Watching() as watching:
        assert model.native() == TOOL
        assert_close(model(x), plain, "batchings")
    assert watching.seen > 3
    reasons = []
    torch.func.vmap(lambda row: (reasons.append(model.native()), row)[1])(x)
    assert reasons == [TOOL]


@pytest.mark.parametrize(("readout", "tokens"), [("last", False), ("max", True), ("every", False)])
def test_compiled(readout, tokens):
    """torch.compile finds no break in the graph, with the lengths given and without."""
    model = make_model("gru", readout, tokens=tokens, bidirectional=True)
    x, lengths = stack_rows(make_sequences([4, 1, 6], tokens=tokens))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_close(compiled(x), model(x), "batchings")
        found, wanted = compiled(x, lengths), model(x, lengths)
    mask = ~past_end(found, lengths) if readout == "every" else slice(None)
    assert_close(found[mask], wanted[mask], "batchings")


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "state_dict"])
@torch.no_grad()
def test_copies_are_of_their_own(how):
    model, x = make_model("lstm", bidirectional=True), torch.randn(2, 3, CHANNELS)
    before = model(x)
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    elif how == "torch.save":
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = make_model("lstm", bidirectional=True, seed=9)
        other.load_state_dict(model.state_dict())
    assert not isinstance(other.native(), str)
    for parameter in model.parameters():
        parameter.zero_()
    assert torch.equal(other(x), before)
    assert not torch.equal(model(x), before)


@torch.no_grad()
def test_the_default_device_does_not_matter():
    """Where new tensors go by default is the caller's affair: here it would be no memory at all."""
    model, x = make_model(), torch.randn(2, 3, CHANNELS)
    plain = model(x)
    with torch.device("meta"):
        assert torch.equal(model(x), plain)
        assert torch.equal(model(x, torch.tensor([3, 3], device="cpu")), plain)


def test_several_threads_at_once():
    """Each thread of the caller gets its own sequences' answers."""
    model = make_model("lstm", "every", bidirectional=True, hidden_size=20)
    batches = [torch.randn(30, 5 + i, CHANNELS) for i in range(4)]
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            wanted = [model(x) for x in batches]
        wrong = []

        def ask(i):
            with torch.no_grad():
                same = [torch.equal(model(batches[i]), wanted[i]) for _ in range(30)]
                wrong.append(same.count(False))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(1)
    assert wrong == [0] * 4
