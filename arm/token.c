#include "arm/token.h"

#include "arm/text.h"
#include "arm/url.h"
#include "core/json.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

/* ---- the request ---- */

/* The file's text without the blanks around it. */
static enum err file_text(struct arena *a, const char *path, struct secret *out, struct err_info *e)
{
    struct stat st;
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_set(e, ERR_CONFIG, "cannot read %s: %s", path, strerrordesc_np(errno));
    if (!S_ISREG(st.st_mode) || st.st_size > ARM_TOKEN_FILE_MAX)
        return err_set(e, ERR_CONFIG, "%s is not a file of at most %d bytes", path,
                       ARM_TOKEN_FILE_MAX);
    char *text = arena_alloc(a, (size_t)st.st_size + 1);
    ssize_t got = read(fd, text, (size_t)st.st_size);
    size_t n = got > 0 ? (size_t)got : 0;
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    text[n] = '\0';
    if (n == 0 || strlen(text) != n)
        return err_set(e, ERR_CONFIG, "%s holds no text", path);
    *out = (struct secret){text, n};
    return OK;
}

static void form_add(struct buf *form, const char *name, const char *value)
{
    if (form->len)
        buf_add_char(form, '&');
    buf_add_str(form, name);
    buf_add_char(form, '=');
    arm_url_encode(form, value);
}

static void imds_request(struct arena *a, const struct arm_identity *id, const char *imds,
                         struct arm_token_request *out)
{
    struct buf url = {0};
    buf_printf(&url, "%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=",
               imds ? imds : ARM_TOKEN_IMDS);
    arm_url_encode(&url, id->audience);
    if (id->client_id) {
        buf_add_str(&url, "&client_id=");
        arm_url_encode(&url, id->client_id);
    }
    *out = (struct arm_token_request){
        .method = ARM_GET, .imds = true, .url = arena_strdup(a, url.data)};
    buf_free(&url);
}

enum err arm_token_request(struct arena *a, const struct arm_identity *id, const char *imds,
                           struct arm_token_request *out, struct err_info *e)
{
    struct secret proof = id->client_secret;
    const char *file =
        id->kind == ARM_WORKLOAD_IDENTITY ? id->federated_token_file : id->client_secret_file;
    if (id->kind == ARM_MANAGED_IDENTITY) {
        imds_request(a, id, imds, out);
        return OK;
    }
    if (file && file_text(a, file, &proof, e) != OK)
        return ERR_CONFIG;
    struct buf form = {0};
    form_add(&form, "client_id", id->client_id);
    buf_add_str(&form, "&scope=");
    arm_url_encode(&form, id->audience);
    buf_add_str(&form, "%2F.default");
    form_add(&form, "grant_type", "client_credentials");
    if (id->kind == ARM_WORKLOAD_IDENTITY) {
        form_add(&form, "client_assertion_type", ASSERTION_TYPE);
        form_add(&form, "client_assertion", proof.text);
    } else {
        form_add(&form, "client_secret", proof.text);
    }
    *out = (struct arm_token_request){
        .method = ARM_POST,
        .url = arena_printf(a, "%s/%s/oauth2/v2.0/token", id->authority, id->tenant_id),
        .form = arena_copy(a, buf_bytes(&form)),
    };
    buf_free(&form);
    return OK;
}

/* ---- the answer ---- */

/* IMDS sends numbers as strings. -1 where it is neither. */
static int64_t seconds(const json_t *v)
{
    if (json_is_integer(v))
        return json_integer_value(v);
    const char *s = json_string_value(v);
    if (!s || !*s || strspn(s, "0123456789") != strlen(s) || strlen(s) > 9)
        return -1;
    return strtol(s, NULL, 10);
}

/* RFC 6750 b64token: what may follow "Bearer " in a header. */
static bool token_chars_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("-._~+/=", s[i]))
            return false;
    return n > 0 && n <= ARM_TOKEN_MAX;
}

