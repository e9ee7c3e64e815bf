// Number formats, 16 bytes of a row at a time, and the exponential. Included by rows.cu.
//
// No system header is included, so that NVRTC needs nothing but these texts; 16-bit conversions
// are PTX. With SOFTMAX_EMULATED it is C++ for tests/support/cuda_emulation.hpp.

typedef long long int64;
typedef unsigned long long uint64;

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fc00000)
#endif

struct float16 { unsigned short bits; };
struct bfloat16 { unsigned short bits; };
typedef float float32;
typedef double float64;

template <typename T> struct accumulator { typedef float type; };
template <> struct accumulator<double> { typedef double type; };

#ifndef SOFTMAX_EMULATED
template <typename P> __device__ inline P* sixteen_bytes(P* address) { return address; }
__device__ inline float from_float16(unsigned short bits) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
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
__device__ inline float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(float16 x) { return from_float16(x.bits); }
__device__ inline float widen(bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }

__device__ inline void narrow(float x, float* out) { *out = x; }
__device__ inline void narrow(double x, double* out) { *out = x; }
__device__ inline void narrow(float x, float16* out) { out->bits = to_float16(x); }
__device__ inline void narrow(float x, bfloat16* out) { out->bits = to_bfloat16(x); }

// Sixteen bytes of a row: one transaction of a thread.
template <typename T> struct chunk {
  static constexpr int size = 16 / sizeof(T);
  union {
    uint4 raw;
    uint64 half[2];
    T item[size];
  };
};

template <int BYTES> struct bits_of;
template <> struct bits_of<2> { typedef unsigned short type; };
template <> struct bits_of<4> { typedef unsigned int type; };
template <> struct bits_of<8> { typedef uint64 type; };

// Entries by which a row begins after the last multiple of 16 bytes. Chunk k of a row holds its
// entries k * size - shift and on, so that every whole chunk is aligned, wherever the row begins.
template <typename T> __device__ inline int shift_of(const T* row) {
  return (int)((uint64)row % 16 / sizeof(T));
}

template <typename T> __device__ inline int64 chunks_of(int shift, int64 classes) {
  return (shift + classes + chunk<T>::size - 1) / chunk<T>::size;
}

// An entry enters at the upper end of a chunk, or leaves at the lower one: loops over the few
// chunks at the ends of rows stay loops, small, and in registers.
template <typename T, typename B> __device__ inline void shift_in(chunk<T>& c, B entry) {
  constexpr int BITS = 8 * sizeof(T);
  c.half[0] = BITS == 64 ? c.half[1] : c.half[0] >> BITS % 64 | c.half[1] << (64 - BITS) % 64;
  c.half[1] = BITS == 64 ? entry : c.half[1] >> BITS % 64 | (uint64)entry << (64 - BITS) % 64;
}

// Entries `first` and on. Beyond either end of the row nothing is read, and `fill` stands there.
template <typename T>
__device__ inline chunk<T> load(const T* row, int64 first, int64 classes, bool aligned, T fill) {
  typedef typename bits_of<sizeof(T)>::type bits;
  chunk<T> c;
  if (aligned && first >= 0 && first + chunk<T>::size <= classes) {
    c.raw = *sixteen_bytes((const uint4*)(row + first));
  } else {
    c.half[0] = c.half[1] = 0;
#pragma unroll 1
    for (int j = 0; j < chunk<T>::size; ++j) {
      const bool inside = first + j >= 0 && first + j < classes;
      shift_in(c, inside ? *(const bits*)(row + first + j) : *(const bits*)&fill);
    }
  }
  return c;
}

template <typename T>
__device__ inline void store(T* row, int64 first, int64 classes, bool aligned, chunk<T> c) {
  typedef typename bits_of<sizeof(T)>::type bits;
  if (aligned && first >= 0 && first + chunk<T>::size <= classes) {
    *sixteen_bytes((uint4*)(row + first)) = c.raw;
  } else {
#pragma unroll 1
    for (int j = 0; j < chunk<T>::size; ++j) {
      if (first + j >= 0 && first + j < classes) *(bits*)(row + first + j) = (bits)c.half[0];
      shift_in(c, (bits)0);
    }
  }
}

