#include "guest/imds.h"

#include "attest/wire.h"
#include "core/clock.h"
#include "core/json.h"

#define IMDS_TIMEOUT_MS 5000
/* userData came with 2021-01-01. */
#define IMDS_PATH     "/metadata/instance?api-version=2021-02-01"
#define DOCUMENT_PATH "/metadata/attested/document?api-version=2021-02-01"
#define USER_DATA_MAX 65536u /* Azure's own limit for userData, in base64 */

static void take_enrollment(const char *user_data, struct arena *a, struct guest_identity *out)
{
    size_t len = strlen(user_data), n = 0;
    if (!len || len > USER_DATA_MAX)
        return;
    uint8_t *raw = arena_alloc(a, len / 4 * 3 + 1);
    AUTO(json) json_t *v = NULL;
    if (!base64_decode(user_data, len, raw, &n) || json_parse(BYTES(raw, n), &v, NULL) != OK)
        return;
    const char *token = json_path_str(v, "enrollmentToken");
    out->gateway = arena_strdup(a, json_path_str(v, "gateway"));
    if (token)
        out->token = secret_in(a, token, strlen(token));
}

enum err guest_imds_parse(struct bytes document, struct arena *a, struct guest_identity *out,
                          struct err_info *e)
{
    *out = (struct guest_identity){0};
    AUTO(json) json_t *v = NULL;
    enum err rc = json_parse(document, &v, e);
    if (rc != OK)
        return rc;
    const char *vm_id = json_path_str(v, "compute/vmId");
    const char *user_data = json_path_str(v, "compute/userData");
    if (!vm_id || !uuid_valid(vm_id))
        return err_set(e, ERR_BAD_REQUEST, "IMDS names no vmId");
    out->vm_id = arena_strdup(a, vm_id);
    if (user_data)
        take_enrollment(user_data, a, out);
    return OK;
}

/* GET of a path with its query; ERR_UNAVAILABLE unless the answer is 200. */
static enum err ask(struct guest_http *h, const char *base, const char *path, const char *vm_id,
                    struct arena *a, struct bytes *out, struct err_info *e)
{
    size_t len = strlen(base);
    while (len && base[len - 1] == '/')
        len--;
    struct guest_http_request r = {.url = arena_printf(a, "%.*s%s", (int)len, base, path),
                                   .headers = {"Metadata: true"},
                                   .direct = true,
                                   .timeout_ms = IMDS_TIMEOUT_MS};
    if (vm_id)
        r.headers[1] = arena_printf(a, "X-Vm-Id: %s", vm_id);
    struct guest_http_response answer = {0};
    enum err rc = guest_http_send(h, &r, a, &answer, e);
    if (rc != OK)
        return rc;
    if (answer.status != 200)
        return err_set(e, ERR_UNAVAILABLE, "IMDS answers %ld", answer.status);
    *out = answer.body;
    return OK;
}

enum err guest_imds_read(struct guest_http *h, const char *base, const char *vm_id, struct arena *a,
                         struct guest_identity *out, struct err_info *e)
{
    struct bytes body = {0};
    enum err rc = ask(h, base, IMDS_PATH, vm_id, a, &body, e);
    return rc == OK ? guest_imds_parse(body, a, out, e) : rc;
}

enum err guest_imds_document_parse(struct bytes answer, struct arena *a, struct bytes *out,
                                   struct err_info *e)
{
    AUTO(json) json_t *v = NULL;
    if (json_parse(answer, &v, NULL) != OK)
        return err_set(e, ERR_UPSTREAM, "IMDS: the attested document is not JSON");
    const char *encoding = json_path_str(v, "encoding");
    const char *text = json_path_str(v, "signature");
    size_t len = text ? strlen(text) : 0, n = 0;
    if (!encoding || strcmp(encoding, "pkcs7") != 0 || !len || len > EVIDENCE_DOCUMENT_MAX / 3 * 4)
        return err_set(e, ERR_UPSTREAM, "IMDS: the attested document is not PKCS#7");
    uint8_t *der = arena_alloc(a, len / 4 * 3 + 3);
    if (!base64_decode(text, len, der, &n))
        return err_set(e, ERR_UPSTREAM, "IMDS: the attested document is not base64");
    *out = BYTES(der, n);
    return OK;
}

enum err guest_imds_document(struct guest_http *h, const char *base, const char *vm_id,
                             const char *nonce, struct arena *a, struct bytes *out,
                             struct err_info *e)
{
    struct bytes body = {0};
    enum err rc =
        ask(h, base, arena_printf(a, DOCUMENT_PATH "&nonce=%s", nonce), vm_id, a, &body, e);
    return rc == OK ? guest_imds_document_parse(body, a, out, e) : rc;
}
