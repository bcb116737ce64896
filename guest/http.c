#include "guest/http.h"

#include "core/buf.h"
#include "core/cleanup.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <strings.h>

AUTO_DEFINE(slist, struct curl_slist *, curl_slist_free_all)
AUTO_DEFINE(url, CURLU *, curl_url_cleanup)

#define CONNECT_TIMEOUT_MS 10000L

struct guest_http {
    CURL *curl;
    char *ca_file;
    bool (*stop)(void);
};

enum err guest_http_new(const char *ca_file, bool (*stop)(void), struct guest_http **out,
                        struct err_info *e)
{
    if (ca_file && access(ca_file, R_OK) != 0)
        return err_set(e, ERR_CONFIG, "%s cannot be read", ca_file);
    struct guest_http *h = calloc(1, sizeof(*h));
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
    h->stop = stop;
    h->ca_file = ca_file ? strdup(ca_file) : NULL;
    h->curl = curl_easy_init();
    if (!h->curl || (ca_file && !h->ca_file))
        abort();
    *out = h;
    return OK;
}

void guest_http_free(struct guest_http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h->ca_file);
    free(h);
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (!strcasecmp(host, "localhost") || !strcmp(host, "[::1]"))
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* True where the URL has the part; *out is freed with curl_free. */
static bool part(CURLU *u, CURLUPart what, char **out)
{
    return curl_url_get(u, what, out, 0) == CURLUE_OK;
}

AUTO_DEFINE(curl_text, char *, curl_free)

/* A proxy of the environment is for the network, not for this machine. */
static bool url_is_loopback(const char *url)
{
    AUTO(url) CURLU *u = curl_url();
    AUTO(curl_text) char *host = NULL;
    return u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
           part(u, CURLUPART_HOST, &host) && is_loopback(host);
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;
    if (body->len + n * size > GUEST_HTTP_RESPONSE_MAX)
        return 0;
    buf_add(body, data, n * size);
    return n * size;
}

static int progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
    const struct guest_http *h = arg;
    return h->stop && h->stop();
}

static struct curl_slist *headers_of(const struct guest_http_request *r)
{
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < GUEST_HTTP_HEADERS_MAX && r->headers[i]; i++)
        list = curl_slist_append(list, r->headers[i]);
    list = curl_slist_append(list, "Expect:"); /* no round trip for 100-continue */
    if (!r->content_type)
        return list;
    struct buf type = {0};
    buf_printf(&type, "Content-Type: %s", r->content_type);
    list = curl_slist_append(list, type.data);
    buf_free(&type);
    return list;
}

static void set_options(struct guest_http *h, const struct guest_http_request *r,
                        struct curl_slist *headers, struct buf *body, char *reason)
{
    CURL *c = h->curl;
    curl_easy_reset(c); /* keeps the connection */
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "tlgate-agent/" TLGATE_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, r->timeout_ms);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, h);
    if (h->ca_file)
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
    if (r->direct || url_is_loopback(r->url))
        curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    if (r->content_type) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, (const char *)r->body.data);
    }
}

static enum err failed(CURLcode rc, const char *url, const char *reason, struct err_info *e)
{
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return err_set(e, ERR_CANCELED, "stopped");
    if (rc == CURLE_WRITE_ERROR)
        return err_set(e, ERR_BODY_TOO_LARGE, "%s: the answer is too large", url);
    return err_set(e, ERR_UNAVAILABLE, "%s: %s", url, *reason ? reason : curl_easy_strerror(rc));
}

enum err guest_http_send(struct guest_http *h, const struct guest_http_request *r, struct arena *a,
                         struct guest_http_response *out, struct err_info *e)
{
    char reason[CURL_ERROR_SIZE] = "";
    struct buf body = {0};
    AUTO(slist) struct curl_slist *headers = headers_of(r);
    set_options(h, r, headers, &body, reason);
    CURLcode rc = curl_easy_perform(h->curl);
    if (rc != CURLE_OK) {
        buf_free(&body);
        return failed(rc, r->url, reason, e);
    }
    curl_off_t retry_after = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &out->status);
    curl_easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &retry_after);
    out->retry_after_ms = (int64_t)retry_after * 1000;
    out->body = BYTES(arena_strndup(a, body.data ? body.data : "", body.len), body.len);
    buf_free(&body);
    return OK;
}

bool guest_http_url_allowed(const char *url)
{
    AUTO(url) CURLU *u = curl_url();
    if (!u || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return false;
    AUTO(curl_text) char *scheme = NULL;
    AUTO(curl_text) char *host = NULL;
    AUTO(curl_text) char *user = NULL;
    AUTO(curl_text) char *query = NULL;
    AUTO(curl_text) char *fragment = NULL;
    if (!part(u, CURLUPART_SCHEME, &scheme) || !part(u, CURLUPART_HOST, &host))
        return false;
    if (part(u, CURLUPART_USER, &user) || part(u, CURLUPART_QUERY, &query) ||
        part(u, CURLUPART_FRAGMENT, &fragment))
        return false;
    return !strcmp(scheme, "https") || (!strcmp(scheme, "http") && is_loopback(host));
}
