/* Creation, news and the watch over silent ranks. */
#include "communicator_internal.h"

#include <consilium/device.h>
#include <consilium/log.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { TALK_TAG = 1 };
static const double NEWS_SECONDS = 0.5;    /* between two messages of a rank */
static const double LISTEN_SECONDS = 0.05; /* between two looks for messages */
static const double SHOW_SECONDS = 0.1;

const char *csl_mpi_library(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (!text[0]) {
        MPI_Get_library_version(text, &length);
        text[strcspn(text, "\n")] = 0;
    }
    return text;
}

csl_status csl_communicator_mpi_error(csl_communicator *communicator, int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    communicator->broken = true;
    size_t name = strcspn(call, "(");
    return csl_fail(CSL_E_COMM, "%.*s: %s", (int)name, call, text);
}

static csl_status learn_hosts(csl_communicator *communicator)
{
    char own[CSL_NAME_MAX] = "";
    struct utsname name;
    if (uname(&name) == 0) {
        size_t length = strcspn(name.nodename, ".");
        length = length < sizeof own - 1 ? length : sizeof own - 1;
        memcpy(own, name.nodename, length);
    }
    CSL_MPI(communicator, MPI_Allgather(own, CSL_NAME_MAX, MPI_CHAR, communicator->hosts,
                                        CSL_NAME_MAX, MPI_CHAR, communicator->data));
    MPI_Comm node = MPI_COMM_NULL;
    CSL_MPI(communicator,
            MPI_Comm_split_type(communicator->data, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    int local_rank = 0;
    int local_size = 1;
    MPI_Comm_rank(node, &local_rank);
    MPI_Comm_size(node, &local_size);
    /* A launcher may have bound each rank to cores of its own: together they have all of these. */
    uint8_t cores[CSL_CORES_MAX];
    csl_usable_cores(cores);
    MPI_Allreduce(MPI_IN_PLACE, cores, CSL_CORES_MAX, MPI_UINT8_T, MPI_MAX, node);
    MPI_Comm_free(&node);
    uint32_t quota = csl_core_quota("");
    for (uint32_t core = 0; core < CSL_CORES_MAX; core++) {
        communicator->local_cores += cores[core];
    }
    communicator->local_cores =
        communicator->local_cores < quota ? communicator->local_cores : quota;
    communicator->local_rank = (uint32_t)local_rank;
    communicator->local_size = (uint32_t)local_size;
    return CSL_OK;
}

static csl_status duplicate(csl_communicator *communicator, MPI_Comm parent)
{
    CSL_MPI(communicator, MPI_Comm_dup(parent, &communicator->data));
    CSL_MPI(communicator, MPI_Comm_dup(parent, &communicator->talk));
    CSL_MPI(communicator, MPI_Comm_set_errhandler(communicator->data, MPI_ERRORS_RETURN));
    CSL_MPI(communicator, MPI_Comm_set_errhandler(communicator->talk, MPI_ERRORS_RETURN));
    int rank = 0;
    int size = 1;
    MPI_Comm_rank(communicator->data, &rank);
    MPI_Comm_size(communicator->data, &size);
    communicator->rank = (uint32_t)rank;
    communicator->size = (uint32_t)size;
    return CSL_OK;
}

static csl_status set_up(csl_communicator *communicator, MPI_Comm parent)
{
    CSL_TRY(duplicate(communicator, parent));
    uint32_t size = communicator->size;
    communicator->hosts = calloc(size, sizeof *communicator->hosts);
    communicator->peers = calloc(size, sizeof *communicator->peers);
    communicator->pings = calloc(size, sizeof *communicator->pings);
    communicator->pinging = calloc(size, sizeof(MPI_Request));
    if (!communicator->hosts || !communicator->peers || !communicator->pings ||
        !communicator->pinging) {
        return csl_fail(CSL_E_NO_MEMORY, "communicator of %u ranks", size);
    }
    double now = csl_clock_seconds();
    for (uint32_t rank = 0; rank < size; rank++) {
        communicator->pinging[rank] = MPI_REQUEST_NULL;
        communicator->peers[rank].heard = now;
    }
    return learn_hosts(communicator);
}

csl_status csl_communicator_create(MPI_Comm parent,
                                   double silence_seconds_max,
                                   csl_communicator **communicator_out)
{
    if (!(silence_seconds_max >= 1 && silence_seconds_max <= 1e7)) {
        return csl_fail(CSL_E_RANGE, "time-out: expected 1 to 10000000 seconds, found %g",
                        silence_seconds_max);
    }
    csl_communicator *communicator = calloc(1, sizeof *communicator);
    if (!communicator) {
        return csl_fail(CSL_E_NO_MEMORY, "communicator");
    }
    communicator->data = MPI_COMM_NULL;
    communicator->talk = MPI_COMM_NULL;
    communicator->telling = MPI_REQUEST_NULL;
    communicator->silence_seconds_max = silence_seconds_max;
    csl_status status = set_up(communicator, parent);
    if (status != CSL_OK) {
        communicator->broken = true;
        csl_communicator_destroy(communicator);
        return status;
    }
    *communicator_out = communicator;
    return CSL_OK;
}

uint32_t csl_communicator_rank(const csl_communicator *communicator)
{
    return communicator->rank;
}

uint32_t csl_communicator_size(const csl_communicator *communicator)
{
    return communicator->size;
}

uint32_t csl_communicator_local_rank(const csl_communicator *communicator)
{
    return communicator->local_rank;
}

uint32_t csl_communicator_local_size(const csl_communicator *communicator)
{
    return communicator->local_size;
}

uint32_t csl_communicator_local_cores(const csl_communicator *communicator)
{
    return communicator->local_cores;
}

const char *csl_communicator_host(const csl_communicator *communicator, uint32_t rank)
{
    return communicator->hosts[rank];
}

void csl_communicator_keep_memory_apart(csl_communicator *communicator)
{
    communicator->keeps_memory_apart = true;
}

bool csl_communicator_is_broken(const csl_communicator *communicator)
{
    return communicator->broken;
}

void csl_communicator_abort(csl_communicator *communicator, int exit_code)
{
    MPI_Abort(communicator->data, exit_code);
}

const csl_news *csl_communicator_news(const csl_communicator *communicator, uint32_t rank)
{
    return rank == communicator->rank ? &communicator->own : &communicator->peers[rank].news;
}

void csl_communicator_on_wait(csl_communicator *communicator,
                              void (*show)(void *context),
                              void *context)
{
    communicator->show = show;
    communicator->show_context = context;
}

static csl_status listen(csl_communicator *communicator)
{
    for (;;) {
        int arrived = 0;
        MPI_Status envelope;
        CSL_MPI(communicator,
                MPI_Iprobe(MPI_ANY_SOURCE, TALK_TAG, communicator->talk, &arrived, &envelope));
        if (!arrived) {
            return CSL_OK;
        }
        csl_peer *peer = &communicator->peers[envelope.MPI_SOURCE];
        CSL_MPI(communicator,
                MPI_Recv(&peer->news, (int)sizeof peer->news, MPI_BYTE, envelope.MPI_SOURCE,
                         TALK_TAG, communicator->talk, MPI_STATUS_IGNORE));
        peer->heard = csl_clock_seconds();
    }
}

/* Sends one message to `rank` unless the one before is still under way. */
static csl_status
send_news(csl_communicator *communicator, uint32_t rank, csl_news *buffer, MPI_Request *request)
{
    int done = 1;
    CSL_MPI(communicator, MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done) {
        *buffer = communicator->own;
        CSL_MPI(communicator, MPI_Isend(buffer, (int)sizeof *buffer, MPI_BYTE, (int)rank, TALK_TAG,
                                        communicator->talk, request));
    }
    return CSL_OK;
}

/* Others tell rank 0; rank 0 tells all, seldom, so that they notice when it is gone. */
static csl_status tell(csl_communicator *communicator, double now, bool urgent)
{
    if (communicator->rank != 0) {
        if (urgent || now - communicator->told >= NEWS_SECONDS) {
            communicator->told = now;
            CSL_TRY(send_news(communicator, 0, &communicator->outgoing, &communicator->telling));
        }
        return CSL_OK;
    }
    double interval = fmin(communicator->silence_seconds_max / 4, 10);
    if (now - communicator->told < interval) {
        return CSL_OK;
    }
    communicator->told = now;
    for (uint32_t rank = 1; rank < communicator->size; rank++) {
        CSL_TRY(send_news(communicator, rank, &communicator->pings[rank],
                          &communicator->pinging[rank]));
    }
    return CSL_OK;
}

static csl_status find_silent(csl_communicator *communicator, double now)
{
    static const char *const phases[] = {"start", "training", "aggregation", "evaluation",
                                         "writing"};
    /* A rank that did not look itself (stopped, swapped out) cannot judge the others. */
    double away = now - communicator->noticed;
    communicator->noticed = now;
    uint32_t end = communicator->rank == 0 ? communicator->size : 1;
    for (uint32_t rank = 0; rank < end; rank++) {
        csl_peer *peer = &communicator->peers[rank];
        if (rank == communicator->rank) {
            continue;
        }
        if (away > communicator->silence_seconds_max / 2) {
            peer->heard = now;
            continue;
        }
        double silence = now - peer->heard;
        /* Rank 0 judges first: it knows all ranks, and its message is the better one. If it is the
         * silent one, the others notice one after the other, so that one of them says so. */
        double place = (double)communicator->rank / communicator->size;
        double limit =
            communicator->silence_seconds_max * (communicator->rank == 0 ? 1 : 1.25 + 0.25 * place);
        if (silence > limit) {
            communicator->broken = true;
            communicator->agreed_rank = communicator->rank;
            uint32_t phase = peer->news.phase <= CSL_PHASE_WRITE ? peer->news.phase : 0;
            return csl_fail(CSL_E_TIMEOUT,
                            "rank %u (%s) has sent no news for %.0f s, last seen in %s of round "
                            "%u; stopped, hung, or its node is lost (--timeout sets this limit)",
                            rank, communicator->hosts[rank], silence, phases[phase],
                            peer->news.round);
        }
    }
    return CSL_OK;
}

csl_status csl_communicator_serve(csl_communicator *communicator)
{
    double now = csl_clock_seconds();
    if (communicator->size > 1 && now - communicator->noticed >= LISTEN_SECONDS) {
        CSL_TRY(listen(communicator));
        CSL_TRY(tell(communicator, now, false));
        CSL_TRY(find_silent(communicator, now));
    }
    if (communicator->show && now - communicator->shown >= SHOW_SECONDS) {
        communicator->shown = now;
        communicator->show(communicator->show_context);
    }
    return CSL_OK;
}

csl_status csl_communicator_report(csl_communicator *communicator, const csl_news *news)
{
    bool urgent = news->phase != communicator->own.phase || news->round != communicator->own.round;
    communicator->own = *news;
    if (urgent && communicator->size > 1) {
        CSL_TRY(tell(communicator, csl_clock_seconds(), true));
    }
    return csl_communicator_serve(communicator);
}

/* Receives what was sent before all ranks arrived here, so that no message is left in MPI. */
static csl_status drain(csl_communicator *communicator)
{
    MPI_Request all_here = MPI_REQUEST_NULL;
    CSL_MPI(communicator, MPI_Ibarrier(communicator->data, &all_here));
    CSL_TRY(csl_wait(communicator, &all_here, 1));
    CSL_TRY(listen(communicator));
    CSL_TRY(csl_wait(communicator, &communicator->telling, 1));
    return csl_wait(communicator, communicator->pinging, communicator->size);
}

void csl_communicator_destroy(csl_communicator *communicator)
{
    if (!communicator) {
        return;
    }
    if (!communicator->broken && drain(communicator) == CSL_OK) {
        MPI_Comm_free(&communicator->talk);
        MPI_Comm_free(&communicator->data);
    }
    free(communicator->hosts);
    free(communicator->peers);
    free(communicator->pings);
    free(communicator->pinging);
    free(communicator);
}
