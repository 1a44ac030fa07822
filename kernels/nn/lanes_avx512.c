/* The inner functions for processors of level x86-64-v4 (AVX-512); compiled for it, called only
 * there. */
#if defined(__x86_64__)
#define LANES_TABLE csl_lanes_avx512
#define LANES_NAME  "avx512"
#include "lanes_table.h"
#else
typedef int csl_no_avx512_lanes; /* a translation unit may not be empty */
#endif