// The exponential, relative to the maximum m of the row: term(x) = exp(x - base) * 2^(B - power).
//
// Not x - m is reduced, which would round, but x itself, and the power of two of the maximum is
// taken off the exponent, which is exact (M. Dukhan, A. Ablavatski, The two-pass softmax algorithm,
// 2020, arXiv:2001.04438): the error does not grow with the distance from the maximum, and sums
// with different maxima are joined by powers of two. Beyond `limit` the maximum is the base: there
// the difference is exact wherever the result is not 0. B keeps terms out of the subnormal range.
template <typename A> struct frame {
  A base, power;
};

template <typename A> struct constants;
template <> struct constants<float> {
  static constexpr float limit = 4096.0f, log2e = 0x1.715476p+0f, ln2 = 0x1.62e43p-1f;
};
template <> struct constants<double> {
  static constexpr double limit = 1048576.0, log2e = 0x1.71547652b82fep+0;
  static constexpr double ln2 = 0x1.62e42fefa39efp-1;
};

template <typename A> __device__ inline frame<A> frame_of(A m) {
  frame<A> f;
  f.base = fabs(m) <= constants<A>::limit ? (A)0 : m;
  f.power = f.base == (A)0 ? rint(m * constants<A>::log2e) : (A)0;
  return f;
}

// 2^k for an integral k with a normal result; NaN gives some number.
__device__ inline float power_of_two(float k) {
  return __uint_as_float(__float_as_uint(k + (12582912.0f + 127.0f)) << 23);
}
__device__ inline double power_of_two(double k) {
  return __longlong_as_double(
      (int64)((uint64)__double_as_longlong(k + (6755399441055744.0 + 1023.0)) << 52));
}

// exp(d) = mantissa * 2^n, with a mantissa between 0.7 and 1.42: in float32 off by 1.5 u at most,
// the reduction included; seams between powers of two may be an ulp out of order.
__device__ inline float mantissa_of(float d, float n) {
  float f = fmaf(d, constants<float>::log2e, -n);
  f = fmaf(d, 0x1.4ae0c0p-26f, f);
  float q = fmaf(f, 0x1.44138ap-13f, 0x1.5f0890p-10f);
  q = fmaf(f, q, 0x1.3b2a54p-7f);
  q = fmaf(f, q, 0x1.c6af6cp-5f);
  q = fmaf(f, q, 0x1.ebfbe0p-3f);
  q = fmaf(f, q, 0x1.62e430p-1f);
  return fmaf(f, q, 1.0f);
}
__device__ inline double mantissa_of(double d, double n) {
  return exp(fma(n, -0x1.abc9e3b39803fp-56, fma(n, -constants<double>::ln2, d)));
}

template <typename A> __device__ inline A scaled_exp(A d, A power, A bias, A lowest) {
  const A n = rint(d * constants<A>::log2e);
  const A k = n - power;
  // A NaN is not below: it reaches the result through the mantissa. -inf gives exactly 0.
  return k < lowest ? (A)0 : mantissa_of(d, n) * power_of_two(k + bias);
}

#ifdef FAST
// Two instructions: the product is exact inside the fused operation, so that what the rounded
// constant is off by is the same factor for the whole row but for the distance to the maximum.
__device__ inline float term(float x, frame<float> f) {
  return exp2_approximate(fmaf(x - f.base, constants<float>::log2e, -f.power));
}
#else
__device__ inline float term(float x, frame<float> f) {
  return scaled_exp(x - f.base, f.power, 64.0f, -188.0f);
}
#endif
__device__ inline double term(double x, frame<double> f) {
  return scaled_exp(x - f.base, f.power, 512.0, -1500.0);
}

// What a sum of terms in the frame `from` is multiplied by to be one in the frame `to`.
__device__ inline float rescaling(frame<float> from, frame<float> to) {
  return scaled_exp(from.base - to.base, to.power - from.power, 0.0f, -126.0f);
}
__device__ inline double rescaling(frame<double> from, frame<double> to) {
  return scaled_exp(from.base - to.base, to.power - from.power, 0.0, -1022.0);
}

// e / s, rounded once, with r = 1 / s (P. Markstein, IA-64 and Elementary Functions, 2000, ch. 8).
__device__ inline float quotient(float e, float s, float r) {
  const float q = e * r;
  return fmaf(fmaf(-q, s, e), r, q);
}
__device__ inline double quotient(double e, double s, double r) {
  const double q = e * r;
  return fma(fma(-q, s, e), r, q);
}

__device__ inline float natural_log(float x) { return logf(x); }
__device__ inline double natural_log(double x) { return log(x); }
__device__ inline float log_of_one_plus(float x) { return log1pf(x); }
__device__ inline double log_of_one_plus(double x) { return log1p(x); }
