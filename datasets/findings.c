#include "findings.h"

#include <inttypes.h>
#include <string.h>

csl_status csl_finding(csl_findings *findings, csl_status status)
{
    if (status == CSL_OK || !findings || status == CSL_E_NO_MEMORY || status == CSL_E_IO) {
        return status;
    }
    if (strncmp(csl_error_message(), findings->path, strlen(findings->path)) != 0) {
        csl_fail_context(status, "%s", findings->path);
    }
    findings->problem_count++;
    findings->report(findings->context, true, csl_error_message());
    return CSL_OK;
}

csl_status csl_finding_others(csl_findings *findings, const char *what, uint64_t count)
{
    if (count <= CSL_FINDINGS_LISTED_MAX) {
        return CSL_OK;
    }
    return csl_finding(findings, csl_fail(CSL_E_FORMAT, "%s: %" PRIu64 " more of this kind", what,
                                          count - CSL_FINDINGS_LISTED_MAX));
}
