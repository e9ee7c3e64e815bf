"""CUDA kernels of `cupy_gpu` and `cupy_gpu_fast`, and what launches them."""
