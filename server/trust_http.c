#include "server/trust_http.h"

#include "core/cleanup.h"

#include <curl/curl.h>

#define REDIRECTS_MAX   3
#define CONNECT_SECONDS 5L

AUTO_DEFINE(curlu, CURLU *, curl_url_cleanup)
AUTO_DEFINE(curl_text, char *, curl_free)

struct trust_http {
    CURL *curl;
    struct trust_http_options options;
};

struct trust_http *trust_http_new(const struct trust_http_options *o)
{
    struct trust_http *h = calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
    h->options = *o;
    h->curl = curl_easy_init();
    if (!h->curl)
        abort();
    return h;
}

void trust_http_free(struct trust_http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h);
}

/* ---- which addresses ---- */

static bool host_allowed(const char *host)
{
    static const char *const hosts[] = {"www.microsoft.com", "crl.microsoft.com",
                                        "learn.microsoft.com"};
    static const char suffix[] = ".pki.core.windows.net";
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (strcmp(host, hosts[i]) == 0)
            return true;
    size_t n = strlen(host);
    return n > sizeof suffix - 1 && strcmp(host + n - (sizeof suffix - 1), suffix) == 0;
}

/* Absent, or NULL where there is something curl cannot read. */
static char *part_of(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(u, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool parts_allowed(CURLU *u)
{
    AUTO(curl_text) char *scheme = part_of(u, CURLUPART_SCHEME);
    AUTO(curl_text) char *host = part_of(u, CURLUPART_HOST);
    AUTO(curl_text) char *port = part_of(u, CURLUPART_PORT);
    AUTO(curl_text) char *user = part_of(u, CURLUPART_USER);
    AUTO(curl_text) char *password = part_of(u, CURLUPART_PASSWORD);
    bool web = scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    return web && host && host_allowed(host) && !port && !user && !password;
}

bool trust_http_allowed(const char *url)
{
    AUTO(curlu) CURLU *u = curl_url();
    return u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && parts_allowed(u);
}

/* Where it is really asked for. */
static bool put_target(const struct trust_http *h, CURLU *u, struct buf *out)
{
    AUTO(curl_text) char *url = part_of(u, CURLUPART_URL);
    AUTO(curl_text) char *host = part_of(u, CURLUPART_HOST);
    AUTO(curl_text) char *path = part_of(u, CURLUPART_PATH);
    if (!url || !host || !path)
        return false;
    if (h->options.base_url)
        buf_printf(out, "%s/%s%s", h->options.base_url, host, path);
    else
        buf_add_str(out, url);
    return true;
}

/* ---- one request ---- */

struct receiving {
    struct buf *out;
    size_t from, max;
};

static size_t receive(char *data, size_t size, size_t n, void *arg)
{
    struct receiving *r = arg;
    if (n > r->max || r->out->len - r->from > r->max - n)
        return 0; /* curl gives up */
    buf_add(r->out, data, n);
    return n;
}

static enum err failed(struct err_info *e, const char *why)
{
    return err_set(e, ERR_UNAVAILABLE, "%s", why);
}

static void set_up(struct trust_http *h, const char *url, struct receiving *r)
{
    CURL *c = h->curl;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)h->options.timeout_ms);
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)h->options.size_max);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "tlgate/" TLGATE_VERSION);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
}

/* True where the answer is a redirect; *u is then its target. */
static bool redirected(struct trust_http *h, long status, CURLU *u)
{
    struct curl_header *location = NULL;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return false;
    if (curl_easy_header(h->curl, "Location", 0, CURLH_HEADER, -1, &location) != CURLHE_OK)
        return false;
    return curl_url_set(u, CURLUPART_URL, location->value, 0) == CURLUE_OK;
}

static enum err ask(struct trust_http *h, CURLU *u, struct buf *out, bool *again,
                    struct err_info *e)
{
    struct buf target = {0};
    struct receiving r = {out, out->len, h->options.size_max};
    *again = false;
    if (!parts_allowed(u))
        return err_set(e, ERR_VALIDATION, "not an address where issuers are published");
    if (!put_target(h, u, &target)) {
        buf_free(&target);
        return failed(e, "not an address");
    }
    set_up(h, target.data, &r);
    CURLcode code = curl_easy_perform(h->curl);
    buf_free(&target);
    if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED)
        return failed(e, "the answer is too large");
    if (code != CURLE_OK)
        return failed(e, curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return OK;
    out->len = r.from;
    *again = redirected(h, status, u);
    return *again ? OK : err_set(e, ERR_UNAVAILABLE, "the answer is %ld", status);
}

enum err trust_http_get(struct trust_http *h, const char *url, struct buf *out, struct err_info *e)
{
    AUTO(curlu) CURLU *u = curl_url();
    if (!u || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return err_set(e, ERR_VALIDATION, "not an address");
    size_t from = out->len;
    bool again = true;
    for (int i = 0; i <= REDIRECTS_MAX && again; i++) {
        enum err err = ask(h, u, out, &again, e);
        if (err) {
            out->len = from;
            return err;
        }
    }
    return again ? failed(e, "too many redirects") : OK;
}
