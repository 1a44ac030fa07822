/*
 * How a .cu file launches a kernel and names shared memory; the only place for inline PTX (there is
 * none yet). tests/cudasim compiles the same files with a host compiler and its own cuda_runtime.h,
 * which brings its own three macros.
 *
 * Rules for kernels: no assumption of lock step, barriers uniform over a block, no templates beyond
 * one type parameter, entry points extern "C".
 */
#ifndef CSL_LAUNCH_H
#define CSL_LAUNCH_H

#include <cuda_runtime.h>

#ifdef __CUDACC__
/* CSL_LAUNCH(kernel, grid, block, dynamic shared bytes, stream, arguments...) */
#define CSL_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                  \
    kernel<<<(grid), (block), (shared_size), (stream)>>>(__VA_ARGS__)
#define CSL_SHARED(type, name, count) __shared__ type name[count]
#define CSL_SHARED_DYN(type, name)                                                                 \
    extern __shared__ __align__(16) unsigned char csl_dynamic_shared_[];                           \
    type *name = reinterpret_cast<type *>(csl_dynamic_shared_)
#endif

#endif
