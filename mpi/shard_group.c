/*
 * Data-parallel shards of one institution: equal gradients, wherever the shards run.
 *
 * One meeting has three steps. (1) The local threads wait until all of them have arrived. (2) The
 * last one talks to the other ranks of the institution, if there are any: each rank sends a short
 * notice (has a shard failed? how many values? its losses), then every other rank's slice of its
 * shards' gradients. (3) Each rank sums its slice in shard order, the slices travel to all.
 * Only one institution trains on a process at a time and all its threads are inside the meeting
 * while one of them uses MPI, so MPI_THREAD_SERIALIZED is enough.
 */
#include <consilium/placement.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { NOTICE_HEAD = 2 }; /* failed, value count; then one loss per shard of the sender */

typedef struct member {
    csl_shard_group *group;
    uint32_t local;
    bool arrived;
    bool left;
    csl_status status; /* with which it left */
    float *values;
    size_t count;
    double loss;
} member;

struct csl_shard_group {
    csl_communicator *communicator;
    uint32_t institution;
    uint32_t shard_count; /* of the institution */
    uint32_t first_rank;  /* ranks first_rank..first_rank + rank_count - 1 */
    uint32_t rank_count;
    uint32_t own;          /* this rank's position among them */
    uint32_t *shard_begin; /* [rank_count + 1] shards of the institution per rank */
    uint32_t local_count;
    member *members; /* [local_count] */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t meeting; /* meetings held */
    csl_status outcome;
    char reason[256];
    double loss_sum;
    bool over;       /* a meeting in which all left has been held */
    float *received; /* slices of all shards, rank by rank, for the rank's own slice */
    size_t received_count;
    double *notices; /* [rank_count][NOTICE_HEAD + shard_count] */
    MPI_Request *requests;
};

static size_t slice_begin(const csl_shard_group *group, size_t count, uint32_t position)
{
    return count / group->rank_count * position +
           count % group->rank_count * position / group->rank_count;
}

/* out[j] = sum over shards in order; rows[s][j - begin]; the result goes to all local shards. */
static void
sum_range(csl_shard_group *group, const float *const *rows, size_t begin, size_t count, float *out)
{
    for (size_t j = 0; j < count; j++) {
        double sum = 0;
        for (uint32_t shard = 0; shard < group->shard_count; shard++) {
            sum += (double)rows[shard][j];
        }
        out[begin + j] = (float)sum;
    }
}

static size_t notice_count(const csl_shard_group *group, uint32_t position)
{
    return NOTICE_HEAD + group->shard_begin[position + 1] - group->shard_begin[position];
}

static double *notice_of(const csl_shard_group *group, uint32_t position)
{
    return group->notices + (size_t)position * (NOTICE_HEAD + group->shard_count);
}

static csl_status exchange_notices(csl_shard_group *group)
{
    uint32_t used = 0;
    uint32_t tag = group->institution * 4;
    for (uint32_t position = 0; position < group->rank_count; position++) {
        if (position == group->own) {
            continue;
        }
        uint32_t rank = group->first_rank + position;
        CSL_TRY(csl_receive_begin(group->communicator, notice_of(group, position),
                                  notice_count(group, position) * sizeof(double), rank, tag,
                                  &group->requests[used++]));
        CSL_TRY(csl_send_begin(group->communicator, notice_of(group, group->own),
                               notice_count(group, group->own) * sizeof(double), rank, tag,
                               &group->requests[used++]));
    }
    return csl_wait(group->communicator, group->requests, used);
}

/* Every rank gets the own slice of all shards, in shard order, into group->received. */
static csl_status exchange_slices(csl_shard_group *group, size_t count)
{
    size_t begin = slice_begin(group, count, group->own);
    size_t own_count = slice_begin(group, count, group->own + 1) - begin;
    size_t needed = own_count * group->shard_count;
    if (needed > group->received_count) {
        free(group->received);
        group->received_count = 0;
        group->received = malloc(needed * sizeof(float));
        if (!group->received) {
            return csl_fail(CSL_E_NO_MEMORY, "gradient exchange of %zu values", needed);
        }
        group->received_count = needed;
    }
    uint32_t used = 0;
    uint32_t tag = group->institution * 4 + 1;
    for (uint32_t position = 0; position < group->rank_count; position++) {
        uint32_t rank = group->first_rank + position;
        size_t their_begin = slice_begin(group, count, position);
        size_t their_count = slice_begin(group, count, position + 1) - their_begin;
        for (uint32_t shard = group->shard_begin[position];
             shard < group->shard_begin[position + 1]; shard++) {
            float *target = group->received + shard * own_count;
            if (position == group->own) {
                uint32_t local = shard - group->shard_begin[position];
                memcpy(target, group->members[local].values + begin, own_count * sizeof(float));
                continue;
            }
            CSL_TRY(csl_receive_begin(group->communicator, target, own_count * sizeof(float), rank,
                                      tag, &group->requests[used++]));
        }
        for (uint32_t local = 0; local < group->local_count && position != group->own; local++) {
            CSL_TRY(csl_send_begin(group->communicator, group->members[local].values + their_begin,
                                   their_count * sizeof(float), rank, tag,
                                   &group->requests[used++]));
        }
    }
    return csl_wait(group->communicator, group->requests, used);
}

