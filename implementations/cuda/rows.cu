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

// Of each array one row, seen by chunks that are aligned in x.
template <typename T> struct row_view {
  const T *x, *g;
  T* out;
  int64 classes;
  int shift;
  bool g_aligned, out_aligned;
};

// What a kernel is given: arrays of `rows` rows of `classes` entries, `pitch` apart. `out`,
// `targets` and `reduced` (one entry a row) may be null.
template <typename T> struct row_arrays {
  const T *x, *g;
  T* out;
  const int64* targets;
  T* reduced;
  typename accumulator<T>::type* partials;
  int64 rows, classes, parts, x_pitch, g_pitch, out_pitch;
};

template <typename T>
__device__ inline row_view<T> view_row(const row_arrays<T>& a, int64 row, int64 classes) {
  row_view<T> v;
  v.x = a.x + row * a.x_pitch;
  v.g = a.g + row * a.g_pitch;
  v.out = a.out + row * a.out_pitch;
  v.classes = classes;
  v.shift = shift_of(v.x);
  v.g_aligned = shift_of(v.g) == v.shift;
  v.out_aligned = shift_of(v.out) == v.shift;
  return v;
}

// What stands beyond the ends: it changes neither a maximum nor a sum.
template <typename Op, typename T> __device__ inline T filler() {
  T t;
  narrow(Op::SHIFTED ? -(typename accumulator<T>::type)INFINITY : 0, &t);
  return t;
}

template <typename Op, typename T>
__device__ inline chunk<T> load_x(const row_view<T>& v, int64 index) {
  return load(v.x, index * chunk<T>::size - v.shift, v.classes, true, filler<Op, T>());
}
template <typename Op, typename T>
__device__ inline chunk<T> load_g(const row_view<T>& v, int64 index) {
  return load(v.g, index * chunk<T>::size - v.shift, v.classes, v.g_aligned, filler<Op, T>());
}

// The results of one chunk: `held` is the term or the entry, as the operation has it.
template <typename Op, typename T, typename A>
__device__ inline void store_results(const row_view<T>& v, int64 index, const A* held, const A* g,
                                     const row_facts<A>& f, int64 target) {
  const int64 first = index * chunk<T>::size - v.shift;
  chunk<T> c;
#pragma unroll
  for (int j = 0; j < chunk<T>::size; ++j) {
    const bool at_target = Op::TARGETS && first + j == target;
    narrow(Op::result(held[j], Op::SHIFTED ? (A)0 : g[j], f, at_target), &c.item[j]);
  }
  store(v.out, first, v.classes, v.out_aligned, c);
}

