/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The iPXE scripts: what a PC does when its firmware has found the network.
 *
 * DHCP names one script for all (start), which asks for the PC's own with its MAC. That one says
 * one of four things: become a host (kernel, initramfs and the few words the initramfs needs),
 * wait your turn and ask again, start from your own disk, or: this server does not know you, start
 * from your own disk. Every
 * URL is absolute, because beside a school's DHCP server ${next-server} is the school's.
 *
 * Whatever goes wrong must end at the PC's own disk or at a new try, never at a prompt: a host
 * that cannot load restarts (the server decides anew), everything else goes on to the disk. How
 * to get to the disk differs: a BIOS is made to read the first disk's boot sector; on UEFI a small
 * GRUB (boot/host-image/local.cfg) starts the loader it finds on the disk. When it finds none,
 * or is not served, the script ends with an error, for then UEFI goes on to its next boot entry;
 * after a success some firmware shows its setup page instead.
 *
 * The script is fetched in the clear by whoever asks, so it holds no secret: the digest of the CA
 * and of the root image are public. A script is a program: names and digests are checked against
 * their grammar, and of the one free text only letters and a few marks pass, since iPXE would
 * expand ${...} and cut at && and ||.
 */
#include "boot/ipxe.h"

static void add_url(struct buf *b, const struct ipxe_server *server, const char *path)
{
	char address[IP4_TEXT];

	buf_addf(
		b, "http://%s:%u%s", ip4_format(server->address, address), server->boot_port, path);
}

/* Ends a script that lets the PC start from its own disk. */
static void add_to_disk(struct buf *b, const struct ipxe_server *server)
{
	buf_adds(b, "iseq ${platform} efi || goto bios\nchain ");
	add_url(b, server, "/boot/files/local.efi ||\nexit 1\n");
	buf_adds(b, ":bios\nsanboot --no-describe --drive 0x80 ||\nexit 1\n");
}

/* A free text as an echo line; what could be more than text to iPXE becomes a space. */
static void add_echo(struct buf *b, const char *text)
{
	static const char marks[] = " .,:()/_-";

	buf_adds(b, "echo ");
	for (; *text; text++) {
		bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
			     (*text >= '0' && *text <= '9') || strchr(marks, *text);
		buf_add(b, plain ? text : " ", 1);
	}
	buf_adds(b, "\n");
}

/* Asks for the PC's own script until it comes; at last the disk. A controller that is started anew
 * is silent for some seconds, and a PC that gave up in them would be a desktop for the night. */
static void add_ask(struct buf *b, const struct ipxe_server *server)
{
	buf_adds(b, "set try:int32 0\n:ask\nchain --autofree --replace ");
	add_url(b, server, "/boot/script?mac=${netX/mac}&platform=${platform} ||\n");
	buf_adds(b, "inc try\niseq ${try} 8 && goto disk ||\nsleep 2\ngoto ask\n:disk\n"
		    "echo Nightclass: the lab server does not answer, starting from the disk\n");
	add_to_disk(b, server);
}

char *ipxe_start_script(const struct ipxe_server *server)
{
	auto_buf struct buf b = {0};

	buf_adds(&b, "#!ipxe\n");
	add_ask(&b, server);
	return buf_take(&b);
}

/* The kernel's command line: what boot/host-image/initramfs/init and nightclass-hostd read. */
static void add_kernel(struct buf *b, const struct ipxe_boot *boot)
{
	char mac[MAC_TEXT], address[IP4_TEXT];

	mac_format(&boot->mac, mac);
	for (char *p = mac; *p; p++)
		if (*p == ':')
			*p = '-';
	buf_adds(b, "kernel ");
	add_url(b, &boot->server, "/boot/files/vmlinuz");
	buf_addf(b, " initrd=initrd.img BOOTIF=01-%s", mac);
	buf_addf(b, " nightclass.url=https://%s:%u", ip4_format(boot->server.address, address),
		boot->server.api_port);
	buf_addf(b, " nightclass.ca=sha256:%s nightclass.root=", boot->ca_sha256);
	add_url(b, &boot->server, "/boot/files/host.squashfs");
	buf_addf(b, " nightclass.root.sha256=%s", boot->root_sha256);
	if (boot->cast_sha256)
		buf_addf(b,
			" nightclass.root.cast=%s:%u nightclass.root.manifest=%s"
			" nightclass.root.name=%s",
			address, boot->cast_port, boot->cast_sha256, boot->name);
	if (boot->scratch_label) {
		buf_addf(b, " nightclass.scratch=%s nightclass.disks=", boot->scratch_label);
		add_url(b, &boot->server, "/boot/files/disks.squashfs");
		buf_addf(b, " nightclass.disks.sha256=%s", boot->disks_sha256);
	}
	if (boot->backstop_s)
		buf_addf(b, " nightclass.backstop=%u", boot->backstop_s);
	buf_adds(b, " console=tty0 console=ttyS0 quiet panic=10 || goto failed\n");
}

