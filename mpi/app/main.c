/* The program: picks the subcommand; no algorithm lives here. */
#include "commands.h"

#include <consilium/atomic_file.h>
#include <consilium/log.h>
#include <consilium/text.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool works_alone;

static const csl_command commands[] = {
    {"run", "train one model across institutions, as a study file says", csl_command_run},
    {"data", "import, synthesise, split and check data sets", csl_command_data},
    {"aggregate", "combine the updates of another trainer, whatever some of them hold",
     csl_command_aggregate},
    {"bench", "measure parts of the program", csl_command_bench},
    {"info", "build, devices, libraries, limits", csl_command_info},
    {NULL, NULL, NULL},
};

enum { COMMANDS_MAX = sizeof commands / sizeof *commands };

static csl_communicator *communicator;

/* For a process alone Open MPI starts a daemon and asks every network whether it is there: half a
 * second of waiting. These settings leave both out, and the temporary folder, which processes
 * without a daemon share and remove from under each other; other MPIs, and Open MPI 5 in part, do
 * not read them. What the user set stays, and nothing stays for programs that this one starts. */
static int start_alone(int *provided_out)
{
    static const char *const settings[][2] = {{"OMPI_MCA_ess_singleton_isolated", "1"},
                                              {"OMPI_MCA_orte_create_session_dirs", "0"},
                                              {"OMPI_MCA_pml", "ob1"},
                                              {"OMPI_MCA_btl", "self"},
                                              {"OMPI_MCA_osc", "^ucx"}};
    enum { SETTINGS = sizeof settings / sizeof *settings };
    bool ours[SETTINGS];
    for (size_t i = 0; i < SETTINGS; i++) {
        ours[i] = !getenv(settings[i][0]) && setenv(settings[i][0], settings[i][1], 0) == 0;
    }
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, provided_out);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (ours[i]) {
            unsetenv(settings[i][0]);
        }
    }
    return code;
}

static int start_library(int *provided_out)
{
    return csl_app_is_launched() ? MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, provided_out)
                                 : start_alone(provided_out);
}

csl_communicator *csl_app_start_mpi(double silence_seconds_max)
{
    int started = 0;
    MPI_Initialized(&started);
    int provided = MPI_THREAD_SERIALIZED;
    if (!started && start_library(&provided) != MPI_SUCCESS) {
        fputs("consilium: MPI does not start\n", stderr);
        exit(CSL_EXIT_FAILURE);
    }
    csl_status status = CSL_OK;
    if (provided < MPI_THREAD_SERIALIZED) {
        status = csl_fail(CSL_E_COMM, "MPI without MPI_THREAD_SERIALIZED: %s", csl_mpi_library());
    } else if (!communicator) {
        status = csl_communicator_create(MPI_COMM_WORLD, silence_seconds_max, &communicator);
    }
    if (status != CSL_OK) {
        fprintf(stderr, "consilium: %s\n", csl_error_message());
        MPI_Abort(MPI_COMM_WORLD, CSL_EXIT_FAILURE);
    }
    return communicator;
}

/* What went wrong with standard output first, since leaving MPI changes errno; -1: nobody knows. */
static int output_error;

static void flush_output(void)
{
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && output_error == 0) {
        output_error = errno ? errno : -1;
    }
}

int csl_app_finish(csl_status status)
{
    int code = status == CSL_OK ? 0 : CSL_EXIT_FAILURE;
    bool broken = communicator && csl_communicator_is_broken(communicator);
    if (status != CSL_OK &&
        (!communicator || broken ||
         csl_agreed_rank(communicator) == csl_communicator_rank(communicator))) {
        csl_progress_clear();
        fprintf(stderr, "consilium: %s\n", csl_error_message());
        fflush(stderr);
    }
    flush_output();
    if (broken) {
        csl_communicator_abort(communicator, code ? code : CSL_EXIT_FAILURE);
    }
    csl_communicator_destroy(communicator);
    communicator = NULL;
    int started = 0;
    MPI_Initialized(&started);
    if (started) {
        MPI_Finalize();
    }
    return code;
}

