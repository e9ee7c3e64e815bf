// Enough of CUDA to run the kernels of implementations/cuda on a CPU, thread by thread.
//
// Every thread of a block is a thread of the host; blocks run one after the other. It checks the
// logic (indices, barriers, shuffles, special values), not the arithmetic of a GPU nor its speed.
// A barrier that not every thread reaches hangs here as it would there.
#pragma once

#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define SOFTMAX_EMULATED
#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(n)

struct Index {
  unsigned x;
};

inline thread_local Index threadIdx;
inline thread_local Index blockIdx;
inline Index blockDim, gridDim;
inline std::unique_ptr<std::barrier<>> block_barrier;
inline std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;
inline double slots[32][32];
inline double dynamic[1 << 16];

inline void __syncthreads() { block_barrier->arrive_and_wait(); }

template <typename A>
A __shfl_xor_sync(unsigned, A value, int distance) {
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  std::memcpy(&slots[warp][lane], &value, sizeof value);
  warp_barriers[warp]->arrive_and_wait();
  A other;
  std::memcpy(&other, &slots[warp][lane ^ distance], sizeof other);
  warp_barriers[warp]->arrive_and_wait();
  return other;
}

inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline float from_float16(unsigned short bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float sign = bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp((float)fraction, -24);
  return sign * std::ldexp((float)(1024 + fraction), exponent - 25);
}

inline unsigned short to_float16(float x) {
  const unsigned short sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return 0x7fff;
  const float magnitude = std::fabs(x);
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < 0x1p-14f) return sign | (unsigned short)std::nearbyint(std::ldexp(magnitude, 24));
  int exponent;
  std::frexp(magnitude, &exponent);
  const int fraction = (int)std::nearbyint(std::ldexp(magnitude, 11 - exponent));  // 1024 to 2048
  return sign | (unsigned short)(((exponent + 13) << 10) + fraction);
}

inline unsigned short to_bfloat16(float x) {
  if (std::isnan(x)) return 0x7fff;
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

using Kernel = void (*)(const void*, void*, long long, long long);

// Runs a kernel on `grid` blocks of `block` threads, a multiple of 32.
extern "C" void emulate(Kernel kernel, const void* x, void* out, long long rows, long long classes,
                        unsigned grid, unsigned block) {
  blockDim.x = block;
  gridDim.x = grid;
  block_barrier = std::make_unique<std::barrier<>>(block);
  warp_barriers.clear();
  for (unsigned w = 0; w < block / 32; ++w) {
    warp_barriers.push_back(std::make_unique<std::barrier<>>(32));
  }
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < block; ++t) {
    threads.emplace_back([=] {
      threadIdx.x = t;
      for (unsigned b = 0; b < grid; ++b) {
        blockIdx.x = b;
        kernel(x, out, rows, classes);
        __syncthreads();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
