/* Subcommands of `consilium data`. */
#ifndef CSL_CMD_DATA_H
#define CSL_CMD_DATA_H

#include <consilium/files.h>

#include <argp.h>

int csl_cmd_data_import(int argc, char **argv);
int csl_cmd_data_split(int argc, char **argv);
int csl_cmd_data_info(int argc, char **argv);
int csl_cmd_data_validate(int argc, char **argv);

/* `-h`, which argp does not know of itself: for the `children` of every parser. */
extern const struct argp_child csl_cmd_data_help[];
/* Prints the last error for a person; returns the exit code 1. */
int csl_cmd_data_fail(void);
/* A whole number in low..high, or argp's usage error (exit 2). */
uint64_t csl_cmd_data_number(
    struct argp_state *state, const char *name, const char *text, uint64_t low, uint64_t high);
double csl_cmd_data_real(
    struct argp_state *state, const char *name, const char *text, double low, double high);
/* The name of a file or folder, which an unset variable of a shell would leave empty: argp's usage
 * error then. */
const char *csl_cmd_data_path(struct argp_state *state, const char *name, const char *text);

#endif
