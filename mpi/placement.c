#include <consilium/placement.h>

static uint32_t shard_count(const csl_placement *placement)
{
    return placement->institution_count * placement->ranks_each;
}

/* Ranks beyond the number of shards train nothing: every rank below it then has at least one, so
 * that the ranks of an institution follow each other without a gap. */
static uint32_t training_ranks(const csl_placement *placement)
{
    uint32_t shards = shard_count(placement);
    return placement->rank_count < shards ? placement->rank_count : shards;
}

void csl_placement_shards(const csl_placement *placement,
                          uint32_t rank,
                          uint32_t *first_out,
                          uint32_t *end_out)
{
    uint64_t shards = shard_count(placement);
    uint32_t ranks = training_ranks(placement);
    *first_out = rank < ranks ? (uint32_t)(rank * shards / ranks) : (uint32_t)shards;
    *end_out = rank < ranks ? (uint32_t)((rank + 1) * shards / ranks) : (uint32_t)shards;
}

/* The largest rank r with floor(r S / R) <= shard, that is r < (shard + 1) R / S. */
uint32_t csl_placement_rank(const csl_placement *placement, uint32_t shard)
{
    uint64_t ranks = training_ranks(placement);
    return (uint32_t)((((uint64_t)shard + 1) * ranks - 1) / shard_count(placement));
}

uint32_t csl_placement_owner(const csl_placement *placement, uint32_t institution)
{
    return csl_placement_rank(placement, institution * placement->ranks_each);
}

uint32_t csl_placement_count(const csl_placement *placement, uint32_t rank)
{
    uint32_t first = 0;
    uint32_t end = 0;
    csl_placement_shards(placement, rank, &first, &end);
    if (first == end) {
        return 0;
    }
    return (end - 1) / placement->ranks_each - first / placement->ranks_each + 1;
}

/* 0: whole on one rank; 1 or 2: straddling, alternating along the line of ranks. */
static uint32_t turn(const csl_placement *placement, uint32_t institution)
{
    uint32_t first = institution * placement->ranks_each;
    uint32_t first_rank = csl_placement_rank(placement, first);
    uint32_t last_rank = csl_placement_rank(placement, first + placement->ranks_each - 1);
    return first_rank == last_rank ? 0 : 1 + first_rank % 2;
}

void csl_placement_order(const csl_placement *placement, uint32_t rank, uint32_t *institutions_out)
{
    uint32_t first = 0;
    uint32_t end = 0;
    csl_placement_shards(placement, rank, &first, &end);
    uint32_t begin = first / placement->ranks_each;
    uint32_t count = csl_placement_count(placement, rank);
    uint32_t filled = 0;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < count; i++) {
            if (turn(placement, begin + i) == round) {
                institutions_out[filled++] = begin + i;
            }
        }
    }
}
