/* The tables in docs/AGGREGATION.md are what the registry says. */
#include "test_support.h"

#include <consilium/attack.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char MARK[] = "CSL_WRITE_DOCS=1 writes it anew -->\n";
enum { PAGE_MOST = 1 << 18 };

static void add_rows(csl_text *text, const char *title, const csl_rule_info *infos, size_t count)
{
    size_t known = 0;
    const csl_parameter_info *parameters = csl_rule_parameters(&known);
    csl_text_format(text, "\n## %s\n\n| name | what it gives | bound on f | cost | source | ",
                    title);
    csl_text_add(text, "parameters |\n| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++) {
        const csl_rule_info *info = &infos[i];
        csl_text_format(text, "| `%s` | %s | %s | %s | %s |", info->name, info->summary,
                        info->bound, info->cost, info->source);
        for (size_t k = 0; k < CSL_RULE_PARAMETERS_MAX && info->parameters[k] >= 0; k++) {
            csl_text_format(text, "%s `%s`", k ? "," : "", parameters[info->parameters[k]].name);
        }
        const char *weights = !(info->needs & CSL_TAKES_WEIGHTS) ? ""
                              : info->parameters[0] >= 0         ? "; weights"
                                                                 : " weights";
        csl_text_add(text, info->parameters[0] >= 0 || *weights ? weights : " none");
        csl_text_add(text, " |\n");
    }
}

static void add_parameters(csl_text *text)
{
    size_t count = 0;
    const csl_parameter_info *parameters = csl_rule_parameters(&count);
    csl_text_add(text, "\n## Parameters\n\n| name | paper | byzfl | accepts | meaning |\n"
                       "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++) {
        const csl_parameter_info *info = &parameters[i];
        csl_text_format(text, "| `%s` |", info->name);
        for (int preset = 0; preset < 2; preset++) {
            if (info->preset[preset] < 0) {
                csl_text_add(text, " derived |");
            } else {
                csl_text_format(text, " %g |", info->preset[preset]);
            }
        }
        csl_text_format(text, " %s in [%g, %g] | %s |\n",
                        info->whole ? "a whole number" : "a number", info->least, info->largest,
                        info->text);
    }
}

static void add_attacks(csl_text *text)
{
    size_t count = 0;
    const csl_attack_info *attacks = csl_attacks(&count);
    const csl_attack_parameter_info *parameters = csl_attack_parameters(&count);
    size_t parameter_count = count;
    csl_attacks(&count);
    csl_text_add(text, "\n## Attacks on updates\n\n| name | what it is | rows that are sent | "
                       "source | parameters |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++) {
        const csl_attack_info *info = &attacks[i];
        csl_text_format(text, "| `%s` | %s | ", info->name, info->summary);
        for (const char *character = info->formula; *character; character++) {
            csl_text_add_bytes(text, *character == '|' ? "\\|" : character,
                               *character == '|' ? 2 : 1);
        }
        csl_text_format(text, " | %s |", info->source);
        for (size_t k = 0; k < CSL_ATTACK_PARAMETERS_MAX && info->parameters[k] >= 0; k++) {
            csl_text_format(text, "%s `%s`", k ? "," : "", parameters[info->parameters[k]].name);
        }
        csl_text_add(text, info->parameters[0] >= 0 ? " |\n" : " none |\n");
    }
    csl_text_add(text, "\n## Parameters of attacks\n\n| name | default | accepts | meaning |\n"
                       "| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < parameter_count; i++) {
        const csl_attack_parameter_info *info = &parameters[i];
        csl_text_format(text, "| `%s` | ", info->name);
        if (isnan(info->preset)) {
            csl_text_add(text, "derived");
        } else {
            csl_text_format(text, "%g", info->preset);
        }
        csl_text_format(text, " | %s in [%g, %g] | %s |\n",
                        info->whole ? "a whole number" : "a number", info->least, info->largest,
                        info->text);
    }
}

static void the_page_is_the_registry(void)
{
    csl_text text = {0};
    size_t count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    add_rows(&text, "Rules", rules, count);
    const csl_rule_info *pre = csl_pre_aggregators(&count);
    add_rows(&text, "Pre-aggregators", pre, count);
    add_parameters(&text);
    add_attacks(&text);
    CHECK_OK(csl_text_status(&text));
    const char *path = CSL_SOURCE_DIR "/docs/AGGREGATION.md";
    FILE *file = fopen(path, "r");
    char *page = calloc(1, PAGE_MOST);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    CU_ASSERT(fread(page, 1, PAGE_MOST - 1, file) > 0);
    fclose(file);
    char *mark = strstr(page, MARK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mark);
    char *tables = mark + strlen(MARK);
    if (getenv("CSL_WRITE_DOCS")) {
        file = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        fwrite(page, 1, (size_t)(tables - page), file);
        fputs(csl_text_string(&text), file);
        fclose(file);
    } else {
        CU_ASSERT_STRING_EQUAL(tables, csl_text_string(&text));
    }
    free(page);
    csl_text_clear(&text);
}

int main(void)
{
    static const csl_test_case cases[] = {{"the page is the registry", the_page_is_the_registry}};
    return csl_test_main("robust table", cases, sizeof cases / sizeof *cases);
}
