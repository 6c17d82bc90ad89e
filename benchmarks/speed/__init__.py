"""Parts of benchmarks/bench.py: contenders, timing, and reports."""
