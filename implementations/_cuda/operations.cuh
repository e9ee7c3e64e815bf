// What is done with a row, given its maximum and sums. Included by rows.cu.
//
// An operation says which sums it needs (SHIFTED: terms relative to the maximum, else products of
// two arrays; COUNTED: the entries equal to the maximum apart, so that log1p sees what is beyond
// the first of them and a saturated logarithm keeps its digits), what is held of an entry between
// the sums and the result (HELD: the term, else the entry), and how a result follows.

template <typename A> struct row_facts {
  A maximum;
  A total;       // sum of the terms, or of the products
  A reciprocal;  // 1 / total
  A log_sum;     // log(sum exp(x - maximum)), if COUNTED
  A at_target;   // gradient at the target: minus the share of all others
  A loss;        // -log of the share of the target; without targets the log-sum-exp
};

struct Softmax {
  static constexpr bool SHIFTED = true, COUNTED = false, HELD = true, TARGETS = false;
  template <typename A> static __device__ inline A result(A e, A, const row_facts<A>& f, bool) {
    return quotient(e, f.total, f.reciprocal);
  }
};

struct LogSoftmax {
  static constexpr bool SHIFTED = true, COUNTED = true, HELD = false, TARGETS = false;
  template <typename A> static __device__ inline A result(A x, A, const row_facts<A>& f, bool) {
    return (x - f.maximum) - f.log_sum;
  }
};

struct CrossEntropy {
  static constexpr bool SHIFTED = true, COUNTED = true, HELD = true, TARGETS = true;
  template <typename A>
  static __device__ inline A result(A e, A, const row_facts<A>& f, bool target) {
    return target ? f.at_target : quotient(e, f.total, f.reciprocal);
  }
};

struct SoftmaxBackward {
  static constexpr bool SHIFTED = false, COUNTED = false, HELD = false, TARGETS = false;
  template <typename A> static __device__ inline A result(A y, A g, const row_facts<A>& f, bool) {
    return y * (g - f.total);
  }
};

// The sum of the row goes on with one entry: its term is returned. `g` only if not SHIFTED.
template <typename Op, typename A>
__device__ inline A add_entry(sums<A>& s, A x, A g, A maximum, frame<A> f) {
  if (!Op::SHIFTED) {
    s.rest = fma(x, g, s.rest);
    return (A)0;
  }
  if (Op::COUNTED) {
    // -inf is 0 even while nothing else was seen, when it equals the maximum.
    const A e = x == -(A)INFINITY ? (A)0 : term(x, f);
    const bool top = x == maximum && x != -(A)INFINITY;
    s.rest += top ? (A)0 : e;
    s.count += top ? (A)1 : (A)0;
    return e;
  }
  const A e = term(x, f);
  s.rest += e;
  return e;
}

// `target_logit` is read if TARGETS and there are targets; a target out of range makes it NaN.
template <typename Op, typename A>
__device__ inline row_facts<A> facts_of(A maximum, sums<A> s, bool targeted, A target_logit) {
  row_facts<A> f;
  f.maximum = maximum;
  f.total = s.rest;
  if (Op::SHIFTED) {
    if (Op::COUNTED) {
      const frame<A> own = frame_of(maximum);
      const A top = term(maximum, own);
      f.log_sum = log_of_one_plus(s.rest / top + (s.count - (A)1));
      f.total = fma(s.count, top, s.rest);
      if (Op::TARGETS) {
        const A e = term(target_logit, own);
        // Where the target is below the maximum, no more than half of the sum is taken away.
        const A others = target_logit == maximum ? fma(s.count - (A)1, top, s.rest) : f.total - e;
        f.at_target = (A)0 - others / f.total;
        f.loss = (maximum - target_logit) + f.log_sum;
        if (target_logit != target_logit) f.at_target = f.loss = target_logit;
        if (!targeted) {
          // An infinite maximum stands for itself, unless there is a NaN, which is in the rest.
          const bool infinite = maximum - maximum != (A)0;
          f.loss = infinite ? maximum + s.rest * (A)0 : maximum + f.log_sum;
        }
      }
    }
    f.reciprocal = (A)1 / f.total;
  }
  return f;
}

// The entry at the target, NaN for a target that is no class.
template <typename T, typename A>
__device__ inline A logit_at(const T* row, int64 target, int64 classes) {
  return target >= 0 && target < classes ? widen(row[target]) : (A)NAN;
}
