#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# nspc.sh DIR: inside the mount namespace of a namespace PC: gives it a machine's private folders under DIR and
# runs libvirtd there, in the foreground. Its /dev has no kvm (libvirt would probe it at every domain start).
set -eu
dir=$1
mkdir -p "$dir/run" "$dir/lib" "$dir/etc" "$dir/log" "$dir/cache" "$dir/dev" \
	/var/lib/libvirt /etc/libvirt /var/log/libvirt /var/cache/libvirt
mount -t tmpfs -o mode=755 dev "$dir/dev"
for node in null zero full random urandom tty ptmx; do cp -a "/dev/$node" "$dir/dev/"; done
mkdir -p "$dir/dev/pts" "$dir/dev/shm" "$dir/dev/net"
[ -e /dev/net/tun ] && cp -a /dev/net/tun "$dir/dev/net/"
ln -s /proc/self/fd "$dir/dev/fd"
mount --bind /dev/pts "$dir/dev/pts"
mount -t tmpfs shm "$dir/dev/shm"
mount --bind "$dir/dev" /dev
cat >"$dir/etc/libvirtd.conf" <<X
auth_unix_rw = "none"
X
cat >"$dir/etc/qemu.conf" <<X
user = "root"
group = "root"
namespaces = []
security_driver = "none"
cgroup_controllers = []
X
mkdir -p "$dir/run/lock"
mount --bind "$dir/lib" /var/lib/libvirt
mount --bind "$dir/etc" /etc/libvirt
mount --bind "$dir/log" /var/log/libvirt
mount --bind "$dir/cache" /var/cache/libvirt
# The rig's own folder lives in the /run that is about to be hidden: it stays reachable under its name.
rig=$(echo "$dir" | cut -d / -f 3)
mkdir -p "$dir/run/$rig"
mount --bind "/run/$rig" "$dir/run/$rig"
mount --rbind "$dir/run" /run
/usr/sbin/virtlogd -d
exec /usr/sbin/libvirtd
