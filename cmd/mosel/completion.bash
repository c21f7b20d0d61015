# The script below needs some functions of the package bash-completion. These stand in
# for them where it is not installed; where it is, they are not used.
if ! declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
    # Sets cur, prev, words and cword, with words that bash has split at : and = joined.
    _get_comp_words_by_ref() {
        local i=0 word rest=$COMP_LINE glued
        words=() cword=0
        for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
            word=${COMP_WORDS[i]}
            glued=
            if [[ ${#words[@]} -gt 1 && $rest != [[:space:]]* && ( $word == [:=]* || ${words[${#words[@]} - 1]} == *[:=] ) ]]; then
                glued=yes
            fi
            if [[ -n $glued ]]; then
                words[${#words[@]} - 1]+=$word
            else
                words+=("$word")
            fi
            ((i == COMP_CWORD)) && cword=$((${#words[@]} - 1))
            rest=${rest#"${rest%%[![:space:]]*}"}
            rest=${rest#"$word"}
        done
        cur=${words[cword]}
        prev=
        ((cword > 0)) && prev=${words[cword - 1]}
        return 0
    }
fi
if ! declare -F _filedir >/dev/null 2>&1; then
    # Completes directories for -d, files that end in .A or .B and directories for "A|B|".
    _filedir() {
        local file
        compopt -o filenames 2>/dev/null
        while IFS= read -r file; do
            COMPREPLY+=("$file")
        done < <(compgen -d -- "$cur")
        [[ ${1-} == -d ]] && return 0
        while IFS= read -r file; do
            [[ -z ${1-} || "|$1" == *"|${file##*.}|"* ]] && COMPREPLY+=("$file")
        done < <(compgen -f -- "$cur")
        return 0
    }
fi

