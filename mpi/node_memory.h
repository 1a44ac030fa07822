/* How much memory a rank may take of its node. */
#ifndef CSL_NODE_MEMORY_H
#define CSL_NODE_MEMORY_H

#include <consilium/communicator.h>

/*
 * Bytes: half of what the processes of this job may take on this node, over the ranks that sit
 * there. They may take what the node has, or less where a control group (Slurm, a container) sets a
 * limit. Not collective.
 */
uint64_t csl_node_memory_share(const csl_communicator *communicator);

/*
 * The least limit of the control groups that a process is in, UINT64_MAX where none has one.
 * groups_path: as /proc/self/cgroup, lines "0::/path" (version 2) and "7:memory:/path" (version 1);
 * mount: where their folders stand, /sys/fs/cgroup. A limit of a group above holds too.
 */
uint64_t csl_control_group_limit(const char *groups_path, const char *mount);

#endif
