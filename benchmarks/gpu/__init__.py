"""The GPU benchmark: the official loop, our engine and every strategy, side by side in one run.

``python -m benchmarks.gpu --help``; benchmarks/README.md says what each section measures.
"""
