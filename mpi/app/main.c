/* The program: picks the subcommand; no algorithm lives here. */
#include "commands.h"

#include <stdio.h>
#include <string.h>

static const csl_command commands[] = {
    {NULL, NULL, NULL},
};

static void print_help(FILE *stream)
{
    fputs("Usage: consilium COMMAND [OPTION]...\n"
          "Train one medical-imaging model across institutions that keep their images.\n\n"
          "Commands:\n",
          stream);
    for (const csl_command *command = commands; command->name; command++) {
        fprintf(stream, "  %-10s %s\n", command->name, command->summary);
    }
    fputs("\n  --help     this text; consilium COMMAND --help for one command\n"
          "  --version  version\n",
          stream);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("consilium %s\n", CSL_VERSION);
        return 0;
    }
    for (const csl_command *command = commands; command->name; command++) {
        if (strcmp(argv[1], command->name) == 0) {
            return command->run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "consilium: unknown command '%s'; try 'consilium --help'\n", argv[1]);
    return 2;
}