template <typename Op, typename T, int LANES, int CHUNKS>
__device__ inline void lanes_kernel(const row_arrays<T>& a) {
  typedef typename accumulator<T>::type A;
  constexpr int SIZE = chunk<T>::size, ITEMS = CHUNKS * SIZE, OTHERS = Op::SHIFTED ? 1 : ITEMS;
  const int lane = threadIdx.x % LANES;
  const int64 per_block = blockDim.x / LANES;
  const int64 step = (int64)gridDim.x * per_block;
  // All lanes of a warp take as many rounds: shuffles need every one of them.
  const int64 rounds = (a.rows + step - 1) / step;
  int64 row = (int64)blockIdx.x * per_block + threadIdx.x / LANES;
  for (int64 round = 0; round < rounds; ++round, row += step) {
    const bool active = row < a.rows;
    const row_view<T> v = view_row(a, active ? row : 0, active ? a.classes : 0);
    A held[ITEMS], other[OTHERS];
    A m = -(A)INFINITY;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      const chunk<T> c = load_x<Op>(v, lane + i * LANES);
#pragma unroll
      for (int j = 0; j < SIZE; ++j) {
        held[i * SIZE + j] = widen(c.item[j]);
        m = larger(held[i * SIZE + j], m);
      }
      if (!Op::SHIFTED) {
        const chunk<T> d = load_g<Op>(v, lane + i * LANES);
#pragma unroll
        for (int j = 0; j < SIZE; ++j) other[(i * SIZE + j) % OTHERS] = widen(d.item[j]);
      }
    }
    if (Op::SHIFTED) m = lanes_max(m, LANES);
    const frame<A> own = frame_of(m);
    sums<A> s = {0, 0};
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const A e = add_entry<Op>(s, held[i], other[i % OTHERS], m, own);
      if (Op::HELD) held[i] = e;
    }
    s = lanes_sum<A, Op::COUNTED>(s, LANES);
    if (!active) continue;
    const int64 target = Op::TARGETS && a.targets ? a.targets[row] : -1;
    const bool targeted = Op::TARGETS && a.targets;
    const row_facts<A> f =
        facts_of<Op>(m, s, targeted, targeted ? logit_at<T, A>(v.x, target, a.classes) : (A)0);
    if (a.out) {
#pragma unroll
      for (int i = 0; i < CHUNKS; ++i) {
        store_results<Op>(v, lane + i * LANES, held + i * SIZE, other + (i * SIZE) % OTHERS, f,
                          target);
      }
    }
    if (Op::TARGETS && a.reduced && lane == 0) narrow(f.loss, &a.reduced[row]);
  }
}

template <typename Op, typename T, int CLUSTER, int CHUNKS>
__device__ inline void held_kernel(const row_arrays<T>& a) {
  typedef typename accumulator<T>::type A;
  constexpr int SIZE = chunk<T>::size, ITEMS = CHUNKS * SIZE, OTHERS = Op::SHIFTED ? 1 : ITEMS;
  places<A>* exchange = (places<A>*)dynamic;
  uint4* kept = dynamic + EXCHANGE_BYTES / 16;
  const int rank = blockIdx.x % CLUSTER;
  const int threads = blockDim.x;
  for (int64 row = blockIdx.x / CLUSTER; row < a.rows; row += gridDim.x / CLUSTER) {
    const row_view<T> v = view_row(a, row, a.classes);
    const int64 all = chunks_of<T>(v.shift, a.classes);
    const int64 each = (all + CLUSTER - 1) / CLUSTER;
    const int64 begin = rank * each, end = begin + each < all ? begin + each : all;
    const int64 beyond = begin + (int64)CHUNKS * threads;  // from there on in shared memory
    A held[ITEMS], other[OTHERS];
    A m = -(A)INFINITY;
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      const int64 index = begin + threadIdx.x + (int64)i * threads;
      chunk<T> c, d;
#pragma unroll
      for (int j = 0; j < SIZE; ++j) c.item[j] = d.item[j] = filler<Op, T>();
      if (index < end) {
        c = load_x<Op>(v, index);
        if (!Op::SHIFTED) d = load_g<Op>(v, index);
      }
#pragma unroll
      for (int j = 0; j < SIZE; ++j) {
        held[i * SIZE + j] = widen(c.item[j]);
        m = larger(held[i * SIZE + j], m);
        if (!Op::SHIFTED) other[(i * SIZE + j) % OTHERS] = widen(d.item[j]);
      }
    }
    // Each thread reads from shared memory what it wrote there itself: no barrier is needed.
    const int64 more = end - beyond;
    for (int64 k = threadIdx.x; k < more; k += threads) {
      const chunk<T> c = load_x<Op>(v, beyond + k);
      kept[k] = c.raw;
      if (!Op::SHIFTED) kept[more + k] = load_g<Op>(v, beyond + k).raw;
#pragma unroll
      for (int j = 0; j < SIZE; ++j) m = larger(widen(c.item[j]), m);
    }
    if (Op::SHIFTED) m = row_max<A, CLUSTER>(m, exchange);
    const frame<A> own = frame_of(m);
    sums<A> s = {0, 0};
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const A e = add_entry<Op>(s, held[i], other[i % OTHERS], m, own);
      if (Op::HELD) held[i] = e;
    }
    for (int64 k = threadIdx.x; k < more; k += threads) {
      chunk<T> c, d;
      c.raw = kept[k];
      if (!Op::SHIFTED) d.raw = kept[more + k];
#pragma unroll
      for (int j = 0; j < SIZE; ++j) {
        add_entry<Op>(s, (A)widen(c.item[j]), Op::SHIFTED ? (A)0 : widen(d.item[j]), m, own);
      }
    }
    s = row_sum<A, CLUSTER, Op::COUNTED>(s, exchange);
    const int64 target = Op::TARGETS && a.targets ? a.targets[row] : -1;
    const bool targeted = Op::TARGETS && a.targets;
    const row_facts<A> f =
        facts_of<Op>(m, s, targeted, targeted ? logit_at<T, A>(v.x, target, a.classes) : (A)0);
    if (a.out) {
#pragma unroll
      for (int i = 0; i < CHUNKS; ++i) {
        const int64 index = begin + threadIdx.x + (int64)i * threads;
        if (index < end) {
          store_results<Op>(v, index, held + i * SIZE, other + (i * SIZE) % OTHERS, f, target);
        }
      }
      for (int64 k = threadIdx.x; k < more; k += threads) {
        A late[SIZE], late_g[SIZE];
        chunk<T> c, d;
        c.raw = kept[k];
        if (!Op::SHIFTED) d.raw = kept[more + k];
#pragma unroll
        for (int j = 0; j < SIZE; ++j) {
          late[j] = widen(c.item[j]);
          if (Op::HELD) late[j] = term(late[j], own);
          late_g[j] = Op::SHIFTED ? (A)0 : widen(d.item[j]);
        }
        store_results<Op>(v, beyond + k, late, late_g, f, target);
      }
    }
    if (Op::TARGETS && a.reduced && rank == 0 && threadIdx.x == 0) narrow(f.loss, &a.reduced[row]);
    // Without a maximum nothing lies between the sums of two rows, which take the same places.
    if (!Op::SHIFTED) __syncthreads();
  }
  // The others may still be reading what this block left for them.
  if (CLUSTER > 1) cluster_barrier();
}

