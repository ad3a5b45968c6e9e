#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Every shell script of the tree (by its first line) through shellcheck. A busybox script is read as a dash one (SC2187).
set -eu
cd "$(dirname "$0")/.."
scripts=$(git ls-files | while read -r file; do
	[ -f "$file" ] || continue
	case $(head -c 64 "$file" | tr -d '\0' | head -n 1) in
	'#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'* | '#!/bin/busybox sh'*) echo "$file" ;;
	esac
done)
# shellcheck disable=SC2086 # a list of names
exec shellcheck --severity=warning --exclude=SC2187 $scripts
