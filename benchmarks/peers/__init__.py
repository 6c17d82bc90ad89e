"""Data sets and contenders of benchmarks/accuracy.py."""
