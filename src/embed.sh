#!/bin/sh
# Turns a text file into a C header: `static const char NAME[]` with its bytes, where NAME is the file's name with `_` for what C does not take.
#
#     src/embed.sh src/lua/settle.lua > settle.lua.h      settle_lua[]
set -eu
LC_ALL=C
export LC_ALL

[ $# -eq 1 ] || { echo "usage: embed.sh FILE" >&2; exit 64; }
[ -r "$1" ] || { echo "embed.sh: $1: cannot be read" >&2; exit 66; }
# awk would add the missing newline
[ -z "$(tail -c 1 "$1")" ] || { echo "embed.sh: $1: does not end with a newline" >&2; exit 65; }

name=$(basename "$1" | tr -c 'A-Za-z0-9\n' _)

echo "/* Made from $(basename "$1") by embed.sh; edit that. */"
echo "static const char ${name}[] ="
# Long lines are cut in pieces before they are escaped, so that no escape is cut; `?` is escaped because of trigraphs.
awk '{
	last = length($0)
	for (at = 1; at == 1 || at <= last; at += 100) {
		piece = substr($0, at, 100)
		gsub(/[\\"?]/, "\\\\&", piece)
		gsub(/\t/, "\\t", piece)
		gsub(/\r/, "\\r", piece)
		printf "\t\"%s%s\"\n", piece, (at + 100 > last) ? "\\n" : ""
	}
}
END { print "\t;" }' "$1"