static enum err read_token(struct arena *a, const json_t *body, struct arm_token *out,
                           struct err_info *e)
{
    const json_t *text = json_object_get(body, "access_token");
    const char *type = json_path_str(body, "token_type");
    int64_t lifetime = seconds(json_object_get(body, "expires_in"));
    if (!json_is_string(text) || !token_chars_ok(json_string_value(text), json_string_length(text)))
        return err_set(e, ERR_UPSTREAM, "the token endpoint's answer has no usable access_token");
    if (type && strcasecmp(type, "Bearer") != 0)
        return err_set(e, ERR_UPSTREAM, "the token endpoint gave a token that is not Bearer");
    if (lifetime <= 0 || lifetime > 7 * 24 * 3600)
        return err_set(e, ERR_UPSTREAM, "the token endpoint's answer has no usable expires_in");
    out->text = secret_in(a, json_string_value(text), json_string_length(text));
    out->lifetime_ms = lifetime * 1000;
    return OK;
}

/* "AADSTS7000215" of "AADSTS7000215: Invalid client secret ..."; else OAuth's error
 * ("invalid_client"). */
static void error_code(const json_t *body, char *out, size_t size)
{
    const char *text = json_path_str(body, "error_description");
    size_t n = text && strncmp(text, "AADSTS", 6) == 0 ? 6 + strspn(text + 6, "0123456789") : 0;
    if (n > 6 && n < size) {
        memcpy(out, text, n);
        out[n] = '\0';
        return;
    }
    arm_text_copy(out, size, json_path_str(body, "error"));
}

/* Entra's text up to the ids of this one request, which stand on lines of their own or behind. */
static void describe(char *out, size_t size, const char *text)
{
    arm_text_first_line(out, size, text);
    char *ids = strstr(out, " Trace ID:");
    if (ids)
        *ids = '\0';
}

/* A busy or starting service (IMDS: 404 while the identity is attached, 410 while it is updated).
 */
static bool worth_retrying(const struct arm_identity *id, const struct arm_reply *r,
                           const char *oauth_error)
{
    if (r->failure != ARM_FAIL_NONE || r->status == 408 || r->status == 429 || r->status >= 500)
        return true;
    if (id->kind == ARM_MANAGED_IDENTITY && (r->status == 404 || r->status == 410))
        return true;
    return oauth_error && strcmp(oauth_error, "temporarily_unavailable") == 0;
}

static enum err read_error(const struct arm_identity *id, const struct arm_reply *r,
                           const json_t *body, struct err_info *e)
{
    char code[64] = "";
    char text[200];
    const char *oauth_error = json_path_str(body, "error");
    enum err kind = worth_retrying(id, r, oauth_error) ? ERR_UPSTREAM : ERR_UPSTREAM_FORBIDDEN;
    error_code(body, code, sizeof code);
    describe(text, sizeof text, json_path_str(body, "error_description"));
    if (r->failure != ARM_FAIL_NONE)
        err_set(e, kind, "no token for identity %s: %s", id->name, r->detail);
    else if (text[0])
        err_set(e, kind, "no token for identity %s: HTTP status %d: %s", id->name, r->status, text);
    else
        err_set(e, kind, "no token for identity %s: HTTP status %d %s", id->name, r->status, code);
    if (e)
        snprintf(e->upstream_code, sizeof e->upstream_code, "%s", code);
    return kind;
}

enum err arm_token_read(struct arena *a, const struct arm_identity *id, const struct arm_reply *r,
                        struct arm_token *out, struct err_info *e)
{
    AUTO(json) json_t *body = NULL;
    *out = (struct arm_token){0};
    if (r->failure == ARM_FAIL_NONE && json_parse(r->body, &body, NULL) != OK)
        body = NULL;
    if (r->failure != ARM_FAIL_NONE || r->status != 200)
        return read_error(id, r, body, e);
    return read_token(a, body, out, e);
}