static void print_help(FILE *stream)
{
    fputs("Usage: consilium COMMAND [OPTION]...\n"
          "Train one medical-imaging model across institutions that keep their images.\n\n"
          "Commands:\n",
          stream);
    for (const csl_command *command = commands; command->name; command++) {
        fprintf(stream, "  %-10s %s\n", command->name, command->summary);
    }
    fputs(
        "\n  --help     this text; consilium COMMAND --help for one command\n"
        "  --version  version\n\n"
        "A first run:\n"
        "  consilium data synth phantom --out phantom.h5 --count 4000 --sites 8 --seed 7\n"
        "  mpirun -n 8 consilium run phantom-8.yaml --set data.path=phantom.h5\n\n"
        "Exit codes: 0 success; 1 failure: of a file, of the machine, on the way; 2 wrong usage:\n"
        "options, or a study, that cannot be done whatever the files hold.\n",
        stream);
}

static int unknown_command(const char *name)
{
    if (!csl_app_is_first()) {
        return CSL_EXIT_USAGE;
    }
    const char *names[COMMANDS_MAX + 3] = {"--help", "--version"};
    for (size_t i = 0; commands[i].name; i++) {
        names[2 + i] = commands[i].name;
    }
    const char *nearest = csl_nearest_name(name, names);
    fprintf(stderr, "consilium: unknown command '%s'", name);
    if (nearest) {
        fprintf(stderr, "; did you mean '%s'?\n", nearest);
    } else {
        fputs("; 'consilium --help' lists the commands\n", stderr);
    }
    return CSL_EXIT_USAGE;
}

/* Standard output that nobody could read (disk full, closed pipe) is a failure, not silence. */
static int check_output(int code)
{
    flush_output();
    if (output_error != 0) {
        fprintf(stderr, "consilium: standard output: %s\n",
                output_error > 0 ? strerror(output_error) : "could not be written");
        return code ? code : CSL_EXIT_FAILURE;
    }
    return code;
}

bool csl_app_works_alone(void)
{
    works_alone = true;
    return csl_app_is_first();
}

/* A launcher ends the job when the first rank leaves with an error, so no rank leaves before the
 * one that says why has said it. */
static int leave_together(int code)
{
    int started = 0;
    MPI_Initialized(&started);
    if (code == CSL_EXIT_USAGE && !started && !works_alone && csl_app_is_launched()) {
        fflush(stderr);
        MPI_Init(NULL, NULL);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Finalize();
    }
    return code;
}

/* argv[0] is the command's name. */
static int run_command(int argc, char **argv)
{
    for (const csl_command *command = commands; command->name; command++) {
        if (strcmp(argv[0], command->name) == 0) {
            return check_output(command->run(argc, argv));
        }
    }
    return unknown_command(argv[0]);
}

/* `consilium help data split` is `consilium data split --help`. */
static int help_command(int argc, char **argv)
{
    static char option[] = "--help";
    char *words[4] = {NULL};
    int count = argc < 2 ? argc : 2;
    for (int i = 0; i < count; i++) {
        words[i] = argv[i];
    }
    words[count] = option;
    return run_command(count + 1, words);
}

static int run_program(int argc, char **argv)
{
    if (argc < 2) {
        if (csl_app_is_first()) {
            print_help(stderr);
        }
        return CSL_EXIT_USAGE;
    }
    bool help = strcmp(argv[1], "help") == 0;
    if (help && argc > 2) {
        return help_command(argc - 2, argv + 2);
    }
    if (help || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return check_output(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("consilium %s\n", CSL_VERSION);
        return check_output(0);
    }
    return run_command(argc - 1, argv + 1);
}

/* A stream that the caller closed would be the next file that is opened, and messages go into it.
 * What takes its place cannot be written (read), so that output is missed as before. */
static void hold_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (fcntl(stream, F_GETFD) < 0) {
            (void)(open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) == stream);
        }
    }
}

/* What all ranks print is printed once: help, versions. Nothing but the first rank's results ever
 * goes to standard output. */
static void leave_output_to_the_first(void)
{
    int null = csl_app_is_first() ? -1 : open("/dev/null", O_WRONLY);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        close(null);
    }
}

void csl_app_end_by_signal(int number)
{
    csl_atomic_abandon_all();
    signal(number, SIG_DFL);
    raise(number);
}

/* A file that is being written goes with the program. What the caller ignores stays ignored. */
static void handle_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = csl_app_end_by_signal};
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL) {
            sigaction(numbers[i], &action, NULL);
        }
    }
}

int main(int argc, char **argv)
{
    hold_streams();
    leave_output_to_the_first();
    handle_signals();
    return leave_together(run_program(argc, argv));
}
