// Enough of CUDA to run the kernels of implementations/cuda on a CPU, and to catch what a GPU
// would not tell.
//
// Every thread of a block, and of a cluster, is a fiber; the fibers take turns wherever they wait
// for each other, in the order of their numbers, in reverse, block by block, warp by warp or
// shuffled, so that a missing barrier shows. An error, and not a hang, is: a barrier that some
// thread never reaches, a shuffle with a lane that is not in the mask or has another mask, reading
// the shared memory of a block that has ended, a grid that is no multiple of its cluster, and any
// access beyond what is mapped (arrays end at a guard page, see cuda_emulation.py). Shared memory
// begins as NaN. Arithmetic is the host's; speed and memory order are not emulated.
#pragma once

#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#define SOFTMAX_EMULATED
#define __device__
#define __global__
#define __launch_bounds__(n)
#define __cluster_dims__(x, y, z)

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace emulation {

constexpr std::size_t STACK = 64 * 1024;
constexpr int MAX_WARPS = 32;

struct Barrier {
  unsigned arrived = 0, generation = 0;
};

struct Warp {
  unsigned arrived = 0, mask = 0, generation = 0;
  double slots[2][32];
};

struct Block {
  unsigned index = 0, rank = 0, running = 0;
  Barrier barrier;
  Warp warps[MAX_WARPS];
  char* shared = nullptr;
};

struct Fiber {
  jmp_buf context;
  ucontext_t first;
  std::unique_ptr<char[]> stack;
  unsigned thread = 0;
  Block* block = nullptr;
  const unsigned* waiting = nullptr;  // runs on when this is no longer `seen`
  unsigned seen = 0;
  bool started = false, done = true;
};

// The arguments that all kernels have (rows.cu: KERNEL).
struct Launch {
  const void *x, *g;
  void* out;
  const void* targets;
  void *reduced, *partials;
  long long rows, classes, parts, x_pitch, g_pitch, out_pitch;
};
using Kernel = void (*)(const void*, const void*, void*, const void*, void*, void*, long long,
                        long long, long long, long long, long long, long long);

inline std::vector<std::unique_ptr<Fiber>> fibers;
inline std::vector<std::unique_ptr<Block>> blocks;
inline Fiber* current;
inline jmp_buf scheduler;
inline sigjmp_buf failed;
inline char message[256];
inline Barrier cluster;
inline unsigned cluster_running, block_threads, grid_blocks, cluster_blocks;
inline std::size_t shared_bytes;
inline Kernel kernel;
inline Launch arguments;

[[noreturn]] inline void fail(const char* text) {
  if (current == nullptr) {
    std::snprintf(message, sizeof message, "%s", text);
  } else {
    std::snprintf(message, sizeof message, "%s (block %u, thread %u)", text, current->block->index,
                  current->thread);
  }
  siglongjmp(failed, 1);
}

inline void to_scheduler() {
  if (_setjmp(current->context) == 0) _longjmp(scheduler, 1);
}

inline void wait_for(const unsigned& generation, unsigned seen) {
  current->waiting = &generation;
  current->seen = seen;
  to_scheduler();
  current->waiting = nullptr;
}

inline void arrive(Barrier& barrier, unsigned running) {
  const unsigned seen = barrier.generation;
  if (++barrier.arrived == running) {
    barrier.arrived = 0;
    ++barrier.generation;
  } else {
    wait_for(barrier.generation, seen);
  }
}

inline void fiber_body() {
  for (;;) {
    const Launch& a = arguments;
    kernel(a.x, a.g, a.out, a.targets, a.reduced, a.partials, a.rows, a.classes, a.parts,
           a.x_pitch, a.g_pitch, a.out_pitch);
    current->done = true;
    --current->block->running;
    --cluster_running;
    to_scheduler();
  }
}

inline void resume(Fiber& fiber) {
  current = &fiber;
  if (_setjmp(scheduler) == 0) {
    if (fiber.started) _longjmp(fiber.context, 1);
    fiber.started = true;
    setcontext(&fiber.first);
  }
  current = nullptr;
}

// Shared memory of a block: exactly the bytes asked for, before a page that must not be touched.
inline char* shared_memory(std::size_t bytes) {
  const std::size_t page = 4096, whole = (bytes + page - 1) / page * page;
  char* memory = (char*)mmap(nullptr, whole + page, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(memory + whole, page, PROT_NONE);
  return memory + whole - bytes / 16 * 16;
}

inline void release_shared(char* start, std::size_t bytes) {
  const std::size_t page = 4096, whole = (bytes + page - 1) / page * page;
  munmap(start + bytes / 16 * 16 - whole, whole + page);
}

inline void on_fault(int, siginfo_t* info, void*) {
  char text[100];
  std::snprintf(text, sizeof text, "access beyond an array or shared memory, at %p",
                info->si_addr);
  fail(text);
}

// Runs the fibers of one cluster of blocks to their end. `order`: 0 ascending, 1 descending, 2 a
// block as far as it gets before the next one, 3 a warp, else the seed of a shuffle at every turn.
inline void run_cluster(unsigned order) {
  const unsigned count = cluster_blocks * block_threads;
  std::vector<unsigned> turn(count);
  for (unsigned i = 0; i < count; ++i) turn[i] = order == 1 ? count - 1 - i : i;
  const unsigned group = order == 2 ? block_threads : order == 3 ? 32 : 0;
  std::uint64_t state = order;
  while (cluster_running > 0) {
    if (order > 3) {
      for (unsigned i = count - 1; i > 0; --i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(turn[i], turn[(state >> 33) % (i + 1)]);
      }
    }
    bool progress = false;
    bool ran = false;  // in this group, in this turn
    for (unsigned i = 0; i < count; ++i) {
      Fiber& fiber = *fibers[turn[i]];
      if (!fiber.done && !(fiber.waiting && *fiber.waiting == fiber.seen)) {
        progress = ran = true;
        resume(fiber);
      }
      if (group && (i + 1) % group == 0) {
        if (ran) i -= group;  // the same once more
        ran = false;
      }
    }
    if (!progress) fail("threads wait for others that ended or wait elsewhere");
  }
}

}  // namespace emulation

#define threadIdx (emulation::Index{emulation::current->thread})
#define blockIdx (emulation::Index{emulation::current->block->index})
#define blockDim (emulation::Index{emulation::block_threads})
#define gridDim (emulation::Index{emulation::grid_blocks})
#define dynamic ((uint4*)emulation::current->block->shared)

namespace emulation {
struct Index {
  unsigned x;
};
}  // namespace emulation

inline void __syncthreads() {
  emulation::arrive(emulation::current->block->barrier, emulation::block_threads);
}
inline void __cluster_barrier_arrive() {}
inline void __cluster_barrier_wait() {
  emulation::arrive(emulation::cluster, emulation::cluster_blocks * emulation::block_threads);
}

inline void* __cluster_map_shared_rank(void* place, int rank) {
  using namespace emulation;
  if (rank < 0 || rank >= (int)cluster_blocks) fail("no such block in the cluster");
  Block& other = *blocks[rank];
  if (other.running == 0) fail("shared memory of a block that has ended");
  return other.shared + ((char*)place - current->block->shared);
}

template <typename A>
A __shfl_xor_sync(unsigned mask, A value, int distance) {
  using namespace emulation;
  const unsigned lane = current->thread % 32, partner = lane ^ distance;
  Warp& warp = current->block->warps[current->thread / 32];
  if (!(mask >> lane & 1)) fail("a lane shuffles that is not in the mask");
  if (partner > 31 || !(mask >> partner & 1)) fail("a shuffle from a lane that is not in the mask");
  if (warp.arrived == 0) warp.mask = mask;
  if (warp.mask != mask) fail("lanes of one shuffle have different masks");
  const unsigned seen = warp.generation;
  double* slots = warp.slots[seen % 2];
  std::memcpy(&slots[lane], &value, sizeof value);
  warp.arrived |= 1u << lane;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    ++warp.generation;
  } else {
    wait_for(warp.generation, seen);
  }
  A other;
  std::memcpy(&other, &slots[partner], sizeof other);
  return other;
}

