/* Subcommands, one file each, and what they share. */
#ifndef CSL_COMMANDS_H
#define CSL_COMMANDS_H

#include <consilium/communicator.h>

/* Exit codes (docs, man page): 0 success; 1 failure of a file or the machine, also of a file whose
 * checksum does not hold; 2 usage: options, or a study, that cannot be done. */
enum { CSL_EXIT_FAILURE = 1, CSL_EXIT_USAGE = 2 };

typedef struct csl_command {
    const char *name;
    const char *summary;
    /* argv[0] is the subcommand's name; returns the program's exit code. */
    int (*run)(int argc, char **argv);
} csl_command;

int csl_command_run(int argc, char **argv);
int csl_command_info(int argc, char **argv);
int csl_command_bench(int argc, char **argv);
int csl_command_data(int argc, char **argv);
int csl_command_aggregate(int argc, char **argv);

/* Starts MPI, once, for a command that needs it; alone or under mpirun. Ends the program where that
 * fails. The communicator lives until csl_app_stop_mpi. */
csl_communicator *csl_app_start_mpi(double silence_seconds_max);
/* Prints the failure once over all ranks, ends MPI, and gives the exit code for `status`. Every
 * rank must come here with the same status, as csl_agree gives it. */
int csl_app_finish(csl_status status);

/* A signal's handler: removes the files that are being written and ends the program as the signal
 * would have. */
void csl_app_end_by_signal(int number);

/* Whether this process is alone or rank 0, as its launcher says: before MPI starts, what is wrong
 * with the arguments is wrong on all ranks and told by one. */
bool csl_app_is_first(void);
/* Of a command that one process does: whether this is the one. The others leave with 0 at once, and
 * nobody waits for them. */
bool csl_app_works_alone(void);
/* Whether a launcher (mpirun, srun) started this process. */
bool csl_app_is_launched(void);
/* "consilium: text" on standard error, and the hint at --help; returns CSL_EXIT_USAGE. */
int csl_app_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* What to say about an option that getopt_long did not take: the nearest one. options: getopt's
 * array, ending with a NULL name. */
struct option;
int csl_app_unknown_option(const char *command, char **argv, const struct option *options);
/* Reads a number for an option; false after printing what was expected. */
bool csl_app_parse_number(const char *command,
                          const char *option,
                          const char *text,
                          double least,
                          double most,
                          double *value_out);

/* A size such as 500M or 4GiB, units of 1024; false after printing what was expected. */
bool csl_app_parse_size(const char *command,
                        const char *option,
                        const char *text,
                        uint64_t *size_out);
/* Takes the name of a file or folder, which an unset variable of a shell would leave empty. 0, or
 * CSL_EXIT_USAGE after a message. */
int csl_app_take_path(const char *command,
                      const char *option,
                      const char *text,
                      const char **path_out);
/* Position of text among names (the last is NULL), or -1 after printing the nearest or all. */
int csl_app_parse_word(const char *command,
                       const char *option,
                       const char *text,
                       const char *const *names);
/* "0,3,5-7": at most `most` ascending ranks; false after printing what was expected. */
bool csl_app_parse_ranks(const char *command,
                         const char *option,
                         const char *text,
                         uint32_t *ranks,
                         uint32_t most,
                         uint32_t *count_out);

/* Progress on standard error: a bar on a terminal, plain lines in a log. */
struct csl_run_progress;
void csl_progress_show(const struct csl_run_progress *progress);
/* Clears the bar before other output. */
void csl_progress_clear(void);

#endif
