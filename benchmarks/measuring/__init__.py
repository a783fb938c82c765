"""The parts of the fidelity benchmark (benchmarks/fidelity.py), one idea a file."""
