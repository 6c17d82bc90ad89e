"""A network laid open: what it did at every step, what decided, and how far a gradient reaches.

Every function takes a `SequenceModel`, with sequences as it reads them, or a fitted estimator, with
sequences as they were given to `fit`. None of them changes the network that it is given.
"""

# At once, not when first asked for: three functions have the name of their file, and a file that
# is imported later would take the name back.
from elman.explain.attribution import Attribution, attribute
from elman.explain.bptt import Bptt, bptt
from elman.explain.doctor import Diagnosis, Finding, Watch, doctor
from elman.explain.memory import Memory, memory
from elman.explain.network import ExplainedNetwork, ExplainedSequence, read_sequence
from elman.explain.trace import ForwardPass, LayerTrace, Trace, run_forward, trace

__all__ = [
    "Attribution",
    "Bptt",
    "Diagnosis",
    "ExplainedNetwork",
    "ExplainedSequence",
    "Finding",
    "ForwardPass",
    "LayerTrace",
    "Memory",
    "Trace",
    "Watch",
    "attribute",
    "bptt",
    "doctor",
    "memory",
    "read_sequence",
    "run_forward",
    "trace",
]
