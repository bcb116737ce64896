/*
 * The gateway: every part of a running server, put together in one place and taken apart in the
 * opposite order.
 */
#ifndef SERVER_GATEWAY_H
#define SERVER_GATEWAY_H

#include "server/settings.h"

#include <stdatomic.h>

struct gateway;

/* What gateway_start would refuse of the settings and the files that they name. Opens nothing for
 * longer, writes nothing. ERR_CONFIG. */
enum err gateway_check(const struct settings *settings, struct err_info *e) MUST_CHECK;
/* Opens the store, starts engine, ARM client and listener. ERR_CONFIG and the store's errors. The
 * settings must outlive it. */
enum err gateway_start(const struct settings *settings, struct gateway **out,
                       struct err_info *e) MUST_CHECK;
/* "https://127.0.0.1:8443" */
const char *gateway_url(const struct gateway *g);

/* Reads the certificates of attestation.trust_dir and trust_anchor again; what cannot be read leaves
 * those that are in use. Any thread. */
void gateway_reload(struct gateway *g);
/* /readyz says no from here on. */
void gateway_not_ready(struct gateway *g);
/* No new connections; streams end. */
void gateway_drain(struct gateway *g);
/* Requests that are still under way. */
int gateway_busy(struct gateway *g);
/* After gateway_drain and with gateway_busy 0 only. */
void gateway_stop(struct gateway *g);

#endif
