/* Memory of one rank that the other ranks of its node read and write in place, or a file's. */
#ifndef CSL_SHARED_MEMORY_H
#define CSL_SHARED_MEMORY_H

#include <consilium/communicator.h>

/*
 * A region of every rank, mapped into all of them: what one writes the others read with no copy.
 * Regions are anonymous files (memfd) that peers open through /proc, so there is no name to clean
 * up, no /dev/shm that may be too small, and the memory goes when the last process does, however it
 * ends. Ordering is the caller's: a message (csl_agree) between writing and reading.
 */
typedef struct csl_shared_memory csl_shared_memory;

/*
 * Collective. own_size: bytes of this rank's region, 0 allowed. folder: where the regions lie as
 * files without a name, whose pages the system can take out of memory; NULL: in memory. Where ranks
 * sit on several nodes, do not see each other's processes (containers), or sharing was switched
 * off, *shared_out is NULL on every rank and CSL_OK is returned: then messages carry everything.
 * Errors: E_TIMEOUT, E_COMM, E_NO_MEMORY, E_IO (a file of that size cannot be made in the folder).
 */
CSL_MUST_CHECK csl_status csl_shared_memory_create(csl_communicator *communicator,
                                                   uint64_t own_size,
                                                   const char *folder,
                                                   csl_shared_memory **shared_out);
/* Not collective: the mappings of others stay. NULL is allowed. */
void csl_shared_memory_destroy(csl_shared_memory *shared);
/* A rank's region, zero at first, on a page boundary; NULL where its size is 0. */
void *csl_shared_memory_of(const csl_shared_memory *shared, uint32_t rank);
/* Of regions in files: the pages that lie whole in [address, address + size) leave this process's
 * memory, or are read into the system's in advance. What they hold stays. */
void csl_shared_memory_release(const void *address, uint64_t size);
void csl_shared_memory_expect(const void *address, uint64_t size);

#endif