// Sums of different maxima, joined: exact but where the maximum is beyond the limit of frame_of.
template <typename A>
__device__ inline sums<A> moved(sums<A> s, A from, A to, frame<A> own) {
  if (from == to) return s;
  const A factor = rescaling(frame_of(from), own);
  // Entries below the new maximum are part of the rest.
  s.rest = factor * (from == -(A)INFINITY ? s.rest : fma(s.count, term(from, frame_of(from)), s.rest));
  s.count = 0;
  return s;
}

// The running maximum and sums of entries, of which none may have been seen. A masked entry is 0
// even then, and a NaN stays in the sum.
template <typename Op, typename T, typename A>
__device__ inline void add_chunk(A& m, sums<A>& s, chunk<T> c, chunk<T> d) {
  A top = m;
#pragma unroll
  for (int j = 0; j < chunk<T>::size; ++j) top = larger(widen(c.item[j]), top);
  const frame<A> own = frame_of(top);
  if (Op::SHIFTED && top != m) s = moved(s, m, top, own);
  m = top;
#pragma unroll
  for (int j = 0; j < chunk<T>::size; ++j) {
    const A v = widen(c.item[j]);
    if (Op::SHIFTED && v == -(A)INFINITY) continue;
    add_entry<Op>(s, v, Op::SHIFTED ? (A)0 : (A)widen(d.item[j]), m, own);
  }
}

