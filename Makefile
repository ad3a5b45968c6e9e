# SPDX-License-Identifier: GPL-2.0-or-later
# One non-recursive Makefile.   make          programs into build/ (no root, nothing outside is touched)
#                               make demo     one whole night, rehearsed on this machine (root)
#                               make check    every test (root)      make help    the rest
.DEFAULT_GOAL := all
B       ?= build
VERSION := 0.1.0
SAN     ?=
CC      ?= gcc
PKGS    := libsystemd jansson sqlite3 gnutls libcurl libzstd libsodium libarchive libnl-3.0 libnl-route-3.0 \
           libnftables libmicrohttpd libvirt libvirt-qemu libxml-2.0 zlib
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CI      ?=
WARN    += $(if $(CI),-Werror)
SAN_OPT := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT     := $(if $(SAN),$(SAN_OPT),-O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
CFLAGS  ?= -g
LDFLAGS ?= -Wl,-z,relro,-z,now
ALL_CFLAGS = -std=gnu17 $(OPT) $(WARN) $(CFLAGS) -I. -I$(B)/gen -D_GNU_SOURCE -DNIGHTCLASS_VERSION='"$(VERSION)"' \
	-pthread $(PKG_CFLAGS)
# asked once, and only when something is compiled
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))
libs     = $(shell pkg-config --libs $(1))

# Rooms: every .c of a folder but the mains goes into one archive, in the order of the floors.
MAINS   := images/base_nbd.c controller/nightclassd.c controller/cli/nightclass.c netconf/nightclass-netd.c \
           images/nightclass-import.c images/nightclass-download.c images/nightclass-cast.c \
           boot/hostd/nightclass-hostd.c guest-agent/nightclass-guest.c images/nightclass-root.c images/root_hash.c
