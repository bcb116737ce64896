/* Files of the trust directory: whole or not at all, readable by all, writable by their owner. */
#ifndef SERVER_TRUST_FILE_H
#define SERVER_TRUST_FILE_H

#include "core/buf.h"
#include "core/err.h"

/* Makes the directory (0755) where it is not there. ERR_CONFIG where it is none, or where anybody may
 * write: whoever writes there decides what is trusted. */
enum err trust_file_dir(const char *dir, struct err_info *e) MUST_CHECK;
/* Durable when it returns; a reader sees the old file or the new one. */
enum err trust_file_write(const char *dir, const char *name, struct bytes content,
                          struct err_info *e) MUST_CHECK;
/* The certificate as PEM, appended. */
void trust_file_pem(struct bytes der, struct buf *out);

#endif
