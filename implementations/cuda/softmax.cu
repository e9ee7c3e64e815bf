// Softmax of contiguous rows on NVIDIA GPUs, for cupy_gpu.py: three strategies by class count.
//
//   softmax_warp_*    up to 1024 classes: LANES threads per row, ITEMS entries of it in the
//                     registers of each; shuffles only. One read, one write.
//   softmax_shared_*  as far as a row in the accumulator's format fits in shared memory: one block
//                     per row. One read, one write.
//   softmax_online_*  beyond: one block per row, a running (maximum, sum) per thread, then a second
//                     reading. Two reads, one write.
//
// 16-bit formats are computed in float32. The maximum is subtracted before the exponential, which
// is exp of the CUDA library, not ex2.approx. Row and entry offsets have 64 bits.
// -inf entries are exactly 0; a row with NaN, with +inf, or of nothing but -inf is NaN.
// In place is allowed: every thread has read an entry before it writes to it.
// No header is included, so that NVRTC needs nothing but this text; 16-bit conversions are PTX.
// With SOFTMAX_EMULATED it is C++ for tests/cuda_emulation.hpp, which runs the logic on a CPU.

typedef long long int64;

#define ALL_LANES 0xffffffffu
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

struct float16 { unsigned short bits; };
struct bfloat16 { unsigned short bits; };

template <typename T> struct accumulator { typedef float type; };
template <> struct accumulator<double> { typedef double type; };

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(bfloat16 x) {
  return __uint_as_float((unsigned int)x.bits << 16);
}
#ifdef SOFTMAX_EMULATED
extern double dynamic[];
__device__ inline float widen(float16 x) { return from_float16(x.bits); }
#else
extern __shared__ double dynamic[];
__device__ inline float widen(float16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}
__device__ inline unsigned short to_float16(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ inline unsigned short to_bfloat16(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
#endif

__device__ inline void narrow(float x, float* out) { *out = x; }
__device__ inline void narrow(double x, double* out) { *out = x; }
__device__ inline void narrow(float x, float16* out) { out->bits = to_float16(x); }
__device__ inline void narrow(float x, bfloat16* out) { out->bits = to_bfloat16(x); }

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// A NaN never becomes the maximum; it reaches the row through the sum.
template <typename A> __device__ inline A larger(A a, A b) { return a > b ? a : b; }

// exp(x - m), 0 for a masked entry even while nothing but masked ones was seen.
template <typename A> __device__ inline A term(A x, A m) {
  return x == -(A)INFINITY ? (A)0 : exponential(x - m);
}

template <typename A> __device__ inline A lanes_max(A v, int lanes) {
  for (int d = lanes / 2; d > 0; d /= 2) v = larger(v, __shfl_xor_sync(ALL_LANES, v, d));
  return v;
}

template <typename A> __device__ inline A lanes_sum(A v, int lanes) {
  for (int d = lanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(ALL_LANES, v, d);
  return v;
}

// All threads of the block get the result; blockDim.x is a multiple of 32, at most 1024.
template <typename A> __device__ inline A block_max(A v, A* exchange) {
  v = lanes_max(v, 32);
  __syncthreads();
  if (threadIdx.x % 32 == 0) exchange[threadIdx.x / 32] = v;
  __syncthreads();
  int lane = threadIdx.x % 32;
  v = lane < (int)blockDim.x / 32 ? exchange[lane] : -(A)INFINITY;
  return lanes_max(v, 32);
}

template <typename A> __device__ inline A block_sum(A v, A* exchange) {
  v = lanes_sum(v, 32);
  __syncthreads();
  if (threadIdx.x % 32 == 0) exchange[threadIdx.x / 32] = v;
  __syncthreads();
  int lane = threadIdx.x % 32;
  v = lane < (int)blockDim.x / 32 ? exchange[lane] : (A)0;
  return lanes_sum(v, 32);
}

template <typename T, int LANES, int ITEMS>
__device__ inline void softmax_warp(const T* x, T* out, int64 rows, int64 classes) {
  typedef typename accumulator<T>::type A;
  const int lane = threadIdx.x % LANES;
  const int64 per_block = blockDim.x / LANES;
  const int64 step = (int64)gridDim.x * per_block;
  // All lanes of a warp take as many rounds: shuffles need every one of them.
  const int64 rounds = (rows + step - 1) / step;
  int64 row = (int64)blockIdx.x * per_block + threadIdx.x / LANES;
  for (int64 round = 0; round < rounds; ++round, row += step) {
    const bool active = row < rows;
    A v[ITEMS];
    A m = -(A)INFINITY;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const int64 c = lane + (int64)i * LANES;
      v[i] = active && c < classes ? widen(x[row * classes + c]) : -(A)INFINITY;
      m = larger(v[i], m);
    }
    m = lanes_max(m, LANES);
    A s = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      v[i] = exponential(v[i] - m);
      s += v[i];
    }
    s = lanes_sum(s, LANES);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const int64 c = lane + (int64)i * LANES;
      if (active && c < classes) narrow(v[i] / s, &out[row * classes + c]);
    }
  }
}

