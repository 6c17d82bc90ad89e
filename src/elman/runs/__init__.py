"""One experiment from data to run folder, and the later use of its model.

`experiment.run` trains; `evaluation` has `evaluate`, `predict` and `check`; `explanation.explain`
explains a sequence. Nothing is imported here: settings can be read and checked without torch.
"""
