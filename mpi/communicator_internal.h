/* The communicator's fields, shared by the files of this folder. */
#ifndef CSL_COMMUNICATOR_INTERNAL_H
#define CSL_COMMUNICATOR_INTERNAL_H

#include <consilium/communicator.h>

typedef struct csl_peer {
    csl_news news;
    double heard; /* seconds of csl_clock_seconds */
} csl_peer;

struct csl_communicator {
    MPI_Comm data; /* agreements and exchanges */
    MPI_Comm talk; /* news; apart, so that its messages meet no other */
    uint32_t rank;
    uint32_t size;
    uint32_t local_rank;
    uint32_t local_size;
    uint32_t local_cores;
    char (*hosts)[CSL_NAME_MAX]; /* [size] */
    csl_peer *peers;             /* [size]; on ranks other than 0 only rank 0's is kept up */
    double silence_seconds_max;
    double told;    /* when this rank last sent news */
    double shown;   /* when show last ran */
    double noticed; /* when this rank last looked for news */
    csl_news own;
    csl_news outgoing; /* what MPI is reading while `telling` is under way */
    MPI_Request telling;
    csl_news *pings;         /* rank 0: [size] sent to the others */
    MPI_Request *pinging;    /* rank 0: [size] */
    bool keeps_memory_apart; /* messages also between ranks of one node */
    bool broken;
    uint32_t agreed_rank;
    void (*show)(void *context);
    void *show_context;
};

/* Sends and receives news if it is time; E_TIMEOUT where a rank is silent. */
CSL_MUST_CHECK csl_status csl_communicator_serve(csl_communicator *communicator);
/* Records an MPI error as E_COMM and marks the communicator broken. */
csl_status csl_communicator_mpi_error(csl_communicator *communicator, int code, const char *call);

/* Tags on `data`: exchanges of callers below CSL_TAG_MAX, then these. */
enum { CSL_TAG_AGREE = CSL_TAG_MAX + 1, CSL_TAG_VERDICT, CSL_TAG_GATHER };

#define CSL_MPI(communicator, call)                                                                \
    do {                                                                                           \
        int csl_mpi_code_ = (call);                                                                \
        if (csl_mpi_code_ != MPI_SUCCESS) {                                                        \
            return csl_communicator_mpi_error((communicator), csl_mpi_code_, #call);               \
        }                                                                                          \
    } while (0)

#endif
