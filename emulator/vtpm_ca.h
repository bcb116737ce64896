/*
 * The certificates of the emulator's hardware: the vTPM hierarchy (root, issuing CA, AK
 * certificates) and the Secure Boot certificates of its firmware and images.
 *
 * Made once in the state directory. Only the issuing CA's key is kept (0600); the root's and those
 * of the Secure Boot certificates are forgotten as soon as they have signed. Read-only after it was
 * opened; vtpm_ca_issue may be called by several threads.
 */
#ifndef EMULATOR_VTPM_CA_H
#define EMULATOR_VTPM_CA_H

#include "core/buf.h"
#include "core/clock.h"
#include "core/err.h"
#include "emulator/bootlog.h"

struct vtpm_ca;

/* Opens trust/vtpm-root.pem, trust/vtpm-ca.pem, vtpm-ca.key and firmware/ of `state_dir`, or makes
 * them all where the set is not complete. The caller frees. */
enum err vtpm_ca_open(const char *state_dir, const struct clock *clock, struct vtpm_ca **out,
                      struct err_info *e) MUST_CHECK;
void vtpm_ca_free(struct vtpm_ca *ca); /* NULL is fine */

/* Views that live as long as the CA. */
const struct bootlog_keys *vtpm_ca_keys(const struct vtpm_ca *ca);

/* An AK certificate (DER, appended) for the RSA key with this modulus and e = 65537, with Azure's
 * subject pattern and extensions, valid for a year. */
enum err vtpm_ca_issue(const struct vtpm_ca *ca, const char *vm_id, struct bytes modulus,
                       struct buf *der, struct err_info *e) MUST_CHECK;
/* True where `der` is exactly one certificate of this CA for this key that is good for 30 days
 * more. */
bool vtpm_ca_holds(const struct vtpm_ca *ca, struct bytes der, struct bytes modulus);

#endif
