/* Subcommands, one file each. */
#ifndef CSL_COMMANDS_H
#define CSL_COMMANDS_H

typedef struct csl_command {
    const char *name;
    const char *summary;
    /* argv[0] is the subcommand's name; returns the program's exit code. */
    int (*run)(int argc, char **argv);
} csl_command;

#endif
