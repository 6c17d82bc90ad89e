"""Figures of the results of `elman.explain`, which draw themselves by them."""
