/*
 * The Azure Instance Metadata Service: who this VM is, and what its owner left for the agent.
 *
 * The enrolment is the VM's userData: base64 of {"gateway":"https://...","enrollmentToken":"..."}.
 * One thread; results live in the arena, which wipes the token.
 */
#ifndef GUEST_IMDS_H
#define GUEST_IMDS_H

#include "core/secret.h"
#include "guest/http.h"

#define GUEST_IMDS_DEFAULT "http://169.254.169.254"

struct guest_identity {
    const char *vm_id;   /* NULL: not known */
    const char *gateway; /* NULL: none in userData */
    struct secret token; /* empty: none in userData */
};

/* Asks the service at `base`. `vm_id`, where not NULL, is sent as a hint for an emulator that
 * serves several VMs. ERR_UNAVAILABLE where there is no usable answer. */
enum err guest_imds_read(struct guest_http *h, const char *base, const char *vm_id, struct arena *a,
                         struct guest_identity *out, struct err_info *e) MUST_CHECK;

/* The attested document over a nonce of ten digits (PKCS#7, DER). Errors as above, and ERR_UPSTREAM
 * where the answer is not one. */
enum err guest_imds_document(struct guest_http *h, const char *base, const char *vm_id,
                             const char *nonce, struct arena *a, struct bytes *out,
                             struct err_info *e) MUST_CHECK;
/* The answer of the service to that. */
enum err guest_imds_document_parse(struct bytes answer, struct arena *a, struct bytes *out,
                                   struct err_info *e) MUST_CHECK;

/* The instance document as the service sends it. User data that is not an enrolment is ignored: it
 * may be the owner's own. ERR_BAD_REQUEST where the document is not JSON or has no vmId. */
enum err guest_imds_parse(struct bytes document, struct arena *a, struct guest_identity *out,
                          struct err_info *e) MUST_CHECK;

#endif
