# bash completion for sluice(1). What there is to complete, the program itself tells: its commands, their words and options, and what is in the
# configuration.
# shellcheck shell=bash

# _sluice_words PROGRAM COMMAND: the options and the words of a|b|c in its usage lines.
_sluice_words() {
	"$1" "$2" --help 2>/dev/null | sed -n '/^usage: \|^  *sluice \[/s/-c FILE//p' | grep -oE -- '--[a-z]+|[a-z]+(\|[a-z]+)+|\<list\>' |
		tr '|' '\n' | sort -u
}

# _sluice_names PROGRAM FILE SECTION: the names of the sections in the configuration; no server is asked.
_sluice_names() {
	"$1" ${2:+-c "$2"} show config 2>/dev/null | sed -n "s/^$3\.\(.*\)\.\(source\|driver\) = .*/\1/p"
}

_sluice() {
	local word=$2 program=$1 file='' command='' words=() i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --config) [[ -n $command ]] || file=${COMP_WORDS[++i]} ;;
		-*) ;;
		*) [[ -n $command ]] || command=${COMP_WORDS[i]} ;;
		esac
	done
	if [[ -z $command ]]; then
		case $3 in
		-c | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
		esac
		mapfile -t words < <("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p'; printf '%s\n' --config --help --version)
	else
		case $command:$3 in
		pause:"$command" | resume:"$command" | accept:"$command" | skip:"$command" | dead:list | dead:show | dead:retry | dead:drop)
			mapfile -t words < <(_sluice_names "$program" "$file" queue) ;;
		reconnect:"$command") mapfile -t words < <(_sluice_names "$program" "$file" database) ;;
		*) mapfile -t words < <(_sluice_words "$program" "$command") ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
}
complete -F _sluice sluice
