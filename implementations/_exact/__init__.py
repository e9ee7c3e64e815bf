"""The kernels of `numba_exact`."""
