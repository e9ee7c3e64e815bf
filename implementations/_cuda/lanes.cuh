// A row in the registers of some lanes of a warp: kernels lanes_L_C of rows.cu, which includes this.

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
      const chunk<T> d = Op::SHIFTED ? c : load_g<Op>(v, lane + i * LANES);
      hold_chunk<Op, OTHERS>(c, d, i * SIZE, held, other, m);
    }
    if (Op::SHIFTED) m = lanes_max(m, LANES);
    const frame<A> own = frame_of(m);
    sums<A> s = sum_held<Op, ITEMS, OTHERS>(held, other, m, own);
    s = lanes_sum<A, Op::COUNTED>(s, LANES);
    if (!active) continue;
    int64 target;
    const row_facts<A> f = row_facts_of<Op>(a, v, row, m, s, &target);
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
