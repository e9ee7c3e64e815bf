"""CUDA kernels that do nothing but move bytes: the limits that timings on a device are set against.

Their source alone, so that it can be compiled, and looked at, without a device.
"""

from __future__ import annotations

THREADS = 512
FLIGHT = 4
"""Loads of a thread that are under way at a time, 16 bytes each."""

SOURCE = r"""
typedef unsigned long long uint64;
#define FLIGHT 4

// A block moves FLIGHT * blockDim.x times 16 bytes; all of a thread's loads come before its stores.
extern "C" __global__ void copy16(const uint4* __restrict__ x, uint4* __restrict__ y,
                                  uint64 whole, uint64 bytes) {
  const uint64 first = (uint64)blockIdx.x * blockDim.x * FLIGHT + threadIdx.x;
  uint4 v[FLIGHT];
#pragma unroll
  for (int k = 0; k < FLIGHT; ++k) {
    const uint64 i = first + k * blockDim.x;
    if (i < whole) v[k] = x[i];
  }
#pragma unroll
  for (int k = 0; k < FLIGHT; ++k) {
    const uint64 i = first + k * blockDim.x;
    if (i < whole) y[i] = v[k];
  }
  const uint64 rest = 16 * whole + threadIdx.x;  // the last, incomplete 16 bytes
  if (blockIdx.x == 0 && rest < bytes) ((char*)y)[rest] = ((const char*)x)[rest];
}

extern "C" __global__ void add16(const uint4* __restrict__ x, const uint4* __restrict__ g,
                                 uint4* __restrict__ y, uint64 whole) {
  const uint64 first = (uint64)blockIdx.x * blockDim.x * FLIGHT + threadIdx.x;
  uint4 a[FLIGHT], b[FLIGHT];
#pragma unroll
  for (int k = 0; k < FLIGHT; ++k) {
    const uint64 i = first + k * blockDim.x;
    if (i < whole) {
      a[k] = x[i];
      b[k] = g[i];
    }
  }
#pragma unroll
  for (int k = 0; k < FLIGHT; ++k) {
    const uint64 i = first + k * blockDim.x;
    if (i < whole) {
      y[i] = make_uint4(a[k].x + b[k].x, a[k].y + b[k].y, a[k].z + b[k].z, a[k].w + b[k].w);
    }
  }
}

__device__ inline unsigned folded(uint4 v) { return v.x ^ v.y ^ v.z ^ v.w; }

// What was read is folded into a word that hardly ever is the one that is written, so that no load
// can be left out.
extern "C" __global__ void read16(const uint4* __restrict__ x, unsigned* sink, uint64 whole) {
  const uint64 step = (uint64)gridDim.x * blockDim.x;
  uint64 i = (uint64)blockIdx.x * blockDim.x + threadIdx.x;
  unsigned seen = 0;
  for (; i + (FLIGHT - 1) * step < whole; i += FLIGHT * step) {
    uint4 v[FLIGHT];
#pragma unroll
    for (int k = 0; k < FLIGHT; ++k) v[k] = x[i + k * step];
#pragma unroll
    for (int k = 0; k < FLIGHT; ++k) seen ^= folded(v[k]);
  }
  for (; i < whole; i += step) seen ^= folded(x[i]);
  if (seen == 0x5eed5eedu) *sink = seen;
}
"""


def blocks_of(whole: int) -> int:
    """Blocks of ``copy16`` and ``add16`` for so many times 16 bytes."""
    return max(1, -(-whole // (THREADS * FLIGHT)))