room     = $(filter-out $(MAINS),$(wildcard $(addsuffix /*.c,$(1))))
LIB     := $(call room,lib)
NETCONF := $(call room,netconf)
IMAGES  := $(call room,images)
GUEST   := $(call room,guest-agent)
BOOT    := $(call room,boot)
HOSTD   := $(call room,boot/hostd)
CONTROL := $(call room,controller controller/model controller/plan controller/store controller/drive controller/api)
CLI     := $(call room,controller/cli)

obj      = $(patsubst %.c,$(B)/obj/%.o,$(1))
archive  = $(B)/lib$(1).a
PLUGIN  := $(B)/nightclass-base.so
INITRD  := $(B)/nightclass-root
PROGRAMS := nightclassd nightclass nightclass-netd nightclass-import nightclass-download nightclass-cast nightclass-hostd \
            nightclass-guest
all: $(addprefix $(B)/,$(PROGRAMS)) $(PLUGIN) $(INITRD)
.PHONY: all

$(B)/obj/%.o: %.c | $(B)/gen/generated
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
-include $(shell test -d $(B)/obj && find $(B)/obj -name '*.d')

define archive_rule
$(call archive,$(1)): $(call obj,$(2))
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
endef
$(eval $(call archive_rule,lib,$(LIB)))
$(eval $(call archive_rule,netconf,$(NETCONF)))
$(eval $(call archive_rule,images,$(IMAGES)))
$(eval $(call archive_rule,guest,$(GUEST)))
$(eval $(call archive_rule,boot,$(BOOT)))
$(eval $(call archive_rule,hostd,$(HOSTD)))
$(eval $(call archive_rule,controller,$(CONTROL)))
$(eval $(call archive_rule,cli,$(CLI)))

# program <- main, archives, packages
link     = $(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(filter %.a,$^) $(call libs,$(1))
$(B)/nightclassd: $(call obj,controller/nightclassd.c) $(foreach a,controller boot netconf images lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson sqlite3 gnutls libcurl libmicrohttpd libzstd libsodium)
$(B)/nightclass: $(call obj,controller/cli/nightclass.c controller/config.c) $(foreach a,cli lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl)
$(B)/nightclass-netd: $(call obj,netconf/nightclass-netd.c) $(foreach a,netconf lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl libnl-3.0 libnl-route-3.0 libnftables)
$(B)/nightclass-import: $(call obj,images/nightclass-import.c) $(foreach a,images lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl libzstd libsodium libarchive libxml-2.0 zlib)
$(B)/nightclass-cast: $(call obj,images/nightclass-cast.c) $(foreach a,images lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl libmicrohttpd libzstd libsodium)
$(B)/nightclass-download: $(call obj,images/nightclass-download.c) $(foreach a,images lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl)
$(B)/nightclass-hostd: $(call obj,boot/hostd/nightclass-hostd.c) $(foreach a,hostd images lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl libzstd libsodium libarchive libvirt libvirt-qemu libmicrohttpd)
$(B)/nightclass-guest: $(call obj,guest-agent/nightclass-guest.c) $(foreach a,guest lib,$(call archive,$(a)))
	$(call say,LINK,$@)
	$(Q)$(call link,jansson)

# The disk server of VMs whose image is on its way: a plugin, so position-independent, and never sanitised, for it is
# loaded by a program that is not.
BASE    := images/base_nbd.c $(addprefix images/,base_reader.c chunk.c held.c held_check.c held_chunks.c lane.c manifest.c)
pic      = $(patsubst %.c,$(B)/pic/%.o,$(1))
$(B)/pic/%.o: %.c | $(B)/gen/generated
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(filter-out -fsanitize% -fno-sanitize%,$(ALL_CFLAGS)) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
-include $(shell test -d $(B)/pic && find $(B)/pic -name '*.d')
$(B)/pic/lib.a: $(call pic,$(LIB))
	@rm -f $@
	$(Q)ar rcs $@ $^
$(PLUGIN): $(call pic,$(BASE)) $(B)/pic/lib.a
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(LDFLAGS) -o $@ $^ $(call libs,jansson gnutls libcurl libzstd) -pthread

# What receives the root image in the host's initramfs, where no library is: static, and so never sanitised either.
ROOT    := $(addprefix images/,nightclass-root.c root_hash.c cast_frame.c cast_plan.c cast_recv.c cast_recv_block.c \
           cast_recv_group.c cast_recv_plan.c cast_recv_report.c cast_recv_slot.c cast_recv_verify.c chunk.c fec.c gf256.c \
           held.c held_check.c held_chunks.c manifest.c)
$(INITRD): $(call pic,$(ROOT)) $(B)/pic/lib.a
	$(call say,LINK,$@)
	$(Q)$(CC) -static -s $(LDFLAGS) -o $@ $^ $(shell pkg-config --static --libs jansson libzstd nettle) -pthread

# Generated sources: the schema and the web page as C arrays.
WEB_FILES := $(sort $(wildcard web/*.html web/*.js web/*.css web/*.svg))
$(B)/gen/generated: controller/store/schema.sql $(WEB_FILES) lib/embed.sh
	@mkdir -p $(B)/gen
	$(call say,GEN,$(B)/gen)
	$(Q)sh lib/embed.sh $(B)/gen controller/store/schema.sql $(WEB_FILES)
	@touch $@
# So that what includes it is compiled anew in the same run.
$(B)/gen/embedded.h: $(B)/gen/generated ;

# Unit tests: one program each, linked with every room.
UNIT    := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT))
$(B)/unit/%: tests/unit/%.c $(foreach a,controller hostd boot cli guest netconf images lib,$(call archive,$(a)))
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(filter %.a,$^) $(filter %.a,$^) $(call libs,$(PKGS)) -lcmocka
unit: $(UNIT_BIN)
.PHONY: unit

# Fuzzing, by clang's libFuzzer: every target of tests/fuzz for FUZZ_TIME seconds each.   make fuzz FUZZ_TIME=60
FUZZ_TIME ?= 60
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/fuzz/%: tests/fuzz/%.c $(foreach a,images lib,$(call archive,$(a)))
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -MMD -MP -o $@ $< $(filter %.a,$^) $(filter %.a,$^) $(call libs,$(PKGS))
fuzz-targets: $(FUZZ_BIN)
FUZZ_MAKE = $(MAKE) --no-print-directory -s -j$(JOBS) B=build/fuzzing CC=clang CI= \
	SAN_OPT='-O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined' SAN=1 fuzz-targets
fuzz:
	@.ci/setup build fuzz
	@$(FUZZ_MAKE)
	@tests/fuzz/run build/fuzzing $(FUZZ_TIME)
.PHONY: fuzz fuzz-targets

# Operating system images: the host in RAM, the images of VMs, the desktop of the rig's PCs. Each is one script, made
# anew when the script, what it takes in, or the agent in it changed.
IMG := build/images
files_of = $(shell find $(1) -type f 2>/dev/null)
RECIPE := images/recipes/debian-tree boot/host-image/pick.sh
$(IMG)/host/host.squashfs: $(B)/nightclass-hostd $(PLUGIN) $(INITRD) $(call files_of,boot/host-image) $(RECIPE)
	boot/host-image/build $(IMG)/host $(B)/nightclass-hostd $(PLUGIN) $(INITRD)
define recipe_rule
$(IMG)/$(1)/disk.raw: $(B)/nightclass-guest images/recipes/vm-image $(call files_of,images/recipes/$(1) images/recipes/common) $(RECIPE)
	images/recipes/$(1)/build $(IMG)/$(1) $(B)/nightclass-guest
endef
$(foreach r,mpi mpi-lean desktop-class,$(eval $(call recipe_rule,$(r))))
$(IMG)/mpi-lean/disk.raw: $(call files_of,images/recipes/mpi/root)
# Its packages stay beside it: the tests make it once more, on any day and without a mirror.
$(IMG)/mpi-lean/disk.raw: export NIGHTCLASS_TREES = $(CURDIR)/$(IMG)/mpi-lean/.trees
$(IMG)/desktop.img: $(call files_of,tests/rig/desktop) $(RECIPE)
	tests/rig/desktop/build $(IMG)/desktop.img
# For the tests only: a stock image, with nothing of ours in it.
$(IMG)/cloud/disk.raw: tests/rig/cloudimage/build $(IMG)/mpi-lean/disk.raw $(RECIPE)
	tests/rig/cloudimage/build $(IMG)/cloud $(IMG)/mpi-lean
# What a lab needs; what the rehearsal needs; what the tests need besides.
images: $(IMG)/host/host.squashfs $(IMG)/mpi/disk.raw
images-demo: $(IMG)/host/host.squashfs $(IMG)/mpi-lean/disk.raw $(IMG)/desktop.img
images-check: images images-demo $(IMG)/cloud/disk.raw $(IMG)/desktop-class/disk.raw
# The promise of a recipe: the same packages, the same bytes. Each one twice from nothing but the packages' files, so it
# asks the mirrors; `make check` tests the half of it that needs no network.
recipes-twice: $(B)/nightclass-guest $(B)/nightclass-hostd $(PLUGIN) $(INITRD)
	tests/rig/recipes-twice $^ host mpi mpi-lean desktop-class
.PHONY: images images-demo images-check recipes-twice

# The two commands.
JOBS    := $(shell nproc)
demo:
	@tests/e2e/demo build/demo
check:
	@.ci/setup build demo check fuzz
	@$(MAKE) --no-print-directory -s -j$(JOBS) all images-check
	@$(MAKE) --no-print-directory -s -j$(JOBS) B=build/san SAN=1 all unit bench-tools
	@if command -v clang >/dev/null; then $(FUZZ_MAKE); fi
	@tests/run build/san $(SUITES)
.PHONY: demo check

# Side by side with what a user would pick instead (docs/bench.md). Settings: BENCH_QUICK=1, BENCH_ONLY=..., and more there.
$(B)/bench/blast: tests/bench/blast.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $<
$(B)/bench/host: $(call obj,tests/bench/host.c) $(foreach a,images lib,$(call archive,$(a)))
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(call link,libsystemd jansson gnutls libcurl libzstd libsodium libmicrohttpd)
bench-tools: $(addprefix $(B)/bench/,blast host)
bench-images:
	@.ci/setup build demo bench
	@$(MAKE) --no-print-directory -s -j$(JOBS) all bench-tools $(IMG)/mpi-lean/disk.raw \
		$(addprefix $(B)/unit/,test_image_fetch test_image_chain)
	@NIGHTCLASS_BUILD=$(B) /usr/bin/python3 tests/rig/sandbox.py /usr/bin/python3 tests/bench/images.py
.PHONY: bench-images bench-tools

# Installation. DESTDIR= as usual; PREFIX= is /usr or below it, for the jail of imports reads programs nowhere else.
PREFIX  ?= /usr
SBIN    := $(PREFIX)/sbin
DATA    := $(PREFIX)/share/nightclass
COMPLETION := $(PREFIX)/share/bash-completion/completions
install: all
	@case $(PREFIX)/ in /usr/*) ;; *) echo 'make install: PREFIX has to be /usr or below it, not $(PREFIX)' >&2; exit 1 ;; esac
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SBIN) $(DESTDIR)$(DATA)/images $(DESTDIR)$(DATA)/boot \
		$(DESTDIR)$(COMPLETION) $(DESTDIR)/etc/nightclass $(DESTDIR)/lib/systemd/system \
		$(DESTDIR)$(PREFIX)/lib/sysctl.d
	install -m 755 $(B)/nightclass $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(addprefix $(B)/,$(filter-out nightclass,$(PROGRAMS))) $(DESTDIR)$(SBIN)/
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/nightclass $(PLUGIN) $(INITRD)
	$(B)/nightclass completion bash >$(DESTDIR)$(COMPLETION)/nightclass
	@# The recipes stand as in the source tree, for they use each other; installed, their cache is the system's.
	rm -rf $(addprefix $(DESTDIR)$(DATA)/,images/recipes boot/host-image day)
	cp -r images/recipes $(DESTDIR)$(DATA)/images/
	cp -r boot/host-image $(DESTDIR)$(DATA)/boot/
	cp -r guest-agent/day $(DESTDIR)$(DATA)/
	sed -i -e 's|$$here/build/cache/debs|/var/cache/nightclass/debs|' \
		-e 's|(build/cache/debs)|(/var/cache/nightclass/debs)|' $(DESTDIR)$(DATA)/images/recipes/debian-tree
	for file in nightclass.conf netd.conf; do \
		test -e $(DESTDIR)/etc/nightclass/$$file || \
			install -m 644 debian/$$file $(DESTDIR)/etc/nightclass/ || exit 1; done
	install -m 644 debian/*.service debian/*.socket $(DESTDIR)/lib/systemd/system/
	sed -i 's|^ExecStart=/usr/|ExecStart=$(PREFIX)/|' \
		$(addprefix $(DESTDIR)/lib/systemd/system/,$(notdir $(wildcard debian/*.service)))
	install -m 644 debian/nightclass.sysctl $(DESTDIR)$(PREFIX)/lib/sysctl.d/60-nightclass.conf
	for page in $(wildcard docs/man/*.scd); do \
		name=$$(basename $$page .scd); dir=$(DESTDIR)$(PREFIX)/share/man/man$${name##*.}; \
		install -d $$dir && scdoc <$$page >$$dir/$$name || exit 1; done
.PHONY: install

format:
	clang-format -i $$(git ls-files '*.c' '*.h')
# cppcheck has to be told what jansson's loops are, and does not know that auto_fclose closes.
CPPCHECK := --quiet --enable=warning,portability --inline-suppr --suppress=missingInclude --suppress=internalAstError \
	--suppress=resourceLeak:controller/cli/image.c -I. --error-exitcode=1 \
	'-Djson_array_foreach(a,i,v)=while((i=json_array_size(a)),(v=json_array_get(a,i)))' \
	'-Djson_object_foreach(o,k,v)=while((k=json_object_iter_key(o)),(v=json_object_get(o,k)))'
analyze:
	cppcheck $(CPPCHECK) $$(git ls-files '*.c' | grep -v ^tests/)
	$(MAKE) B=build/analyze CFLAGS='-g -fanalyzer' all
	sh tests/check-shell.sh
clean:
	rm -rf build
help:
	@sed -n '2,4s/^# //p' Makefile
	@echo '                              make images | bench-images | install DESTDIR= | unit | fuzz | analyze | format | clean'
.PHONY: format analyze clean help
