"""A library of C, compiled when it is imported, called through ctypes."""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np

IMPLEMENTATION = {"dtypes": ("float32", "float64"), "programs": ("cc",)}

_SOURCE = """
#include <math.h>
#define SOFTMAX(T, NAME, EXP)                                                      \\
void NAME(const T *x, T *y, long rows, long n) {                                   \\
    for (long r = 0; r < rows; r++, x += n, y += n) {                              \\
        T m = x[0], s = 0;                                                         \\
        for (long i = 1; i < n; i++) if (x[i] > m || x[i] != x[i]) m = x[i];       \\
        for (long i = 0; i < n; i++) s += y[i] = EXP(x[i] - m);                    \\
        for (long i = 0; i < n; i++) y[i] /= s;                                    \\
    }                                                                              \\
}
SOFTMAX(float, softmax_float32, expf)
SOFTMAX(double, softmax_float64, exp)
"""

with tempfile.TemporaryDirectory() as _folder:
    _path = Path(_folder, "softmax.so")
    _command = ["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", _path, "-lm"]
    subprocess.run(_command, input=_SOURCE, text=True, check=True)
    _LIBRARY = ctypes.CDLL(str(_path))


def softmax(x, axis=-1):
    computed = np.float32 if x.dtype == np.float32 else np.float64
    z = np.ascontiguousarray(np.moveaxis(x, axis, -1), dtype=computed)
    y = np.empty_like(z)
    function = getattr(_LIBRARY, f"softmax_{z.dtype.name}")
    pointer = ctypes.POINTER(ctypes.c_float if computed is np.float32 else ctypes.c_double)
    n = z.shape[-1]
    rows = ctypes.c_long(z.size // n if n else 0)
    function(z.ctypes.data_as(pointer), y.ctypes.data_as(pointer), rows, ctypes.c_long(n))
    kept = x.dtype if x.dtype.kind == "f" else computed
    return np.moveaxis(y.astype(kept, copy=False), -1, axis)
