#include "emulator/maa.h"
#include "emulator/arm.h"
#include "emulator/jwt.h"
#include "emulator/tpm.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define LIFETIME_S (8 * 3600)
#define LOG_MAX    (256 * 1024)
#define KEY_FILE   "maa.key"
#define ATTEST     "/attest/AzureGuest"
#define DISCOVERY  "/.well-known/openid-configuration"
#define CERTS      "/certs"
#define POLICY     "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs" /* as Azure's default policy has it */

AUTO_DEFINE(x509, X509 *, X509_free)
AUTO_DEFINE(bio, BIO *, BIO_free_all)

static void refuse(struct http_response *resp, int status, const char *code, const char *message)
{
    http_reply_json(resp, status,
                    json_pack("{s{ss ss}}", "error", "code", code, "message", message));
}

/* ---- keys ---- */

static void name_key(struct maa_key *k)
{
    unsigned char *der = NULL;
    uint8_t digest[32];
    int n = i2d_PUBKEY(k->pkey, &der);
    if (n <= 0 || !EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL))
        abort();
    OPENSSL_free(der);
    base64_encode(BYTES_OF(digest), k->kid); /* of the alphabet with + and /, as Azure has it */
}

static enum err save_key(struct emulator *em, EVP_PKEY *key, struct err_info *e)
{
    AUTO(bio) BIO *b = BIO_new(BIO_s_mem());
    char *data;
    if (!b || PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
        abort();
    long n = BIO_get_mem_data(b, &data);
    AUTO(free) char *text = strndup(data, (size_t)n);
    return keys_write_file(em->dir, KEY_FILE, text, true, e);
}

static EVP_PKEY *read_key(const struct emulator *em)
{
    char path[sizeof em->dir + sizeof KEY_FILE + 1];
    snprintf(path, sizeof path, "%s/" KEY_FILE, em->dir);
    AUTO(file) FILE *f = fopen(path, "re");
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    ERR_clear_error();
    return key;
}

static enum err new_key(struct emulator *em, struct err_info *e)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    if (!key)
        abort();
    em->maa.key.pkey = key;
    name_key(&em->maa.key);
    return save_key(em, key, e);
}

enum err maa_open(struct emulator *em, struct err_info *e)
{
    em->maa.claims = json_object();
    em->maa.key.pkey = read_key(em);
    if (!em->maa.key.pkey)
        return new_key(em, e);
    name_key(&em->maa.key);
    return OK;
}

void maa_close(struct emulator *em)
{
    EVP_PKEY_free(em->maa.key.pkey);
    EVP_PKEY_free(em->maa.former.pkey);
    json_decref(em->maa.claims);
}

/* Base64 of a certificate that the key has issued to itself. */
static char *certificate(EVP_PKEY *key)
{
    AUTO(x509) X509 *x = X509_new();
    unsigned char *der = NULL;
    if (!x || X509_set_version(x, X509_VERSION_3) != 1 ||
        !X509_gmtime_adj(X509_getm_notBefore(x), -3600) ||
        !X509_gmtime_adj(X509_getm_notAfter(x), 365L * 24 * 3600) || X509_set_pubkey(x, key) != 1 ||
        X509_sign(x, key, EVP_sha256()) <= 0)
        abort();
    int n = i2d_X509(x, &der);
    char *text = malloc(BASE64_SIZE((size_t)n));
    if (!text)
        abort();
    base64_encode(BYTES(der, (size_t)n), text);
    OPENSSL_free(der);
    return text;
}

static void add_key(json_t *keys, const struct maa_key *k, bool bare)
{
    if (!k->pkey)
        return;
    if (bare) {
        json_array_append_new(keys, jwt_jwk(k->pkey, k->kid));
        return;
    }
    AUTO(free) char *x5c = certificate(k->pkey);
    json_array_append_new(keys, json_pack("{s[s] ss ss}", "x5c", x5c, "kid", k->kid, "kty", "RSA"));
}

static void send_keys(struct emulator *em, struct http_response *resp)
{
    json_t *keys = json_array();
    add_key(keys, &em->maa.key, em->maa.bare_keys);
    add_key(keys, &em->maa.former, em->maa.bare_keys);
    http_reply_json(resp, 200, json_pack("{so}", "keys", keys));
}

