// Rows of arrays: where they lie, sixteen bytes of them at a time, and what all kernels do with them.
// Included by rows.cu.

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

// The facts of a row from its maximum and sums. `target` becomes its target, -1 if it has none.
template <typename Op, typename T, typename A>
__device__ inline row_facts<A> row_facts_of(const row_arrays<T>& a, const row_view<T>& v, int64 row,
                                            A maximum, sums<A> s, int64* target) {
  const bool targeted = Op::TARGETS && a.targets;
  *target = targeted ? a.targets[row] : -1;
  return facts_of<Op>(maximum, s, targeted,
                      targeted ? logit_at<T, A>(v.x, *target, a.classes) : (A)0);
}

// A chunk is taken into registers, widened; `g` of it only if not SHIFTED. The largest so far is m.
template <typename Op, int OTHERS, typename T, typename A>
__device__ inline void hold_chunk(chunk<T> c, chunk<T> d, int first, A* held, A* other, A& m) {
#pragma unroll
  for (int j = 0; j < chunk<T>::size; ++j) {
    held[first + j] = widen(c.item[j]);
    m = larger(held[first + j], m);
    if (!Op::SHIFTED) other[(first + j) % OTHERS] = widen(d.item[j]);
  }
}

// The sums of what a thread holds, of which the terms replace the entries where the operation
// wants them.
template <typename Op, int ITEMS, int OTHERS, typename A>
__device__ inline sums<A> sum_held(A* held, const A* other, A m, frame<A> own) {
  sums<A> s = {0, 0};
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const A e = add_entry<Op>(s, held[i], other[i % OTHERS], m, own);
    if (Op::HELD) held[i] = e;
  }
  return s;
}

// The results of a chunk that is held as it came.
template <typename Op, typename T, typename A>
__device__ inline void store_late(const row_view<T>& v, int64 index, chunk<T> c, chunk<T> d,
                                  frame<A> own, const row_facts<A>& f, int64 target) {
  A late[chunk<T>::size], late_g[chunk<T>::size];
#pragma unroll
  for (int j = 0; j < chunk<T>::size; ++j) {
    late[j] = widen(c.item[j]);
    if (Op::HELD) late[j] = term(late[j], own);
    late_g[j] = Op::SHIFTED ? (A)0 : widen(d.item[j]);
  }
  store_results<Op>(v, index, late, late_g, f, target);
}