static void add_host(struct buf *b, const struct ipxe_boot *boot)
{
	buf_addf(b, "echo Nightclass: %s becomes a night host, ", boot->name);
	if (boot->scratch_label)
		buf_addf(b, "of its own disk only the partition %s is touched\n",
			boot->scratch_label);
	else
		buf_adds(b, "its own disk is not touched\n");
	add_kernel(b, boot);
	buf_adds(b, "initrd --name initrd.img ");
	add_url(b, &boot->server, "/boot/files/initrd.img || goto failed\nboot || goto failed\n");
	buf_adds(b,
		":failed\n"
		"echo Nightclass: the night host could not be loaded, restarting in 10 seconds\n"
		"sleep 10\nreboot\n");
}

/* In the queue. The screen says where, so that nobody presses the button. */
static void add_wait(struct buf *b, const struct ipxe_boot *boot)
{
	buf_addf(b, "echo Nightclass: %s becomes a night host soon", boot->name);
	if (boot->ahead)
		buf_addf(b, ", %u PCs load before it\n", boot->ahead);
	else
		buf_adds(b, ", it is next\n");
	buf_addf(b, "sleep %u\n", boot->wait_s);
	add_ask(b, &boot->server);
}

static void add_local(struct buf *b, const struct ipxe_boot *boot)
{
	buf_addf(b, "echo Nightclass: %s starts from its own disk\n", boot->name);
	if (boot->reason)
		add_echo(b, boot->reason);
	add_to_disk(b, &boot->server);
}

static void add_refusal(struct buf *b, const struct ipxe_boot *boot)
{
	char mac[MAC_TEXT];

	buf_addf(b, "echo Nightclass: this server does not serve the PC with the MAC %s\n",
		mac_format(&boot->mac, mac));
	if (boot->reason)
		add_echo(b, boot->reason);
	buf_adds(b, "echo It starts from its own disk in 5 seconds\nsleep 5\n");
	add_to_disk(b, &boot->server);
}

static int check(const struct ipxe_boot *boot, struct error **err)
{
	static const char digest[] = "is not a SHA-256 in 64 lower-case hex digits";

	if (boot->kind == IPXE_REFUSE)
		return 0;
	if (!boot->name || !name_ok(boot->name))
		return error_field(err, -EINVAL, "name", "the PC's name is not a host name");
	if (boot->kind == IPXE_LOCAL || boot->kind == IPXE_WAIT)
		return 0;
	if (!boot->ca_sha256 || !sha256_hex_ok(boot->ca_sha256))
		return error_field(err, -EINVAL, "ca_sha256", "the CA's digest %s", digest);
	if (!boot->root_sha256 || !sha256_hex_ok(boot->root_sha256))
		return error_field(
			err, -EINVAL, "root_sha256", "the host image's digest %s", digest);
	if (boot->cast_sha256 && (!sha256_hex_ok(boot->cast_sha256) || !boot->cast_port))
		return error_field(err, -EINVAL, "cast_sha256",
			"the manifest's digest %s, or its port is 0", digest);
	if (!boot->scratch_label)
		return 0;
	if (!name_ok(boot->scratch_label))
		return error_field(err, -EINVAL, "scratch_label", "the label is not a host name");
	if (!boot->disks_sha256 || !sha256_hex_ok(boot->disks_sha256))
		return error_field(
			err, -EINVAL, "disks_sha256", "the digest of the disk drivers %s", digest);
	return 0;
}

int ipxe_script(const struct ipxe_boot *boot, char **ret_text, struct error **err)
{
	auto_buf struct buf b = {0};
	int r = check(boot, err);

	if (r < 0)
		return r;
	buf_adds(&b, "#!ipxe\n");
	switch (boot->kind) {
	case IPXE_HOST:
		add_host(&b, boot);
		break;
	case IPXE_WAIT:
		add_wait(&b, boot);
		break;
	case IPXE_LOCAL:
		add_local(&b, boot);
		break;
	case IPXE_REFUSE:
		add_refusal(&b, boot);
		break;
	}
	*ret_text = buf_take(&b);
	return 0;
}