static void send_discovery(struct emulator *em, struct http_response *resp)
{
    http_reply_json(resp, 200,
                    json_pack("{ss ss+ s[ss] s[s] ss+}", "issuer", em->arm_url, "jwks_uri",
                              em->arm_url, CERTS, "response_types_supported", "token", "none",
                              "id_token_signing_alg_values_supported", "RS256",
                              "revocation_endpoint", em->arm_url, "/revoke"));
}

/* ---- tokens ---- */

/* The SecureBoot variable that the present boot measured (PFP 1.05, 10.2.6: the value follows the name). */
static bool booted_securely(const char *event_log)
{
    static const char name[] =
        "S\0e\0c\0u\0r\0e\0B\0o\0o\0t"; /* UTF-16LE; the array's end is its last zero */
    AUTO(file) FILE *f = fopen(event_log, "rbe");
    AUTO(free) uint8_t *log = malloc(LOG_MAX);
    if (!log)
        abort();
    size_t n = f ? fread(log, 1, LOG_MAX, f) : 0;
    const uint8_t *at = memmem(log, n, name, sizeof name);
    return at && at + sizeof name < log + n && at[sizeof name] == 1;
}

static json_t *flags_of(bool secure_boot)
{
    return json_pack("{sb sb sb sb sb sb sb sb sb sb sb sb}", "secureboot", secure_boot,
                     "x-ms-azurevm-dbvalidated", 1, "x-ms-azurevm-dbxvalidated", 1,
                     "x-ms-azurevm-debuggersdisabled", 1,
                     "x-ms-azurevm-default-securebootkeysvalidated", 1,
                     "x-ms-azurevm-bootdebug-enabled", 0, "x-ms-azurevm-elam-enabled", 0,
                     "x-ms-azurevm-flightsigning-enabled", 0,
                     "x-ms-azurevm-hypervisordebug-enabled", 0, "x-ms-azurevm-kerneldebug-enabled",
                     0, "x-ms-azurevm-signingdisabled", 1, "x-ms-azurevm-testsigning-enabled", 0);
}

static json_t *claims_of(const struct emulator *em, const char *vm_id, const char *event_log,
                         json_t *payload)
{
    json_int_t now = clock_wall(em->clock) / 1000;
    uint8_t id[32];
    char jti[65], vm[UUID_SIZE];
    random_bytes(id, sizeof id);
    hex_encode(BYTES_OF(id), jti);
    for (size_t i = 0; i < sizeof vm; i++)
        vm[i] = (char)(vm_id[i] >= 'a' && vm_id[i] <= 'f' ? vm_id[i] - 32 : vm_id[i]);
    json_t *c = flags_of(booted_securely(event_log));
    json_t *more =
        json_pack("{ss sI sI sI ss ss ss ss s[iiiiiiii] ss ss ss ss s{sO}}", "iss", em->arm_url,
                  "iat", now, "nbf", now, "exp", now + LIFETIME_S, "jti", jti, "x-ms-ver", "1.0",
                  "x-ms-attestation-type", "azurevm", "x-ms-azurevm-attestation-protocol-ver",
                  "2.0", "x-ms-azurevm-attested-pcrs", 0, 1, 2, 3, 4, 5, 6, 7, "x-ms-azurevm-vmid",
                  vm, "x-ms-azurevm-ostype", "Linux", "x-ms-azurevm-osdistro", "Ubuntu",
                  "x-ms-policy-hash", POLICY, "x-ms-runtime", "client-payload", payload);
    json_object_update(c, more);
    json_decref(more);
    return c;
}

/* What the tests want to be different. */
static void change(json_t *claims, const json_t *changes)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)changes, name, value)
    {
        if (json_is_null(value))
            json_object_del(claims, name);
        else
            json_object_set(claims, name, value);
    }
}

static void send_token(struct emulator *em, const char *vm_id, const char *event_log,
                       json_t *payload, struct http_response *resp)
{
    AUTO(json) json_t *claims = claims_of(em, vm_id, event_log, payload);
    change(claims, em->maa.claims);
    AUTO(json)
    json_t *header = json_pack("{ss ss+ ss ss}", "alg", "RS256", "jku", em->arm_url, CERTS, "kid",
                               em->maa.key.kid, "typ", "JWT");
    AUTO(free) char *token = jwt_sign_with(em->maa.key.pkey, header, claims);
    http_reply_json(resp, 200, json_pack("{ss}", "token", token));
}

