/* Communicators and what goes with them. */
#ifndef CONSILIUM_COMMUNICATOR_H
#define CONSILIUM_COMMUNICATOR_H

#include <consilium/status.h>

/* One line that names the MPI library; static storage. Not collective. */
CSL_API const char *csl_mpi_library(void);

#endif
