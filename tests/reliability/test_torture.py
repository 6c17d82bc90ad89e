"""A sample of `make torture`, and proof that it finds what it looks for: planted faults."""

import random

import pytest
from torture import CASES, BrokenError, Torture, random_kills

RESTORED = """
from elman.train.checkpoint import Saver
restore = Saver.restore
def planted(self):
    state = restore(self)
    if state is not None:
        {fault}
    return state
Saver.restore = planted
"""
# What a checkpoint or a resumed run might forget, and a training that draws on it.
PLANTS = {
    "random generator": (
        "text",
        "import elman.train.checkpoint as c; assert c.set_random_state\n"
        "c.set_random_state = lambda states, generator: None",
    ),
    "optimizer": (
        "text",
        "import elman.train.checkpoint as c; assert c.restore_state\n"
        "c.restore_state = lambda *arguments: None",
    ),
    "order of the epoch": (
        "text",
        RESTORED.format(
            fault="import numpy; state.order = numpy.random.default_rng(9).bit_generator.state"
        ),
    ),
    "position in the epoch": ("text", RESTORED.format(fault="state.batch = 0")),
    "best weights": (
        "numbers",
        RESTORED.format(fault="state.kept_weights = dict(self.model.state_dict())"),
    ),
    "best loss": ("numbers", RESTORED.format(fault="state.best_loss = float('inf')")),
    "gradient norms": ("text", RESTORED.format(fault="state.norms = state.norms[-1:]")),
    "grouping of sums": (
        "values",
        RESTORED.format(
            fault="m = state.metrics; m.correct, m._squares = m._count(); m._pending.clear()"
        ),
    ),
    "lines of metrics.jsonl": (
        "text",
        "from elman import files\nwrite = files.write_file\n"
        "def planted(path, data):\n"
        "    if not (str(path).endswith('metrics.jsonl') and data == '' and path.exists()):\n"
        "        write(path, data)\n"
        "files.write_file = planted",
    ),
    "checkpoint in place": (
        "short",
        "import contextlib, elman.train.checkpoint as c\nreal = c.files\n"
        "class Files:\n"
        "    __getattr__ = staticmethod(lambda name: getattr(real, name))\n"
        "    @staticmethod\n    @contextlib.contextmanager\n"
        "    def new_folder(path, replace):\n"
        "        real.make_folder(path)\n        yield path\n"
        "c.files = Files()",
    ),
}


@pytest.fixture(scope="module")
def torture(tmp_path_factory, forks):
    made = Torture(tmp_path_factory.mktemp("torture"), forks=forks)
    yield made
    print(made.counts)


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_to_the_same_bytes(torture, case):
    rng = random.Random(case)
    torture.plant = ""
    _, seconds, operations = torture.measure(case)
    for _ in range(2):
        torture.chain(case, random_kills(rng, seconds, operations))


@pytest.mark.parametrize(("case", "plant"), PLANTS.values(), ids=PLANTS)
def test_a_planted_fault_is_found(torture, case, plant):
    torture.plant = ""
    operations = torture.measure(case)[2]
    torture.plant = plant

    def attack():
        for share in (0.4, 0.5, 0.55, 0.6, 0.65, 0.7):
            torture.chain(case, [("operation", int(share * operations))])
        for number in range(60, 90, 3):  # within the first checkpoints
            torture.chain(case, [("operation", number)])

    with pytest.raises(BrokenError, match=r"differs|damaged|missing|exit code"):
        attack()
