// Row operations of softmax on NVIDIA GPUs, for _cuda_rows.py, which says when each kernel is used.
//
//   lanes_L_C   L lanes of a warp per row, C chunks of 16 bytes of it in the registers of each;
//               shuffles only. One read, one write.
//   held_N      N blocks per row, a cluster where N > 1, which exchange two values each through
//               distributed shared memory; the row stays in registers and, beyond, in shared
//               memory as it came. One read, one write.
//   partial,    `parts` blocks per row, in two launches: a running (maximum, sum) of each part, then
//   finish      all of them joined and the part read again. Two reads, one write.
//
// Compile with -DOPERATION=Softmax (or another of operations.cuh) and -DELEMENT=float32 (float64,
// float16, bfloat16: these two with -DHALF_WIDTH); with -DFAST the exponential of 32-bit arithmetic is ex2.approx. 16-bit
// formats are computed in float32. All offsets have 64 bits. Rows may begin at any element.
// -inf entries are exactly 0; a row with NaN, with +inf, or of nothing but -inf is NaN.
// In place is allowed: what a block writes, it and its cluster have read before.
#include "formats.cuh"
#include "exchange.cuh"
#include "operations.cuh"
#include "views.cuh"
#include "lanes.cuh"
#include "held.cuh"
#include "parts.cuh"

// The exponential alone, elementwise, so that its error can be measured; scaled in two steps, of
// which only the second rounds, where the result is subnormal.
template <typename A> __device__ inline A whole_exp(A x) {
  constexpr A top = sizeof(A) == 8 ? 1023 : 127;
  const A n = rint(x * constants<A>::log2e);
  if (n < -2 * top) return (A)0;
  if (n > top + 1) return (A)INFINITY;
  const A first = n < 1 - top ? 1 - top : n > top ? top : n;
  return mantissa_of(x, n) * power_of_two(first) * power_of_two(n - first);
}
#ifdef FAST
__device__ inline float exponential(float x) {
  return exp2_approximate(fmaf(x, constants<float>::log2e, -0.0f));
}
#else
__device__ inline float exponential(float x) { return whole_exp(x); }
#endif
__device__ inline double exponential(double x) { return whole_exp(x); }

template <typename T> __device__ inline void exponential_kernel(const row_arrays<T>& a) {
  const int64 step = (int64)gridDim.x * blockDim.x;
  for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < a.classes; i += step) {
    narrow(exponential(widen(a.x[i])), &a.out[i]);
  }
}

#define KERNEL(NAME, T, BLOCK, ATTRIBUTE, BODY)                                              \
  extern "C" __global__ void ATTRIBUTE __launch_bounds__(BLOCK)                              \
      NAME(const T* x, const T* g, T* out, const int64* targets, T* reduced,                 \
           accumulator<T>::type* partials, int64 rows, int64 classes, int64 parts,           \
           int64 x_pitch, int64 g_pitch, int64 out_pitch) {                                  \
    const row_arrays<T> a = {x,    g,       out,   targets, reduced, partials,               \
                             rows, classes, parts, x_pitch, g_pitch, out_pitch};             \
    BODY(a);                                                                                 \
  }

// Template arguments hold commas, which the macro above would take for its own.
#define LANES_KERNEL(OP, T, LANES, CHUNKS) \
  KERNEL(NAME(lanes_##LANES##_##CHUNKS, OP, T), T, 128, , (lanes_kernel<OP, T, LANES, CHUNKS>))
#define HELD_KERNEL(OP, T, CLUSTER, ATTRIBUTE)                    \
  KERNEL(NAME(held_##CLUSTER, OP, T), T, 1024, ATTRIBUTE,         \
         (held_kernel<OP, T, CLUSTER, held_chunks<OP, T>::value>))

#define ROW_KERNELS(OP, T)                                            \
  LANES_KERNEL(OP, T, 4, 1)                                           \
  LANES_KERNEL(OP, T, 8, 2)                                           \
  LANES_KERNEL(OP, T, 32, 2)                                          \
  LANES_KERNEL(OP, T, 32, 4)                                          \
  HELD_KERNEL(OP, T, 1, )                                             \
  KERNEL(NAME(partial, OP, T), T, 512, , (partial_kernel<OP, T>))     \
  KERNEL(NAME(finish, OP, T), T, 512, , (finish_kernel<OP, T>))

// Where 8 chunks are 64 entries, a block takes over earlier.
#define WIDE_LANES_KERNEL(OP, T) LANES_KERNEL(OP, T, 32, 8)

#define CLUSTER_KERNELS(OP, T)                        \
  HELD_KERNEL(OP, T, 8, __cluster_dims__(8, 1, 1))    \
  HELD_KERNEL(OP, T, 16, __cluster_dims__(16, 1, 1))

#ifndef SOFTMAX_EMULATED
#define NAME(KERNEL, OP, T) KERNEL
#ifndef OPERATION
#define OPERATION Softmax
#endif
#ifndef ELEMENT
#define ELEMENT float32
#endif
ROW_KERNELS(OPERATION, ELEMENT)
KERNEL(exponential_of, ELEMENT, 512, , (exponential_kernel<ELEMENT>))
#ifndef HALF_WIDTH
WIDE_LANES_KERNEL(OPERATION, ELEMENT)
#endif
#if __CUDA_ARCH__ >= 900
CLUSTER_KERNELS(OPERATION, ELEMENT)
#endif
#endif