/* {"AttestationInfo": base64url} -> what is in it, a new object; NULL: it is not that. */
static json_t *read_info(const struct http_request *req)
{
    AUTO(json)
    json_t *body =
        json_loadb((const char *)req->body.data, req->body.len, JSON_REJECT_DUPLICATES, NULL);
    const char *text = json_string_value(json_object_get(body, "AttestationInfo"));
    size_t n = text ? strlen(text) : 0, len = 0;
    AUTO(free) uint8_t *raw = malloc(n + 1);
    if (!raw || !text || !base64url_decode(text, n, raw, n, &len))
        return NULL;
    return json_loadb((const char *)raw, len, JSON_REJECT_DUPLICATES, NULL);
}

static void attest(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    AUTO(json) json_t *info = read_info(req);
    const char *vm_id = json_string_value(json_object_get(info, "VmId"));
    json_t *payload = json_object_get(info, "ClientPayload");
    struct tpm_answer tpm;
    struct err_info e = {0};
    if (!vm_id || !uuid_valid(vm_id) || !json_is_object(payload) ||
        !http_query(req, "api-version")) {
        refuse(resp, 400, "InvalidParameter",
               "api-version and AttestationInfo with VmId and ClientPayload are needed");
        return;
    }
    if (tpm_of_vm(em, vm_id, &tpm, &e)) {
        refuse(resp, 400, "InvalidOperation", e.detail);
        return;
    }
    if (tpm.has_tpm) {
        pthread_mutex_lock(&em->lock);
        send_token(em, vm_id, tpm.at.event_log, payload, resp);
        pthread_mutex_unlock(&em->lock);
    } else {
        refuse(resp, 400, "InvalidOperation", "the VM has no vTPM, or does not run");
    }
    json_decref(tpm.vm);
    json_decref(tpm.user_data);
}

/* ---- calls ---- */

bool maa_owns(const struct http_request *req)
{
    return strcmp(req->path, DISCOVERY) == 0 || strcmp(req->path, CERTS) == 0 ||
           strcmp(req->path, ATTEST) == 0;
}

void maa_handle(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    bool post = strcmp(req->path, ATTEST) == 0;
    if (strcmp(req->method, post ? "POST" : "GET") != 0) {
        refuse(resp, 405, "MethodNotAllowed", post ? "POST it" : "GET it");
        return;
    }
    if (post) {
        attest(em, req, resp);
        return;
    }
    pthread_mutex_lock(&em->lock);
    if (strcmp(req->path, CERTS) == 0)
        send_keys(em, resp);
    else
        send_discovery(em, resp);
    pthread_mutex_unlock(&em->lock);
}

static void configure(struct emulator *em, const json_t *body, struct http_response *resp)
{
    json_t *claims = json_object_get(body, "claims");
    json_decref(em->maa.claims);
    em->maa.claims = json_is_object(claims) ? json_incref(claims) : json_object();
    em->maa.bare_keys = json_is_true(json_object_get(body, "bareKeys"));
    resp->status = 204;
}

static void rotate(struct emulator *em, const json_t *body, struct http_response *resp)
{
    struct err_info e = {0};
    EVP_PKEY_free(em->maa.former.pkey);
    em->maa.former = em->maa.key;
    if (!json_is_true(json_object_get(body, "keepFormer"))) {
        EVP_PKEY_free(em->maa.former.pkey);
        em->maa.former.pkey = NULL;
    }
    if (new_key(em, &e))
        refuse(resp, 500, "InternalError", e.detail);
    else
        http_reply_json(resp, 200, json_pack("{ss}", "kid", em->maa.key.kid));
}

bool maa_control(struct emulator *em, const char *what, const struct http_request *req,
                 struct http_response *resp)
{
    bool put = strcmp(what, "attestation") == 0 && strcmp(req->method, "PUT") == 0;
    bool post = strcmp(what, "attestation/rotate") == 0 && strcmp(req->method, "POST") == 0;
    if (!put && !post)
        return false;
    AUTO(json)
    json_t *body =
        json_loadb((const char *)req->body.data, req->body.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(body))
        refuse(resp, 400, "BadRequest", "the body is a JSON object");
    else if (put)
        configure(em, body, resp);
    else
        rotate(em, body, resp);
    return true;
}
