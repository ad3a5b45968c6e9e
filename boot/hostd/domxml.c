/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The domain XML of one VM.
 *
 * A VM may run inside an emulated PC, emulated twice, where every device costs seconds of probing:
 * so it gets a disk, a seed disc, a network card, a serial line and the guest's channel, all virtio
 * but the serial line, and nothing else: no USB, no balloon, no card ROM, and a screen only for an
 * image that asks for one (the word nightclass.screen on its kernel line). The screen is VNC on a
 * socket in libvirt's own folder: a PC listens on nothing for it. The machine is the oldest and
 * smallest one that knows ACPI (needed for shutdown) and direct kernel boot. The
 * disks use cache=unsafe: they live in this host's memory and do not outlive the night anyway. What
 * is behind it may be a server (base.c): when that dies, QEMU halts the VM instead of telling the
 * guest of a broken disk, and vm_libvirt.c sets it going again. That holds for writes too, since a
 * write of less than a cluster of the overlay reads the rest of it from behind. The chain of images
 * is written out, so that libvirt need not open files to find it. What stands in the text comes
 * from strict parsers or from our own options; it is escaped nevertheless.
 */
#include "boot/hostd/domxml.h"

/* The three choices to turn when another machine proves faster. */
static const char machine[] = "pc";
static const char cpu_kvm[] = "  <cpu mode='host-passthrough' migratable='on'/>\n";
static const char cpu_tcg[] = "  <cpu mode='maximum'>\n"
			      "    <feature policy='disable' name='la57'/>\n"
			      "  </cpu>\n";

static void escaped(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			buf_adds(b, "&amp;");
		else if (*text == '<')
			buf_adds(b, "&lt;");
		else if (*text == '>')
			buf_adds(b, "&gt;");
		else if (*text == '\'')
			buf_adds(b, "&apos;");
		else if (*text == '"')
			buf_adds(b, "&quot;");
		else
			buf_add(b, text, 1);
	}
}

/* "BEFORE" + escaped text + "AFTER". */
static void wrap(struct buf *b, const char *before, const char *text, const char *after)
{
	buf_adds(b, before);
	escaped(b, text);
	buf_adds(b, after);
}

static void os(struct buf *b, const struct domxml *d)
{
	buf_addf(b, "  <os>\n    <type arch='x86_64' machine='%s'>hvm</type>\n", machine);
	if (d->kernel) {
		wrap(b, "    <kernel>", d->kernel, "</kernel>\n");
		if (d->initrd)
			wrap(b, "    <initrd>", d->initrd, "</initrd>\n");
		if (d->cmdline)
			wrap(b, "    <cmdline>", d->cmdline, "</cmdline>\n");
	} else {
		buf_adds(b, "    <boot dev='hd'/>\n");
	}
	buf_adds(b, "  </os>\n");
}

/* The read-only disk behind the overlay. */
static void base(struct buf *b, const struct domxml *d)
{
	if (!d->base_socket) {
		buf_adds(b, "      <backingStore type='file'>\n        <format type='raw'/>\n");
		wrap(b, "        <source file='", d->base, "'/>\n");
	} else {
		buf_adds(b, "      <backingStore type='network'>\n        <format type='raw'/>\n"
			    "        <source protocol='nbd'>\n");
		wrap(b, "          <host transport='unix' socket='", d->base_socket,
			"'/>\n        </source>\n");
	}
	buf_adds(b, "        <backingStore/>\n      </backingStore>\n");
}

static void disks(struct buf *b, const struct domxml *d)
{
	buf_adds(b, "    <disk type='file' device='disk'>\n"
		    "      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'");
	buf_adds(b, d->base_socket ? " error_policy='stop' rerror_policy='stop'/>\n" : "/>\n");
	wrap(b, "      <source file='", d->disk, "'/>\n");
	base(b, d);
	buf_adds(b, "      <target dev='vda' bus='virtio'/>\n    </disk>\n"
		    "    <disk type='file' device='disk'>\n"
		    "      <driver name='qemu' type='raw' cache='unsafe'/>\n");
	wrap(b, "      <source file='", d->seed, "'/>\n");
	buf_adds(b, "      <backingStore/>\n      <target dev='vdb' bus='virtio'/>\n"
		    "      <readonly/>\n    </disk>\n");
}

static void network(struct buf *b, const struct domxml *d)
{
	char mac[MAC_TEXT];
	buf_adds(b, "    <interface type='bridge'>\n");
	wrap(b, "      <source bridge='", d->bridge, "'/>\n");
	buf_addf(b, "      <mac address='%s'/>\n      <model type='virtio'/>\n",
		mac_format(&d->mac, mac));
	if (d->mtu)
		buf_addf(b, "      <mtu size='%llu'/>\n", (unsigned long long)d->mtu);
	buf_adds(b, "      <rom enabled='no'/>\n    </interface>\n");
}

static void lines(struct buf *b, const struct domxml *d)
{
	wrap(b, "    <serial type='file'>\n      <source path='", d->console_log,
		"'/>\n      <target port='0'/>\n    </serial>\n");
	buf_adds(b, "    <controller type='virtio-serial' index='0' ports='2'/>\n");
	wrap(b, "    <channel type='unix'>\n      <source mode='bind' path='", d->channel,
		"'/>\n      <target type='virtio' name='" GUEST_CHANNEL "'/>\n    </channel>\n");
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = text; at && (at = strstr(at, word)); at += n)
		if ((at == text || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
			return true;
	return false;
}

/* An absolute pointer, so that the viewer's and the VM's are at one place. */
static void screen(struct buf *b, const struct domxml *d)
{
	if (!has_word(d->cmdline, "nightclass.screen"))
		return;
	buf_adds(b, "    <input type='tablet' bus='virtio'/>\n"
		    "    <graphics type='vnc'>\n      <listen type='socket'/>\n    </graphics>\n"
		    "    <video>\n      <model type='vga' vram='16384'/>\n    </video>\n");
}

char *domxml_render(const struct domxml *d)
{
	struct buf b = {0};
	buf_addf(&b, "<domain type='%s'>\n", d->kvm ? "kvm" : "qemu");
	wrap(&b, "  <name>" DOMAIN_PREFIX, d->id, "</name>\n");
	wrap(&b, "  <uuid>", d->uuid, "</uuid>\n");
	buf_addf(&b, "  <memory unit='MiB'>%llu</memory>\n  <vcpu>%llu</vcpu>\n",
		(unsigned long long)d->memory_mib, (unsigned long long)d->cpus);
	os(&b, d);
	buf_adds(&b, "  <features>\n    <acpi/>\n    <apic/>\n  </features>\n");
	buf_adds(&b, d->kvm ? cpu_kvm : cpu_tcg);
	buf_adds(&b, "  <clock offset='utc'/>\n"
		     "  <on_poweroff>destroy</on_poweroff>\n"
		     "  <on_reboot>restart</on_reboot>\n"
		     "  <on_crash>destroy</on_crash>\n"
		     "  <devices>\n");
	disks(&b, d);
	network(&b, d);
	lines(&b, d);
	screen(&b, d);
	buf_adds(&b, "    <controller type='usb' model='none'/>\n"
		     "    <memballoon model='none'/>\n"
		     "  </devices>\n</domain>\n");
	return buf_take(&b);
}