template <typename Op, typename T>
__device__ inline void partial_kernel(const row_arrays<T>& a) {
  typedef typename accumulator<T>::type A;
  places<A>* exchange = (places<A>*)dynamic;
  const int64 row = blockIdx.x / a.parts, part = blockIdx.x % a.parts;
  const row_view<T> v = view_row(a, row, a.classes);
  const int64 all = chunks_of<T>(v.shift, a.classes), each = (all + a.parts - 1) / a.parts;
  const int64 end = (part + 1) * each < all ? (part + 1) * each : all;
  A m = -(A)INFINITY;
  sums<A> s = {0, 0};
  for (int64 k = part * each + threadIdx.x; k < end; k += blockDim.x) {
    chunk<T> c = load_x<Op>(v, k), d = c;
    if (!Op::SHIFTED) d = load_g<Op>(v, k);
    add_chunk<Op, T, A>(m, s, c, d);
  }
  A top = m;
  if (Op::SHIFTED) {
    top = row_max<A, 1>(m, exchange);
    s = moved(s, m, top, frame_of(top));
  }
  s = row_sum<A, 1, Op::COUNTED>(s, exchange);
  if (threadIdx.x == 0) {
    A* mine = a.partials + 3 * (row * a.parts + part);
    mine[0] = top;
    mine[1] = s.rest;
    mine[2] = s.count;
  }
}

template <typename Op, typename T>
__device__ inline void finish_kernel(const row_arrays<T>& a) {
  typedef typename accumulator<T>::type A;
  places<A>* exchange = (places<A>*)dynamic;
  const int64 row = blockIdx.x / a.parts, part = blockIdx.x % a.parts;
  const A* own_row = a.partials + 3 * row * a.parts;
  A m = -(A)INFINITY;
  for (int64 k = threadIdx.x; k < a.parts; k += blockDim.x) m = larger(own_row[3 * k], m);
  if (Op::SHIFTED) m = row_max<A, 1>(m, exchange);
  const frame<A> own = frame_of(m);
  sums<A> s = {0, 0};
  for (int64 k = threadIdx.x; k < a.parts; k += blockDim.x) {
    sums<A> one = {own_row[3 * k + 1], own_row[3 * k + 2]};
    if (Op::SHIFTED) one = moved(one, own_row[3 * k], m, own);
    s.rest += one.rest;
    s.count += one.count;
  }
  s = row_sum<A, 1, Op::COUNTED>(s, exchange);
  const row_view<T> v = view_row(a, row, a.classes);
  const int64 target = Op::TARGETS && a.targets ? a.targets[row] : -1;
  const bool targeted = Op::TARGETS && a.targets;
  const row_facts<A> f =
      facts_of<Op>(m, s, targeted, targeted ? logit_at<T, A>(v.x, target, a.classes) : (A)0);
  if (Op::TARGETS && a.reduced && part == 0 && threadIdx.x == 0) narrow(f.loss, &a.reduced[row]);
  if (!a.out) return;
  const int64 all = chunks_of<T>(v.shift, a.classes), each = (all + a.parts - 1) / a.parts;
  const int64 end = (part + 1) * each < all ? (part + 1) * each : all;
  for (int64 k = part * each + threadIdx.x; k < end; k += blockDim.x) {
    A late[chunk<T>::size], late_g[chunk<T>::size];
    chunk<T> c = load_x<Op>(v, k), d = c;
    if (!Op::SHIFTED) d = load_g<Op>(v, k);
#pragma unroll
    for (int j = 0; j < chunk<T>::size; ++j) {
      late[j] = widen(c.item[j]);
      if (Op::HELD) late[j] = term(late[j], own);
      late_g[j] = Op::SHIFTED ? (A)0 : widen(d.item[j]);
    }
    store_results<Op>(v, k, late, late_g, f, target);
  }
}

// Chunks of a row in the registers of a thread of held_N: 32 entries, 16 of two arrays, 8 of
// float64, so that 1024 threads have enough.
template <typename Op, typename T> struct held_chunks {
  static constexpr int entries = sizeof(T) == 8 ? 8 : Op::SHIFTED ? 32 : 16;
  static constexpr int value = entries / chunk<T>::size;
};

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
