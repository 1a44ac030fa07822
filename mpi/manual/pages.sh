#!/bin/sh
# Manual pages from the program's own help, so that they never say anything else.
#   pages.sh CONSILIUM STUDY_PAGE VERSION FOLDER
set -eu
consilium=$1 study_page=$2 version=$3 folder=$4
mkdir -p "$folder/man1" "$folder/man5"

# Text as it stands, with what troff would take for its own made safe.
literal() {
    echo '.EX'
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/" -e 's/[[:space:]]*$//'
    echo '.EE'
}
# page NAME SUMMARY HELP...
page() {
    name=$(echo "$1" | sed 's/-/\\-/g')
    title=$(echo "$name" | tr '[:lower:]' '[:upper:]')
    summary=$2
    shift 2
    printf '.TH %s 1 2026-11-24 "consilium %s"\n' "$title" "$version"
    printf '.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n' "$name" "$summary"
    "$@" | literal
}
names='/^Commands:/,/^$/s/^  \([a-z][a-z]*\)  .*/\1/p'

commands=$("$consilium" --help | sed -n "$names")
{
    page consilium 'train one medical-imaging model across institutions' "$consilium" --help
    echo '.SH SEE ALSO'
    for command in $commands; do
        printf '.BR consilium\\-%s (1),\n' "$command"
    done
    printf '.BR consilium\\-study (5)\n'
} >"$folder/man1/consilium.1"
for command in $commands; do
    {
        page "consilium-$command" "$("$consilium" --help | sed -n "s/^  $command  *//p")" \
            "$consilium" "$command" --help
        if [ "$command" = data ]; then
            for part in $("$consilium" data --help | sed -n "$names"); do
                echo ".SH CONSILIUM DATA $(echo "$part" | tr '[:lower:]' '[:upper:]')"
                "$consilium" data "$part" --help | literal
            done
        fi
        printf '.SH EXIT STATUS\n0 success, 1 failure, 2 wrong usage.\n'
        printf '.SH SEE ALSO\n.BR consilium (1),\n.BR consilium\\-study (5)\n'
    } >"$folder/man1/consilium-$command.1"
done
"$study_page" >"$folder/man5/consilium-study.5"
