// Maxima and sums over the lanes of a warp, the warps of a block and the blocks of a cluster.
// Included by rows.cu. Every thread that takes part gets the result.

#define ALL_LANES 0xffffffffu

#ifndef SOFTMAX_EMULATED
extern __shared__ uint4 dynamic[];
#endif

// The start of dynamic shared memory: what blocks exchange. The rest holds the row.
#define EXCHANGE_BYTES 1024

// A NaN never becomes the maximum; it reaches the row through the sum.
template <typename A> __device__ inline A larger(A a, A b) { return a > b ? a : b; }

template <typename A> struct sums {
  A rest;   // of the terms, without those of the maximum where they are counted
  A count;  // of the entries equal to the maximum
};

template <typename A> __device__ inline A lanes_max(A v, int lanes) {
  for (int d = lanes / 2; d > 0; d /= 2) v = larger(v, __shfl_xor_sync(ALL_LANES, v, d));
  return v;
}

template <typename A> __device__ inline A lanes_sum(A v, int lanes) {
  for (int d = lanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(ALL_LANES, v, d);
  return v;
}

template <typename A, bool COUNTED> __device__ inline sums<A> lanes_sum(sums<A> v, int lanes) {
  v.rest = lanes_sum(v.rest, lanes);
  if (COUNTED) v.count = lanes_sum(v.count, lanes);
  return v;
}

// Where the warps, then the blocks, leave a value. Maxima and sums have places of their own: that
// the one was read is certain when the other was exchanged.
template <typename A> struct places {
  A maximum[32], rest[32], count[32], block_maximum, block_rest, block_count;
};

__device__ inline void cluster_barrier() {
#if defined(SOFTMAX_EMULATED) || __CUDA_ARCH__ >= 900
  __cluster_barrier_arrive();
  __cluster_barrier_wait();
#endif
}

template <typename A> __device__ inline A of_block(A* place, int rank) {
#if defined(SOFTMAX_EMULATED) || __CUDA_ARCH__ >= 900
  return *(A*)__cluster_map_shared_rank(place, rank);
#else
  return *place;
#endif
}

template <typename A, int CLUSTER> __device__ inline A row_max(A v, places<A>* p) {
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  v = lanes_max(v, 32);
  if (lane == 0) p->maximum[threadIdx.x / 32] = v;
  __syncthreads();
  v = lanes_max(lane < warps ? p->maximum[lane] : -(A)INFINITY, 32);
  if (CLUSTER > 1) {
    if (threadIdx.x == 0) p->block_maximum = v;
    cluster_barrier();
    v = lanes_max(lane < CLUSTER ? of_block(&p->block_maximum, lane) : -(A)INFINITY, 32);
  }
  return v;
}

template <typename A, int CLUSTER, bool COUNTED>
__device__ inline sums<A> row_sum(sums<A> v, places<A>* p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = lanes_sum<A, COUNTED>(v, 32);
  if (lane == 0) {
    p->rest[warp] = v.rest;
    if (COUNTED) p->count[warp] = v.count;
  }
  __syncthreads();
  v.rest = lane < warps ? p->rest[lane] : (A)0;
  if (COUNTED) v.count = lane < warps ? p->count[lane] : (A)0;
  v = lanes_sum<A, COUNTED>(v, 32);
  if (CLUSTER > 1) {
    if (threadIdx.x == 0) {
      p->block_rest = v.rest;
      if (COUNTED) p->block_count = v.count;
    }
    cluster_barrier();
    v.rest = lane < CLUSTER ? of_block(&p->block_rest, lane) : (A)0;
    if (COUNTED) v.count = lane < CLUSTER ? of_block(&p->block_count, lane) : (A)0;
    v = lanes_sum<A, COUNTED>(v, 32);
  }
  return v;
}