static csl_status share_sums(csl_shard_group *group, size_t count)
{
    size_t begin = slice_begin(group, count, group->own);
    size_t own_count = slice_begin(group, count, group->own + 1) - begin;
    float *sums = group->members[0].values;
    uint32_t used = 0;
    uint32_t tag = group->institution * 4 + 2;
    for (uint32_t position = 0; position < group->rank_count; position++) {
        if (position == group->own) {
            continue;
        }
        size_t their_begin = slice_begin(group, count, position);
        size_t their_count = slice_begin(group, count, position + 1) - their_begin;
        CSL_TRY(csl_receive_begin(group->communicator, sums + their_begin,
                                  their_count * sizeof(float), group->first_rank + position, tag,
                                  &group->requests[used++]));
        CSL_TRY(csl_send_begin(group->communicator, sums + begin, own_count * sizeof(float),
                               group->first_rank + position, tag, &group->requests[used++]));
    }
    return csl_wait(group->communicator, group->requests, used);
}

static csl_status check_notices(csl_shard_group *group, size_t count, bool all_left)
{
    for (uint32_t position = 0; position < group->rank_count; position++) {
        const double *notice = notice_of(group, position);
        if (notice[0] != 0) {
            return csl_fail(CSL_E_COMM, "another shard of institution %u failed",
                            group->institution);
        }
        if (notice[1] != (all_left ? -1 : (double)count)) {
            return csl_fail(CSL_E_INTERNAL,
                            "shards of institution %u disagree on the number of steps or values",
                            group->institution);
        }
    }
    return CSL_OK;
}

/* Sums over this rank's own slice, or everything where the institution lies whole on this rank. */
static csl_status add_up(csl_shard_group *group, size_t count)
{
    const float **rows = calloc(group->shard_count, sizeof *rows);
    if (!rows) {
        return csl_fail(CSL_E_NO_MEMORY, "gradient exchange");
    }
    size_t begin = slice_begin(group, count, group->own);
    size_t own_count = slice_begin(group, count, group->own + 1) - begin;
    csl_status status = CSL_OK;
    if (group->rank_count > 1) {
        status = exchange_slices(group, count);
    }
    for (uint32_t shard = 0; shard < group->shard_count; shard++) {
        rows[shard] = group->rank_count > 1 ? group->received + shard * own_count
                                            : group->members[shard].values;
    }
    if (status == CSL_OK) {
        sum_range(group, rows, begin, own_count, group->members[0].values);
        status = group->rank_count > 1 ? share_sums(group, count) : CSL_OK;
    }
    for (uint32_t local = 1; local < group->local_count && status == CSL_OK; local++) {
        memcpy(group->members[local].values, group->members[0].values, count * sizeof(float));
    }
    free(rows);
    return status;
}

/* Held by the last local thread to arrive, with the lock: the others only wait. */
static csl_status hold_meeting(csl_shard_group *group)
{
    bool failed = false;
    bool all_left = true;
    bool any_left = false;
    size_t count = group->members[0].count;
    double *own = notice_of(group, group->own);
    for (uint32_t local = 0; local < group->local_count; local++) {
        const member *one = &group->members[local];
        failed = failed || (one->left && one->status != CSL_OK);
        all_left = all_left && one->left;
        any_left = any_left || one->left;
        own[NOTICE_HEAD + local] = one->loss;
        if (!one->left && one->count != count) {
            any_left = true; /* counts differ: refused below like a shard that left early */
        }
    }
    own[0] = failed;
    own[1] = all_left ? -1 : any_left ? -2 : (double)count;
    group->over = true; /* unless this turns out to be an ordinary meeting */
    if (group->rank_count > 1) {
        CSL_TRY(exchange_notices(group));
    }
    CSL_TRY(check_notices(group, count, all_left));
    group->over = all_left;
    if (all_left) {
        return CSL_OK;
    }
    group->loss_sum = 0;
    for (uint32_t position = 0; position < group->rank_count; position++) {
        for (size_t i = NOTICE_HEAD; i < notice_count(group, position); i++) {
            group->loss_sum += notice_of(group, position)[i];
        }
    }
    csl_status status = add_up(group, count);
    group->over = status != CSL_OK;
    return status;
}

/* Waits for all local shards and takes part in one meeting. Called with the lock. */
static csl_status meet(csl_shard_group *group, member *one)
{
    if (group->over) {
        return group->outcome; /* it ended with a failure: nobody waits any more */
    }
    one->arrived = true;
    uint64_t meeting = group->meeting;
    bool complete = true;
    for (uint32_t local = 0; local < group->local_count; local++) {
        complete = complete && group->members[local].arrived;
    }
    if (!complete) {
        while (group->meeting == meeting) {
            pthread_cond_wait(&group->changed, &group->lock);
        }
    } else {
        group->outcome = hold_meeting(group);
        if (group->outcome != CSL_OK) {
            strncpy(group->reason, csl_error_message(), sizeof group->reason - 1);
        }
        for (uint32_t local = 0; local < group->local_count; local++) {
            group->members[local].arrived = false;
        }
        group->meeting++;
        pthread_cond_broadcast(&group->changed);
    }
    return group->outcome;
}

