/* Entity tags (RFC 9110 section 8.8.3) and If-None-Match (section 13.1.2). Pure; any thread. */
#ifndef HANDLERS_ETAG_H
#define HANDLERS_ETAG_H

#include "core/bytes.h"

#define ETAG_SIZE 33

/* 32 hex digits of the bytes' SHA-256. */
void etag_of(struct bytes body, char out[ETAG_SIZE]);
/* True where the field value is "*" or lists `etag` (the opaque part), by weak comparison. A field
 * that breaks the grammar matches nothing. NULL matches nothing. */
bool etag_listed(const char *if_none_match, const char *etag);

#endif
