"""The kernels of `numba_cpu`."""
