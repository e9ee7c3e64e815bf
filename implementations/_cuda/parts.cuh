// A row by parts, each of a block, in two launches: kernels partial and finish of rows.cu, which
// includes this.

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

// The chunks of a row that make one of its parts.
struct span {
  int64 begin, end;
};
template <typename T>
__device__ inline span part_of(const row_view<T>& v, const row_arrays<T>& a, int64 part) {
  const int64 all = chunks_of<T>(v.shift, a.classes), each = (all + a.parts - 1) / a.parts;
  const int64 end = (part + 1) * each < all ? (part + 1) * each : all;
  return {part * each, end};
}

template <typename Op, typename T>
__device__ inline void partial_kernel(const row_arrays<T>& a) {
  typedef typename accumulator<T>::type A;
  places<A>* exchange = (places<A>*)dynamic;
  const int64 row = blockIdx.x / a.parts, part = blockIdx.x % a.parts;
  const row_view<T> v = view_row(a, row, a.classes);
  const span mine = part_of(v, a, part);
  A m = -(A)INFINITY;
  sums<A> s = {0, 0};
  for (int64 k = mine.begin + threadIdx.x; k < mine.end; k += blockDim.x) {
    const chunk<T> c = load_x<Op>(v, k), d = Op::SHIFTED ? c : load_g<Op>(v, k);
    add_chunk<Op, T, A>(m, s, c, d);
  }
  A top = m;
  if (Op::SHIFTED) {
    top = row_max<A, 1>(m, exchange);
    s = moved(s, m, top, frame_of(top));
  }
  s = row_sum<A, 1, Op::COUNTED>(s, exchange);
  if (threadIdx.x == 0) {
    A* place = a.partials + 3 * (row * a.parts + part);
    place[0] = top;
    place[1] = s.rest;
    place[2] = s.count;
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
  int64 target;
  const row_facts<A> f = row_facts_of<Op>(a, v, row, m, s, &target);
  if (Op::TARGETS && a.reduced && part == 0 && threadIdx.x == 0) narrow(f.loss, &a.reduced[row]);
  if (!a.out) return;
  const span mine = part_of(v, a, part);
  for (int64 k = mine.begin + threadIdx.x; k < mine.end; k += blockDim.x) {
    const chunk<T> c = load_x<Op>(v, k), d = Op::SHIFTED ? c : load_g<Op>(v, k);
    store_late<Op>(v, k, c, d, own, f, target);
  }
}