template <typename T>
__device__ inline void softmax_shared(const T* x, T* out, int64 rows, int64 classes,
                                      typename accumulator<T>::type* cache,
                                      typename accumulator<T>::type* exchange) {
  typedef typename accumulator<T>::type A;
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* from = x + row * classes;
    T* to = out + row * classes;
    A m = -(A)INFINITY;
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
      const A v = widen(from[c]);
      cache[c] = v;
      m = larger(v, m);
    }
    m = block_max(m, exchange);
    A s = 0;
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
      const A e = exponential(cache[c] - m);
      cache[c] = e;
      s += e;
    }
    s = block_sum(s, exchange);
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) narrow(cache[c] / s, &to[c]);
  }
}

template <typename T>
__device__ inline void softmax_online(const T* x, T* out, int64 rows, int64 classes,
                                      typename accumulator<T>::type* exchange) {
  typedef typename accumulator<T>::type A;
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* from = x + row * classes;
    T* to = out + row * classes;
    A m = -(A)INFINITY, s = 0;
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
      const A v = widen(from[c]);
      if (v > m) {
        s = term(m, v) * s + (A)1;
        m = v;
      } else {
        s += term(v, m);
      }
    }
    // inf - inf is NaN, so that +inf makes the sum NaN; a part without a maximum keeps its sum,
    // which is 0, or NaN if it held one.
    const A top = block_max(m, exchange);
    s = m == -(A)INFINITY ? s : s * exponential(m - top);
    s = block_sum(s, exchange);
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
      narrow(exponential(widen(from[c]) - top) / s, &to[c]);
    }
  }
}

#define WARP(T, LANES, ITEMS)                                                              \
  extern "C" __global__ void __launch_bounds__(128)                                       \
      softmax_warp_##T##_##LANES##_##ITEMS(const T* x, T* out, int64 rows, int64 classes) { \
    softmax_warp<T, LANES, ITEMS>(x, out, rows, classes);                                  \
  }

#define ROWS(T)                                                                             \
  WARP(T, 4, 2)                                                                             \
  WARP(T, 8, 4)                                                                             \
  WARP(T, 32, 4)                                                                            \
  WARP(T, 32, 8)                                                                            \
  WARP(T, 32, 16)                                                                           \
  WARP(T, 32, 32)                                                                           \
  extern "C" __global__ void __launch_bounds__(1024)                                        \
      softmax_shared_##T(const T* x, T* out, int64 rows, int64 classes) {                   \
    __shared__ accumulator<T>::type exchange[32];                                           \
    softmax_shared<T>(x, out, rows, classes, (accumulator<T>::type*)dynamic, exchange);     \
  }                                                                                         \
  extern "C" __global__ void __launch_bounds__(1024)                                        \
      softmax_online_##T(const T* x, T* out, int64 rows, int64 classes) {                   \
    __shared__ accumulator<T>::type exchange[32];                                           \
    softmax_online<T>(x, out, rows, classes, exchange);                                     \
  }

typedef float float32;
typedef double float64;
ROWS(float32)
ROWS(float64)
ROWS(float16)
ROWS(bfloat16)
