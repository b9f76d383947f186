"""Side-by-side measurements of fgrad and its peers: `python -m tests.benchmarks`. Ratios, never a timed test."""
