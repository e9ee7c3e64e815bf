"""Explicit vectors for Numba: the layer that `numba_cpu` and `numba_exact` stand on."""
