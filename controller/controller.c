/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a controller, opened in the order in which they need each other and closed in the
 * mirror order.
 *
 * The state directory is ours alone (0700): it holds the CA's key and the database with peers'
 * tokens. The listeners come last but one, so that no request meets a half-open controller; the
 * moving part comes last, because it acts as soon as it exists. */
#include "controller/controller.h"

#include <sys/stat.h>
#include "controller/api/auth.h"
#include "controller/api/bootfiles.h"
#include "controller/api/checks.h"
#include "controller/api/http.h"
#include "controller/api/importer.h"
#include "controller/api/uploads.h"
#include "controller/drive/drive.h"
#include "controller/pki.h"
#include "controller/store/lab.h"
#include "controller/store/store.h"
#include "images/publication.h"
#include "lib/file.h"
#include "lib/log.h"

static int make_folders(const struct config *config, struct error **err)
{
	static const char *const folders[] = {
		"", "/incoming", "/loading", "/runs", "/store", "/tls"};
	int r = 0;
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(folders); i++) {
		auto_free char *path = xasprintf("%s%s", config->state_dir, folders[i]);
		r = file_mkdirs(path, 0700, err);
	}
	return r;
}

/* Every address under which somebody may reach us. */
static void own_addresses(const struct config *config, struct strings *ret_addresses)
{
	char text[IP4_TEXT];
	auto_free char *copy = xstrdup(config->listen);
	char *rest = copy, *item = NULL;
	vec_push(ret_addresses, xstrdup("127.0.0.1"));
	vec_push(ret_addresses, xstrdup(ip4_format(config->lan_address.address, text)));
	if (config->uplink_address.host)
		vec_push(ret_addresses, xstrdup(ip4_format(config->uplink_address, text)));
	while ((item = strsep(&rest, ", "))) {
		bool known = !*item || strcmp(item, "0.0.0.0") == 0;
		vec_each (char *, other, ret_addresses)
			known = known || strcmp(*other, item) == 0;
		if (!known)
			vec_push(ret_addresses, xstrdup(item));
	}
}

static int open_state(struct controller *controller, struct error **err)
{
	const struct config *config = &controller->config;
	auto_free char *database = xasprintf("%s/nightclass.db", config->state_dir);
	auto_free char *tls = xasprintf("%s/tls", config->state_dir);
	auto_free char *token = xasprintf("%s/admin.token", config->state_dir);
	auto_free char *key = xasprintf("%s/tls/publication.key", config->state_dir);
	struct strings addresses = {0};
	char address[IP4_TEXT];
	umask(0077);
	int r = make_folders(config, err);
	if (r >= 0)
		r = store_open(database, &controller->store, err);
	if (r >= 0)
		r = token_first(controller->store, token, err);
	if (r < 0)
		return r;
	struct ip4 reach =
		config->uplink_address.host ? config->uplink_address : config->lan_address.address;
	auto_free char *url =
		xasprintf("https://%s:%u", ip4_format(reach, address), config->api_port);
	r = store_lab_set_self(controller->store, config->lab, url, err);
	if (r < 0)
		return r;
	own_addresses(config, &addresses);
	r = pki_open(tls, config->lab, &addresses, &controller->pki, err);
	strings_done(&addresses);
	return r < 0 ? r : publisher_open(key, &controller->publisher, err);
}

int controller_init(struct controller *controller, const char *config_path, struct error **err)
{
	enum log_level level = LOG_LEVEL_INFO;
	*controller = (struct controller){0};
	int r = config_load(config_path, &controller->config, err);
	if (r < 0)
		return r;
	log_level_parse(controller->config.log_level, &level);
	log_init("nightclassd", level);
	r = loop_new(&controller->loop, err);
	if (r >= 0)
		r = open_state(controller, err);
	if (r >= 0) {
		controller->bootfiles = bootfiles_new(controller);
		controller->uploads = uploads_new(controller);
		controller->checks = checks_new(controller);
		r = importer_new(controller, &controller->importer, err);
	}
	if (r >= 0)
		r = http_new(controller, &controller->http, err);
	if (r >= 0)
		r = drive_new(controller, &controller->drive, err);
	if (r < 0) {
		controller_done(controller);
		return r;
	}
	bootfiles_prepare(controller->bootfiles);
	return 0;
}

void controller_done(struct controller *controller)
{
	drive_free(controller->drive);
	controller->drive = NULL;
	http_free(controller->http);
	controller->http = NULL;
	importer_free(controller->importer);
	checks_stop(controller->checks);
	uploads_stop(controller->uploads);
	if (controller->loop)
		loop_free(controller->loop);
	checks_free(controller->checks);
	uploads_free(controller->uploads);
	bootfiles_free(controller->bootfiles);
	publisher_free(controller->publisher);
	pki_free(controller->pki);
	store_close(controller->store);
	config_done(&controller->config);
	*controller = (struct controller){0};
}
