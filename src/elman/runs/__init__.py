"""Experiments, from data to run folder, and later use of the trained model.

`experiment.run` trains; `evaluation` has `evaluate`, `predict` and `check`; `explanation.explain`
explains a sequence. Nothing is imported here: reading and checking settings needs no torch.
"""