static csl_status sum(void *context, float *gradient, size_t count, double *loss_sum)
{
    member *one = context;
    csl_shard_group *group = one->group;
    pthread_mutex_lock(&group->lock);
    one->values = gradient;
    one->count = count;
    one->loss = loss_sum ? *loss_sum : 0;
    csl_status status = meet(group, one);
    if (status == CSL_OK && loss_sum) {
        *loss_sum = group->loss_sum;
    }
    pthread_mutex_unlock(&group->lock);
    return status == CSL_OK ? CSL_OK : csl_fail(status, "%s", group->reason);
}

csl_status csl_shard_group_leave(csl_shard_group *group, uint32_t local, csl_status status)
{
    member *one = &group->members[local];
    /* The meeting leaves a message of its own; whoever failed first is to be heard. */
    char own_reason[sizeof group->reason] = "";
    if (status != CSL_OK) {
        strncpy(own_reason, csl_error_message(), sizeof own_reason - 1);
    }
    pthread_mutex_lock(&group->lock);
    one->left = true;
    one->status = status;
    csl_status outcome = meet(group, one);
    pthread_mutex_unlock(&group->lock);
    if (status != CSL_OK) {
        return csl_fail(status, "%s", own_reason);
    }
    return outcome == CSL_OK ? CSL_OK : csl_fail(outcome, "%s", group->reason);
}

void csl_shard_group_fail(csl_shard_group *group, uint32_t local, csl_status status)
{
    pthread_mutex_lock(&group->lock);
    group->members[local].left = true;
    group->members[local].status = status;
    group->members[local].arrived = true;
    pthread_mutex_unlock(&group->lock);
}

uint32_t csl_shard_group_local_count(const csl_shard_group *group)
{
    return group->local_count;
}

csl_gradient_exchange csl_shard_group_exchange(csl_shard_group *group, uint32_t local)
{
    csl_gradient_exchange exchange = {
        .context = &group->members[local],
        .shard_index = group->shard_begin[group->own] + local,
        .shard_count = group->shard_count,
        .sum = group->shard_count > 1 ? sum : NULL,
    };
    return exchange;
}

static csl_status fill(csl_shard_group *group, const csl_placement *placement)
{
    uint32_t shards = placement->ranks_each;
    uint32_t first_shard = group->institution * shards;
    group->shard_count = shards;
    group->first_rank = csl_placement_rank(placement, first_shard);
    group->rank_count =
        csl_placement_rank(placement, first_shard + shards - 1) - group->first_rank + 1;
    group->own = csl_communicator_rank(group->communicator) - group->first_rank;
    group->shard_begin = calloc(group->rank_count + 1, sizeof *group->shard_begin);
    group->notices = calloc((size_t)group->rank_count * (NOTICE_HEAD + shards), sizeof(double));
    group->requests = calloc(2 * (size_t)group->rank_count * (shards + 1), sizeof(MPI_Request));
    if (group->own >= group->rank_count) {
        return csl_fail(CSL_E_INVALID_ARG, "institution %u has no shard here", group->institution);
    }
    if (!group->shard_begin || !group->notices || !group->requests) {
        return csl_fail(CSL_E_NO_MEMORY, "shards of institution %u", group->institution);
    }
    for (uint32_t position = 0; position < group->rank_count; position++) {
        uint32_t first = 0;
        uint32_t end = 0;
        csl_placement_shards(placement, group->first_rank + position, &first, &end);
        end = end < first_shard + shards ? end : first_shard + shards;
        group->shard_begin[position + 1] = end - first_shard;
    }
    group->local_count = group->shard_begin[group->own + 1] - group->shard_begin[group->own];
    group->members = calloc(group->local_count, sizeof *group->members);
    if (!group->members) {
        return csl_fail(CSL_E_NO_MEMORY, "shards of institution %u", group->institution);
    }
    for (uint32_t local = 0; local < group->local_count; local++) {
        group->members[local].group = group;
        group->members[local].local = local;
    }
    return CSL_OK;
}

csl_status csl_shard_group_create(csl_communicator *communicator,
                                  const csl_placement *placement,
                                  uint32_t institution,
                                  csl_shard_group **group_out)
{
    csl_shard_group *group = calloc(1, sizeof *group);
    if (!group) {
        return csl_fail(CSL_E_NO_MEMORY, "shards of institution %u", institution);
    }
    group->communicator = communicator;
    group->institution = institution;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);
    csl_status status = fill(group, placement);
    if (status != CSL_OK) {
        csl_shard_group_destroy(group);
        return status;
    }
    *group_out = group;
    return CSL_OK;
}

void csl_shard_group_destroy(csl_shard_group *group)
{
    if (!group) {
        return;
    }
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->changed);
    free(group->shard_begin);
    free(group->notices);
    free(group->requests);
    free(group->received);
    free(group->members);
    free(group);
}
