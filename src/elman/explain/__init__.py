"""Explanations of a network: its states and gates, its gradients, attributions, memory, diagnosis.

Every function takes a `SequenceModel`, with sequences as it reads them, or a fitted estimator, with
sequences as its `fit` takes them. None of them changes the network.
"""

# Imported eagerly: five functions share the name of their module, and importing that module later
# would bind the name to the module instead of the function.
from elman.explain.attribution import Attribution, attribute
from elman.explain.bptt import Bptt, bptt
from elman.explain.choice import Choice, choose_sequence
from elman.explain.doctor import Diagnosis, Finding, Score, Watch, doctor
from elman.explain.forward import ForwardPass, LayerTrace, run_forward
from elman.explain.influence import Influence, influence
from elman.explain.memory import Memory, memory
from elman.explain.network import ExplainedNetwork, ExplainedSequence, read_sequence
from elman.explain.trace import Trace, trace

__all__ = [
    "Attribution",
    "Bptt",
    "Choice",
    "Diagnosis",
    "ExplainedNetwork",
    "ExplainedSequence",
    "Finding",
    "ForwardPass",
    "Influence",
    "LayerTrace",
    "Memory",
    "Score",
    "Trace",
    "Watch",
    "attribute",
    "bptt",
    "choose_sequence",
    "doctor",
    "influence",
    "memory",
    "read_sequence",
    "run_forward",
    "trace",
]
