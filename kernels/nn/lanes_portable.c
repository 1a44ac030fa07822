/* The inner functions for any processor. */
#define LANES_TABLE csl_lanes_portable
#define LANES_NAME  "portable"
#include "lanes_table.h"
