/* What kernels see: qualifiers, indices, barriers, warp operations, atomics, and the macros of
 * kernels/device/launch.h. Instrumented together with the kernels, so it stays thin. */
#ifndef CUDASIM_KERNEL_H
#define CUDASIM_KERNEL_H

#include <cmath>
#include <cstring>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define threadIdx cudasim_now.thread
#define blockIdx  cudasim_now.block
#define blockDim  cudasim_now.block_size
#define gridDim   cudasim_now.grid_size

namespace cudasim
{

template <class T> uint64_t to_bits(T value)
{
    static_assert(sizeof value <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> T from_bits(uint64_t bits)
{
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T> T shuffle(unsigned mask, T value, unsigned source)
{
    return from_bits<T>(cudasim_warp(CUDASIM_SHUFFLE, mask, to_bits(value), source));
}

/* A lane outside its segment of `width` lanes reads its own value, as on a card. */
inline unsigned in_segment(int source, int width)
{
    int lane = (int)cudasim_lane();
    return (unsigned)(source >= 0 && source / width == lane / width ? source : lane);
}

/* Parameters by value in a tuple: a launch copies its arguments when it is made. */
template <class... Parameters> struct pending_launch {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
    dim3 grid, block;
    size_t shared_size;

    static void call(void *self)
    {
        auto *launch = static_cast<pending_launch *>(self);
        std::apply(launch->kernel, launch->arguments);
    }
    static void run(void *self)
    {
        auto *launch = static_cast<pending_launch *>(self);
        cudasim_launch_spec spec = {launch->grid, launch->block, launch->shared_size, call, self};
        cudasim_run_grid(&spec);
    }
    static void destroy(void *self)
    {
        delete static_cast<pending_launch *>(self);
    }
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...),
            dim3 grid,
            dim3 block,
            size_t shared_size,
            cudaStream_t stream,
            Arguments... arguments)
{
    using pending = pending_launch<Parameters...>;
    if (cudasim_check_launch(grid, block, shared_size) == 0) {
        auto *launch =
            new pending{kernel, std::tuple<Parameters...>(arguments...), grid, block, shared_size};
        cudasim_enqueue(stream, pending::run, pending::destroy, launch);
    }
}

template <class T, class F> T atomic_update(T *address, F change)
{
    T old;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    for (;;) {
        T next = change(old);
        if (__atomic_compare_exchange(address, &old, &next, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
            return old;
        }
    }
}

} // namespace cudasim

inline void __syncthreads()
{
    cudasim_block_barrier();
}
inline void __syncwarp(unsigned mask = ~0u)
{
    cudasim_warp(CUDASIM_WARP_SYNC, mask, 0, 0);
}
inline void __threadfence()
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    int first = (int)cudasim_lane() / width * width;
    return cudasim::shuffle(mask, value, (unsigned)(first + (source & (width - 1))));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32)
{
    return cudasim::shuffle(mask, value, cudasim::in_segment((int)cudasim_lane() ^ lanes, width));
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    return cudasim::shuffle(mask, value, cudasim::in_segment((int)(cudasim_lane() + delta), width));
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    return cudasim::shuffle(mask, value,
                            cudasim::in_segment((int)cudasim_lane() - (int)delta, width));
}
inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    return (unsigned)cudasim_warp(CUDASIM_BALLOT, mask, predicate != 0, 0);
}
inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
/* True if no lane that takes part votes no: lanes that have left do not count. */
inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, !predicate) == 0;
}

template <class T> T atomicAdd(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T old) { return old + value; });
}
template <class T> T atomicMax(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T old) { return old < value ? value : old; });
}
template <class T> T atomicMin(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T old) { return value < old ? value : old; });
}
template <class T> T atomicOr(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T old) { return old | value; });
}
template <class T> T atomicAnd(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T old) { return old & value; });
}
template <class T> T atomicExch(T *address, T value)
{
    return cudasim::atomic_update(address, [value](T) { return value; });
}
template <class T> T atomicCAS(T *address, T expected, T value)
{
    return cudasim::atomic_update(address, [=](T old) { return old == expected ? value : old; });
}

inline float rsqrtf(float x)
{
    return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x)
{
    return 1.0 / std::sqrt(x);
}
inline float __fmaf_rn(float a, float b, float c)
{
    return std::fma(a, b, c);
}
inline float __fadd_rn(float a, float b)
{
    return a + b;
}
inline float __fmul_rn(float a, float b)
{
    return a * b;
}
inline double __dadd_rn(double a, double b)
{
    return a + b;
}
inline double __dmul_rn(double a, double b)
{
    return a * b;
}
inline float __double2float_rn(double x)
{
    return (float)x;
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline unsigned __float_as_uint(float x)
{
    return cudasim::from_bits<unsigned>(cudasim::to_bits(x));
}
inline int __float_as_int(float x)
{
    return cudasim::from_bits<int>(cudasim::to_bits(x));
}
inline float __uint_as_float(unsigned x)
{
    return cudasim::from_bits<float>(x);
}
inline float __int_as_float(int x)
{
    return cudasim::from_bits<float>((unsigned)x);
}
inline long long __double_as_longlong(double x)
{
    return cudasim::from_bits<long long>(cudasim::to_bits(x));
}
inline double __longlong_as_double(long long x)
{
    return cudasim::from_bits<double>((uint64_t)x);
}
template <class T> T __ldg(const T *address)
{
    return *address;
}
template <class T> T min(T a, T b)
{
    return b < a ? b : a;
}
template <class T> T max(T a, T b)
{
    return a < b ? b : a;
}

/* A static variable's address is the key: `static` memory itself would be shared by all blocks. */
#define CSL_SHARED(type, name, count)                                                              \
    static const char name##_key_ = 0;                                                             \
    type(&name)[count] =                                                                           \
        *reinterpret_cast<type(*)[count]>(cudasim_shared(&name##_key_, sizeof(type) * (count)))
#define CSL_SHARED_DYN(type, name) type *name = static_cast<type *>(cudasim_shared(nullptr, 0))
#define CSL_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                  \
    cudasim::launch(kernel, dim3(grid), dim3(block), (shared_size), (stream), __VA_ARGS__)

#endif
