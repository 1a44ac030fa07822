/* The inner functions for processors of level x86-64-v3 (AVX2); compiled for it, called only there.
 */
#if defined(__x86_64__)
#define LANES_TABLE csl_lanes_avx2
#define LANES_NAME  "avx2"
#include "lanes_table.h"
#else
typedef int csl_no_avx2_lanes; /* a translation unit may not be empty */
#endif
