/* What the agent reads from the guest's file system. Results live in the arena. */
#ifndef GUEST_FILES_H
#define GUEST_FILES_H

#include "attest/wire.h"

#define GUEST_EVENT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"
/* Issuers of the AK certificate (PEM), for a gateway that does not hold them. Optional. */
#define GUEST_CHAIN_FILE "/etc/tlgate-agent/ak-chain.pem"

/* Reads to the end, whatever size stat tells: files of securityfs have size 0. ERR_NOT_FOUND,
 * ERR_FORBIDDEN, ERR_UNAVAILABLE, or ERR_BODY_TOO_LARGE beyond `max` bytes. */
enum err guest_file_read(const char *path, size_t max, struct arena *a, struct bytes *out,
                         struct err_info *e) MUST_CHECK;
/* A token in a file, without the blanks and line ends around it. ERR_BAD_REQUEST where it is empty. */
enum err guest_token_read(const char *path, struct arena *a, struct secret *out,
                          struct err_info *e) MUST_CHECK;
/* The certificates of a PEM file as DER, up to EVIDENCE_CHAIN_MAX; none where there is no file. */
enum err guest_chain_read(const char *path, struct arena *a, struct evidence *out,
                          struct err_info *e) MUST_CHECK;
/* What guest_chain_read takes of the file's content. */
void guest_chain_parse(struct bytes pem, struct arena *a, struct evidence *out);

#endif
