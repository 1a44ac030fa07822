#include <consilium/communicator.h>

#include <mpi.h>

const char *csl_mpi_library(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (!text[0]) {
        MPI_Get_library_version(text, &length);
    }
    return text;
}
