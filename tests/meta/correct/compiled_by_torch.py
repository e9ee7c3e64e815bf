"""A function of PyTorch that Inductor compiles, with whatever that keeps."""

import numpy as np
import torch

IMPLEMENTATION = {"dtypes": ("float32", "float64"), "requires": ("torch",), "programs": ("c++",)}


@torch.compile(dynamic=True)
def _rows(z):
    e = torch.exp(z - z.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    rows = torch.from_numpy(np.array(z.reshape(-1, z.shape[-1]), order="C"))
    return np.moveaxis(_rows(rows).numpy().reshape(z.shape), -1, axis)
