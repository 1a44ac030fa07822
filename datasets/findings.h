/*
 * Every problem of a file instead of the first. A check hands each outcome to csl_finding: without
 * findings it comes back and ends the check, with them it is reported and the check goes on.
 */
#ifndef CSL_FINDINGS_H
#define CSL_FINDINGS_H

#include <consilium/files.h>

enum { CSL_FINDINGS_LISTED_MAX = 10 /* of one kind; the others are counted */ };

typedef struct csl_findings {
    const char *path; /* put before messages that lack it; lent */
    csl_finding_report report;
    void *context;
    uint64_t problem_count;
} csl_findings;

/* findings may be NULL. What the file is not to blame for (memory, reading) is never taken. */
CSL_MUST_CHECK csl_status csl_finding(csl_findings *findings, csl_status status);
/* Reports how many of a kind there are beyond those listed. */
CSL_MUST_CHECK csl_status csl_finding_others(csl_findings *findings,
                                             const char *what,
                                             uint64_t count);

#endif
