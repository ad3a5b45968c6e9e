#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Holds the directions of the house: who may include whom, which files stay pure, and that only lib/clock.c
# reads a clock. Floors, from the ground:
#
#   lib < netconf, images, boot, guest-agent < boot/hostd (lib, images) < controller
#   in the controller: model < plan, store < drive < api < the files at its root; cli uses lib only
#   (and the table of controller/config.h, for `config check`)
#
# Prints each violation as FILE:LINE: what, and exits 1 when there is one. Run from anywhere:
#   tests/check-layers.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"
# the awk program is meant not to be expanded by the shell
# shellcheck disable=SC2016
find lib netconf images boot controller guest-agent -name '*.[ch]' 2>/dev/null | LC_ALL=C sort |
	xargs awk '
function bad(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	failed = 1
}
# The room a path lies in: its folder, by the longest known name.
function room(path,   i) {
	for (i = 1; i <= n_rooms; i++)
		if (index(path, rooms[i] "/") == 1)
			return rooms[i]
	return ""
}
BEGIN {
	# longest names first
	n_rooms = split("controller/model controller/plan controller/store controller/drive controller/api " \
		"controller/cli boot/hostd controller boot netconf images guest-agent lib", rooms, " ")
	may["lib"] = "lib"
	may["netconf"] = "lib netconf"
	may["images"] = "lib images"
	may["boot"] = "lib boot"
	may["guest-agent"] = "lib guest-agent"
	may["boot/hostd"] = "lib images boot/hostd"
	below = "lib netconf images boot "
	may["controller/model"] = below "controller/model"
	may["controller/plan"] = below "controller/model controller/plan"
	may["controller/store"] = below "controller/model controller/store"
	drive = below "controller/model controller/plan controller/store controller/drive controller"
	may["controller/drive"] = drive
	may["controller/api"] = drive " controller/api"
	may["controller"] = drive " controller/api"
	may["controller/cli"] = "lib controller/cli"
	pure = "^(controller/plan/.*|controller/model/request[^/]*|netconf/(dnsmasq|nft|pool)|boot/ipxe|" \
		"boot/hostd/(domxml|ext4|reconcile)|images/(manifest|gf256|fec|cast_frame|cast_plan|cast_rate|chain_watch|chain_wire|" \
		"vmdk_descriptor|ovf|ova_manifest))\\.[ch]$"
	impure = "^(controller/store/.*|lib/(loop|workers|spawn|file|httpc|log)\\.h|sqlite3\\.h|microhttpd\\.h|" \
		"(curl|libvirt|systemd|netlink|nftables|netinet|arpa|net)/.*|sys/(socket|un|epoll|inotify)\\.h|" \
		"netdb\\.h|fcntl\\.h|pthread\\.h|spawn\\.h)$"
}
FNR == 1 {
	here = room(FILENAME)
	allowed = " " may[here] " "
	is_pure = FILENAME ~ pure
}
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
	quoted = $0 ~ /include[ \t]*"/
	path = $0
	sub(/^[^<"]*[<"]/, "", path)
	sub(/[>"].*/, "", path)
	if (is_pure && path ~ impure)
		bad("a pure file includes " path)
	if (!quoted)
		next
	there = room(path)
	if (there == "") {
		if (path != "embedded.h")
			bad("\"" path "\" is not a path from the root of the tree")
	} else if (here == "controller/cli" && path == "controller/config.h") {
		next
	} else if (index(allowed, " " there " ") == 0) {
		bad(here " must not include " path)
	}
	next
}
/^[ \t]*(\*|\/\*|\/\/)/ {
	next
}
FILENAME != "lib/clock.c" && /(^|[^A-Za-z0-9_>.])(clock_gettime|gettimeofday|time)[ ]?\((NULL|0|&|CLOCK_)/ {
	bad("only lib/clock.c reads a clock")
}
is_pure && /clock_(wall|wall_ms|mono_ms|real_ms)[ ]?\(/ {
	bad("a pure file is given the time, it does not read a clock")
}
/(^|[^A-Za-z0-9_>.])(system|popen|wordexp)[ ]?\(/ {
	bad("no shell: use lib/spawn.h")
}
END {
	exit failed + 0
}' || exit 1
