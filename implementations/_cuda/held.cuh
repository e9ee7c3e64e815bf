// A row in the registers and the shared memory of a block, or of a cluster of blocks: kernels held_N
// of rows.cu, which includes this.

// Chunks of a row in the registers of a thread of held_N: 32 entries, 16 of two arrays, 8 of
// float64, so that 1024 threads have enough.
template <typename Op, typename T> struct held_chunks {
  static constexpr int entries = sizeof(T) == 8 ? 8 : Op::SHIFTED ? 32 : 16;
  static constexpr int value = entries / chunk<T>::size;
};

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
      hold_chunk<Op, OTHERS>(c, d, i * SIZE, held, other, m);
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
    sums<A> s = sum_held<Op, ITEMS, OTHERS>(held, other, m, own);
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
    int64 target;
    const row_facts<A> f = row_facts_of<Op>(a, v, row, m, s, &target);
    if (a.out) {
#pragma unroll
      for (int i = 0; i < CHUNKS; ++i) {
        const int64 index = begin + threadIdx.x + (int64)i * threads;
        if (index < end) {
          store_results<Op>(v, index, held + i * SIZE, other + (i * SIZE) % OTHERS, f, target);
        }
      }
      for (int64 k = threadIdx.x; k < more; k += threads) {
        chunk<T> c, d;
        c.raw = kept[k];
        if (!Op::SHIFTED) d.raw = kept[more + k];
        store_late<Op>(v, beyond + k, c, d, own, f, target);
      }
    }
    if (Op::TARGETS && a.reduced && rank == 0 && threadIdx.x == 0) narrow(f.loss, &a.reduced[row]);
    // Without a maximum nothing lies between the sums of two rows, which take the same places.
    if (!Op::SHIFTED) __syncthreads();
  }
  // The others may still be reading what this block left for them.
  if (CLUSTER > 1) cluster_barrier();
}
