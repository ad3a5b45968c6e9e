#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What a reviewer would say about the shape of a source file, said by a machine: licence line, opening comment,
# length, line width, and marks of unfinished work.
set -eu
cd "$(dirname "$0")/.."
bad=0
say() {
	echo "$1"
	bad=1
}
for file in $(git ls-files '*.c' '*.h'); do
	[ -f "$file" ] || continue
	head -n 1 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' || say "$file:1: no licence line"
	lines=$(wc -l <"$file")
	[ "$lines" -le 600 ] || say "$file: $lines lines: has it still one purpose? Split it."
	case $file in
	*.c) head -n 2 "$file" | grep -q '^/\*.*[^/]$' || sed -n 2p "$file" | grep -q '^/\*' || say "$file:2: opens without a comment that says what it is for" ;;
	esac
	long=$(expand -t 8 "$file" | awk 'length($0) > 120 {print FNR; exit}')
	[ -z "$long" ] || say "$file:$long: line over 120 columns"
done
words='TO''DO|FIX''ME|XX''X|HA''CK'
if git grep -nE "\b($words)\b" -- '*.c' '*.h' '*.sh' '*.py' '*.js' Makefile; then
	say "marks of unfinished work: finish it or put it into docs/plan.md"
fi
exit $bad