template <typename P>
P* sixteen_bytes(P* address) {
  if ((std::uintptr_t)address % 16) emulation::fail("sixteen bytes at an address between them");
  return address;
}

inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}
inline double __longlong_as_double(long long bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline long long __double_as_longlong(double x) {
  long long bits;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}

inline float from_float16(unsigned short bits) {
  const unsigned sign = (unsigned)(bits >> 15) << 31, exponent = bits >> 10 & 31;
  const unsigned fraction = bits & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * ((float)fraction * 0x1p-24f);
  return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

inline unsigned short to_float16(float x) {
  const unsigned bits = __float_as_uint(x);
  const unsigned short sign = bits >> 16 & 0x8000;
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return 0x7fff;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < 0x1p-14f) {  // adding 1/2 leaves multiples of 2^-24, rounded once
    return sign | (unsigned short)(__float_as_uint(magnitude + 0.5f) - __float_as_uint(0.5f));
  }
  const unsigned rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
  return sign | (unsigned short)((rounded - (112u << 23)) >> 13);
}

inline unsigned short to_bfloat16(float x) {
  if (std::isnan(x)) return 0x7fff;
  const unsigned bits = __float_as_uint(x);
  return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The real one is off by 2 ulp at most.
inline float exp2_approximate(float x) { return (float)std::exp2((double)x) * (1.0f + 0x1p-23f); }

// Runs blocks `begin` to `end` of a grid; the error, or an empty string.
extern "C" const char* emulate(emulation::Kernel kernel, const emulation::Launch* launch,
                               unsigned grid, unsigned block, unsigned cluster, unsigned shared,
                               unsigned order, unsigned begin, unsigned end) {
  using namespace emulation;
  message[0] = '\0';
  current = nullptr;
  emulation::kernel = kernel;
  arguments = *launch;
  grid_blocks = grid;
  block_threads = block;
  cluster_blocks = cluster;
  shared_bytes = shared;
  static char alternate[64 * 1024];
  stack_t handler_stack = {}, old_stack;
  handler_stack.ss_sp = alternate;
  handler_stack.ss_size = sizeof alternate;
  sigaltstack(&handler_stack, &old_stack);
  struct sigaction action = {}, old_segv, old_bus;
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  if (sigsetjmp(failed, 1) == 0) {
    if (block % 32 || block > 1024 || block == 0) fail("block: expected a multiple of 32 to 1024");
    if (grid % cluster) fail("grid: expected a multiple of the cluster");
    while (blocks.size() < cluster) blocks.push_back(std::make_unique<Block>());
    for (unsigned r = 0; r < cluster; ++r) blocks[r]->shared = shared_memory(shared);
    while (fibers.size() < (std::size_t)cluster * block) {
      fibers.push_back(std::make_unique<Fiber>());
      fibers.back()->stack.reset(new char[STACK]);
    }
    for (unsigned b = begin; b < end && b < grid; b += cluster) {
      for (unsigned r = 0; r < cluster; ++r) {
        char* own = blocks[r]->shared;
        *blocks[r] = Block{b + r, r, block, {}, {}, own};
        std::memset(own, 0xff, shared);
      }
      emulation::cluster = Barrier{};
      cluster_running = cluster * block;
      for (unsigned i = 0; i < cluster * block; ++i) {
        Fiber& fiber = *fibers[i];
        fiber.thread = i % block;
        fiber.block = blocks[i / block].get();
        fiber.waiting = nullptr;
        fiber.done = false;
        if (!fiber.started) {
          getcontext(&fiber.first);
          fiber.first.uc_stack.ss_sp = fiber.stack.get();
          fiber.first.uc_stack.ss_size = STACK;
          fiber.first.uc_link = nullptr;
          makecontext(&fiber.first, fiber_body, 0);
        }
      }
      run_cluster(order);
    }
  } else {
    fibers.clear();  // their stacks are in the middle of a kernel
  }
  for (unsigned r = 0; r < cluster && r < blocks.size(); ++r) {
    if (blocks[r]->shared) release_shared(blocks[r]->shared, shared);
    blocks[r]->shared = nullptr;
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaltstack(&old_stack, nullptr);
  return message;
}

extern "C" inline __attribute__((used)) unsigned short test_to_float16(float x) {
  return to_float16(x);
}
extern "C" inline __attribute__((used)) unsigned short test_to_bfloat16(float x) {
  return to_bfloat16(x);
}
