# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
#
# Picks files for an image out of a tree of unpacked Debian packages.  Sourced by the image
# builders; every function takes the tree first and the place to fill second.

# Debian's merged /usr, with the folders that something is mounted on.
pick_skeleton() {
	mkdir -p "$1"
	for d in dev proc sys run tmp root etc var/lib var/log var/cache var/tmp \
		usr/bin usr/sbin usr/lib usr/lib64; do
		mkdir -p "$1/$d"
	done
	for d in bin sbin lib lib64; do ln -s "usr/$d" "$1/$d"; done
	ln -s ../run "$1/var/run"
	chmod 1777 "$1/tmp" "$1/var/tmp"
}

# Copies the paths and patterns of a list; a line that matches nothing is an error.
pick_paths() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$3" | while read -r pattern; do
		found=
		for path in "$1"/$pattern; do
			[ -e "$path" ] || continue
			found=yes name=${path#"$1"/}
			mkdir -p "$2/$(dirname "$name")"
			cp -RL "$path" "$2/$name"
		done
		[ -n "$found" ] || { echo "pick: nothing matches $pattern" >&2; exit 1; }
	done
}

# Copies the libraries that the ELF files below $2 need, and what those need, until all are there.
pick_libraries() {
	loader=lib64/ld-linux-x86-64.so.2
	mkdir -p "$2/usr/lib64"
	cp -L "$1/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$2/usr/lib64/" 2>/dev/null ||
		cp -L "$1/$loader" "$2/usr/lib64/"
	: >"$2/.done"
	while :; do
		find "$2/usr" -type f \( -perm -u+x -o -name '*.so*' \) | sort >"$2/.have"
		comm -23 "$2/.have" "$2/.done" >"$2/.todo"
		[ -s "$2/.todo" ] || break
		cp "$2/.have" "$2/.done"
		xargs -r readelf -d <"$2/.todo" 2>/dev/null |
			sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u |
			while read -r name; do
				[ "$name" = ld-linux-x86-64.so.2 ] && continue
				pick_library "$1" "$2" "$name"
			done
	done
	rm -f "$2/.have" "$2/.done" "$2/.todo"
}

pick_library() {
	for folder in usr/lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu/libvirt usr/lib; do
		[ -e "$1/$folder/$3" ] || continue
		mkdir -p "$2/$folder"
		[ -e "$2/$folder/$3" ] || cp -L "$1/$folder/$3" "$2/$folder/$3"
		return 0
	done
	echo "pick: no library $3 in the packages" >&2
	return 1
}

# Fails when the tree lacks a library that the program $2 names.
pick_check() {
	readelf -d "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r name; do
		[ -e "$1/usr/lib/x86_64-linux-gnu/$name" ] || [ "$name" = ld-linux-x86-64.so.2 ] ||
			{ echo "pick: $2 needs $name, which is not in the image" >&2; exit 1; }
	done
}

# Copies the modules that $3 lists for the stages in $4 (an extended regular expression), with
# what they depend on, to the modules folder $2 (.../lib/modules/VERSION), and indexes them.
pick_modules() {
	version=${2##*/}
	from=$1/lib/modules/$version
	mkdir -p "$2"
	[ -s "$from/modules.dep" ] || depmod -b "$1" "$version"
	sed -e 's/#.*//' "$3" | awk -v stages="^($4)\$" -v builtin="$from/modules.builtin" '
		BEGIN { while ((getline line < builtin) > 0) {
			sub(".*/", "", line); sub("\\.ko$", "", line); gsub("-", "_", line)
			inside[line] = 1 } }
		NR == FNR { if ($1 ~ stages) want[++wanted] = $2; next }
		{ path = $1; sub(":$", "", path); name = path; sub(".*/", "", name)
		  sub("\\.ko$", "", name); gsub("-", "_", name); where[name] = path
		  needs[path] = substr($0, length($1) + 1); order[++n] = path }
		END { for (i = 1; i <= wanted; i++) {
			w = want[i]
			if (w ~ "/$") { for (j = 1; j <= n; j++)
				if (index(order[j], "kernel/" w) == 1) keep(order[j]); continue }
			gsub("-", "_", w)
			if (w in where) keep(where[w])
			else if (!(w in inside)) { print "pick: no module " w > "/dev/stderr"; bad = 1 }
		  }
		  exit bad }
		function keep(path,   i, k, part) {
			if (path in kept) return
			kept[path] = 1; print path
			k = split(needs[path], part, " ")
			for (i = 1; i <= k; i++) keep(part[i]) }
	' - "$from/modules.dep" >"$2/.list"
	(cd "$from" && cpio --quiet -pdm "$2" <"$2/.list")
	rm -f "$2/.list"
	cp "$from/modules.builtin" "$from/modules.order" "$2/"
	[ ! -e "$from/modules.builtin.modinfo" ] || cp "$from/modules.builtin.modinfo" "$2/"
	base=${2%/lib/modules/*}
	depmod -b "$base" "$version"
}

# One time for every file, so that equal content gives an equal archive.
pick_times() {
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# Gives every file in the ext4 image $1 the one time: mke2fs -d takes over when this machine last
# touched the inodes.
pick_ext4_times() {
	dumpe2fs "$1" 2>/dev/null | awk -v at="@$SOURCE_DATE_EPOCH" '
		/^Inodes per group:/ { per = $4 }
		/^  Free inodes:/ {
			first = group * per + 1; last = first + per - 1; group++
			for (i = 3; i <= NF; i++) {
				split($i, range, /[-,]/)
				set(first, range[1] - 1)
				first = (range[2] == "" ? range[1] : range[2]) + 1
			}
			set(first, last)
		}
		function set(a, b,   n) {
			for (n = a; n <= b; n++) if (n == 2 || n > 10)
				printf "sif <%d> ctime %s\nsif <%d> atime %s\n", n, at, n, at
		}' >"$1.times"
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$1.times" "$1" >/dev/null 2>&1
	rm -f "$1.times"
}

# Prints the modules of a folder made by pick_modules in an order in which insmod takes them.
pick_order() {
	awk '{ path = $1; sub(":$", "", path); needs[path] = substr($0, length($1) + 1); all[++n] = path }
		function load(path,   i, k, part) {
			if (path in loaded) return
			loaded[path] = 1
			k = split(needs[path], part, " ")
			for (i = k; i >= 1; i--) load(part[i])
			print path }
		END { for (j = 1; j <= n; j++) load(all[j]) }' "$1/modules.dep"
}
