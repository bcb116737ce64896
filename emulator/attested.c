#include "emulator/attested.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "emulator/arm.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>

#define LIFETIME_MS (INT64_C(6) * 60 * 60 * 1000)
#define TIME_SIZE   32

AUTO_DEFINE(pkcs7, PKCS7 *, PKCS7_free)
AUTO_DEFINE(bio, BIO *, BIO_free_all)

bool attested_nonce_valid(const char *nonce)
{
    size_t n = strlen(nonce);
    return n > 0 && n <= 10 && strspn(nonce, "0123456789") == n;
}

/* "11/20/18 22:07:39 -0000" */
static void write_time(int64_t ms, char out[TIME_SIZE])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    snprintf(out, TIME_SIZE, "%02u/%02u/%02u %02u:%02u:%02u -0000", (unsigned)tm.tm_mon % 12 + 1,
             (unsigned)tm.tm_mday % 32, (unsigned)tm.tm_year % 100, (unsigned)tm.tm_hour % 24,
             (unsigned)tm.tm_min % 60, (unsigned)tm.tm_sec % 61);
}

static char *content_of(const json_t *vm, const char *nonce, int64_t now)
{
    char created[TIME_SIZE], expires[TIME_SIZE];
    const char *id = arm_text(vm, "id");
    const char *sub = id + strlen("/subscriptions/");
    const json_t *image = json_path(vm, "properties/storageProfile/imageReference");
    write_time(now, created);
    write_time(now + LIFETIME_MS, expires);
    AUTO(json)
    json_t *v = json_pack(
        "{ss so ss ss ss s{ss ss} s{ss ss ss}}", "vmId", arm_text(vm, "properties/vmId"),
        "subscriptionId", json_stringn(sub, strcspn(sub, "/")), "licenseType", "", "sku",
        arm_text(image, "sku"), "nonce", nonce ? nonce : created, "timeStamp", "createdOn", created,
        "expiresOn", expires, "plan", "name", "", "product", "", "publisher", "");
    char *text = json_dumps(v, JSON_COMPACT);
    if (!text)
        abort();
    return text;
}

json_t *attested_document(const struct keys *k, const json_t *vm, const char *nonce, int64_t now)
{
    AUTO(free) char *content = content_of(vm, nonce, now);
    AUTO(bio) BIO *in = BIO_new_mem_buf(content, -1);
    /* As Azure's: the content itself is signed, without signed attributes. */
    AUTO(pkcs7)
    PKCS7 *p7 = PKCS7_sign(k->metadata_cert, k->metadata, NULL, in, PKCS7_BINARY | PKCS7_NOATTR);
    unsigned char *der = NULL;
    int n = p7 ? i2d_PKCS7(p7, &der) : 0;
    if (n <= 0)
        abort();
    AUTO(free) char *text = malloc((size_t)n / 3 * 4 + 5);
    if (!text)
        abort();
    size_t len = base64_encode(BYTES(der, (size_t)n), text);
    OPENSSL_free(der);
    ERR_clear_error();
    return json_pack("{ss ss%}", "encoding", "pkcs7", "signature", text, len);
}
