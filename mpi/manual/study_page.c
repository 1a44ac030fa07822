/* Prints consilium-study(5): the table of the study file's keys as a manual page. */
#include <consilium/study.h>

#include <stdio.h>

int main(void)
{
    csl_text text = {0};
    csl_text_add(&text, ".TH CONSILIUM\\-STUDY 5 2026-11-24 \"consilium " CSL_VERSION "\"\n"
                        ".SH NAME\nconsilium\\-study \\- what a federated run does, in YAML\n"
                        ".SH DESCRIPTION\nKeys with dots are nested: training.lr is lr below "
                        "training.\nPrecedence: default, file, environment "
                        "(CONSILIUM_TRAINING_LR=0.1), \\-\\-set training.lr=0.1.\n"
                        "An unknown key is an error that names the nearest one.\n");
    csl_status status = csl_study_reference_man(&text);
    csl_text_add(&text, ".SH SEE ALSO\n.BR consilium\\-run (1)\n");
    if (status != CSL_OK || csl_text_status(&text) != CSL_OK) {
        fputs("study_page: the table of keys cannot be printed\n", stderr);
        return 1;
    }
    size_t written = fwrite(text.bytes, 1, text.size, stdout);
    bool whole = written == text.size && fflush(stdout) == 0;
    csl_text_clear(&text);
    return whole ? 0 : 1;
}
