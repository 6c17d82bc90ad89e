"""Parts of benchmarks/bench.py: what is measured, against whom, how, and how it is told."""
