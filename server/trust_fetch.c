#include "server/trust_fetch.h"

#include "core/cleanup.h"
#include "server/trust_file.h"
#include "server/trust_http.h"

#define POOL_MAX  128
#define LINES_MAX 512
#define ASKED_MAX 64 /* downloads of one run */
#define MIRRORS   4

AUTO_DEFINE(trust_http, struct trust_http *, trust_http_free)
AUTO_DEFINE(trust, struct attest_trust *, attest_trust_free)

/*
 * Where Microsoft publishes them. "Global Virtual TPM CA - 03" stands only as PEM in the text of the
 * documentation; the certificates of its leaves name no address. The regional issuing CAs ("Azure Cloud
 * Virtual TPM CA - NN") are named by the leaves themselves.
 */
#define PKIOPS "http://www.microsoft.com/pkiops/certs/"
#define POLICY "/eastus2/cacerts/azurevtpmpki/azurevtpmpolicycaeus2/cert.cer"

static const struct source {
    const char *what;
    const char *urls[MIRRORS];
    bool legacy;
} sources[] = {
    {"Azure Virtual TPM Root Certificate Authority 2023",
     {PKIOPS "Azure%20Virtual%20TPM%20Root%20Certificate%20Authority%202023.crt"},
     false},
    {"Global Virtual TPM CA",
     {"https://learn.microsoft.com/en-us/azure/virtual-machines/trusted-launch-faq"},
     false},
    {"Azure Cloud Virtual TPM CA",
     {"http://primary-cdn.pki.core.windows.net" POLICY,
      "http://secondary-cdn.pki.core.windows.net" POLICY, "http://crl.microsoft.com" POLICY,
      "http://azurevtpmpki.eastus2.pki.core.windows.net/certificateAuthorities/"
      "azurevtpmpolicycaeus2"},
     false},
    {"Microsoft RSA Devices Root CA 2021",
     {PKIOPS "Microsoft%20RSA%20Devices%20Root%20CA%202021.crt"},
     true},
};

struct pooled {
    struct bytes der;
    const char *url;
    bool chased; /* its own issuer was asked for */
};

struct fetching {
    const struct trust_fetch_options *o;
    struct arena *a;
    struct attest_trust *trust;
    struct trust_http *http;
    struct pooled pool[POOL_MAX];
    size_t n_pool;
    int asked;
    struct trust_fetch_line *lines;
    size_t n_lines;
    bool complete;
};

static void tell(struct fetching *f, struct trust_fetch_line line)
{
    if (f->n_lines < LINES_MAX)
        f->lines[f->n_lines++] = line;
    if (strcmp(line.status, "failed") == 0 && !line.optional)
        f->complete = false;
}

/* ---- downloads ---- */

/* The first of the addresses that gives something `take` can use. */
typedef bool take_fn(struct fetching *f, struct bytes body, const char *url, const char **why);

static bool ask(struct fetching *f, const char *url, take_fn *take, const char **why)
{
    struct err_info e = {0};
    struct buf body = {0};
    if (f->asked++ >= ASKED_MAX) {
        *why = "too many downloads";
        return false;
    }
    bool ok = false;
    if (trust_http_get(f->http, url, &body, &e))
        *why = arena_strdup(f->a, e.detail);
    else
        ok = take(f, buf_bytes(&body), url, why);
    buf_free(&body);
    return ok;
}

static bool ask_mirrors(struct fetching *f, const char *what, const char *const *urls, size_t n,
                        take_fn *take, bool optional)
{
    const char *why = "no address is named";
    for (size_t i = 0; i < n && urls[i]; i++)
        if (ask(f, urls[i], take, &why))
            return true;
    tell(f, (struct trust_fetch_line){.status = "failed",
                                      .what = what,
                                      .detail = why,
                                      .url = n ? urls[0] : NULL,
                                      .optional = optional});
    return false;
}

static bool in_pool(const struct fetching *f, struct bytes der)
{
    for (size_t i = 0; i < f->n_pool; i++)
        if (bytes_equal(f->pool[i].der, der))
            return true;
    return false;
}

static void add_to_pool(struct fetching *f, struct bytes der, const char *url)
{
    if (f->n_pool < POOL_MAX && !in_pool(f, der))
        f->pool[f->n_pool++] = (struct pooled){.der = der, .url = url};
}

static struct issuer *judge_pool(struct fetching *f)
{
    struct bytes *der = arena_array(f->a, f->n_pool + 1, sizeof *der);
    for (size_t i = 0; i < f->n_pool; i++)
        der[i] = f->pool[i].der;
    return issuers_judge(f->trust, der, f->n_pool, f->o->now, f->a);
}

static bool take_certificates(struct fetching *f, struct bytes body, const char *url,
                              const char **why)
{
    struct bytes found[ISSUERS_MAX];
    size_t n = issuers_extract(body, f->a, found);
    for (size_t i = 0; i < n; i++)
        add_to_pool(f, found[i], arena_strdup(f->a, url));
    if (n == 0)
        *why = "the answer holds no certificate";
    return n > 0;
}

/* Certificates whose own issuer is not at hand name where it is. */
static void chase(struct fetching *f, struct bytes der, const char *what)
{
    const char *urls[ISSUERS_URLS_MAX];
    size_t n = issuers_urls(der, ISSUER_URL_CERTIFICATE, f->a, urls);
    ask_mirrors(f, arena_printf(f->a, "issuer of %s", what), urls, n, take_certificates, false);
}

static void chase_all(struct fetching *f)
{
    bool more = true;
    while (more) {
        more = false;
        struct issuer *judged = judge_pool(f);
        for (size_t i = 0, n = f->n_pool; i < n; i++) {
            if (!judged[i].problem || strcmp(judged[i].problem, "issuer_missing") != 0 ||
                f->pool[i].chased)
                continue;
            f->pool[i].chased = more = true;
            chase(f, f->pool[i].der, judged[i].subject);
        }
    }
}

/* ---- what is kept ---- */

static bool is_held(const struct issuer *held, size_t n, const struct issuer *i)
{
    for (size_t k = 0; k < n; k++)
        if (memcmp(held[k].sha256, i->sha256, sizeof i->sha256) == 0)
            return true;
    return false;
}

static void keep_certificate(struct fetching *f, const struct issuer *i, const char *url)
{
    struct err_info e = {0};
    char hex[9];
    struct trust_fetch_line line = {.status = "written", .what = i->subject, .url = url};
    hex_encode(BYTES(i->sha256, 4), hex);
    const char *name = arena_printf(f->a, "%s-%s.pem", i->name, hex);
    struct buf pem = {0};
    trust_file_pem(i->der, &pem);
    enum err err = trust_file_write(f->o->trust.trust_dir, name, buf_bytes(&pem), &e);
    buf_free(&pem);
    line.detail = err ? arena_strdup(f->a, e.detail) : name;
    if (err)
        line.status = "failed";
    tell(f, line);
}

static void keep_certificates(struct fetching *f, const struct issuer *judged)
{
    size_t n_held = 0;
    const struct issuer *held = issuers_list(f->trust, f->o->now, f->a, &n_held);
    for (size_t i = 0; i < f->n_pool; i++) {
        struct trust_fetch_line line = {.what = judged[i].subject, .url = f->pool[i].url};
        if (judged[i].problem) {
            line.status = "refused";
            line.detail = judged[i].problem;
            tell(f, line);
        } else if (is_held(held, n_held, &judged[i])) {
            line.status = "unchanged";
            tell(f, line);
        } else {
            keep_certificate(f, &judged[i], f->pool[i].url);
        }
    }
}

/* An address that gave certificates, but no issuer, gave the wrong ones. */
static void check_sources(struct fetching *f, const struct issuer *judged)
{
    for (size_t i = 0; i < f->n_pool; i++) {
        bool good = false;
        for (size_t k = 0; k < f->n_pool; k++)
            good |= !judged[k].problem && strcmp(f->pool[k].url, f->pool[i].url) == 0;
        if (!good)
            f->complete = false;
    }
}

/* ---- CRLs: wanted, not needed ---- */

static bool take_crl(struct fetching *f, struct bytes body, const char *url, const char **why)
{
    struct err_info e = {0};
    struct bytes der;
    size_t by = 0;
    struct issuer *judged = judge_pool(f);
    *why = issuers_judge_crl(f->trust, body, judged, f->n_pool, f->o->now, f->a, &der, &by);
    if (*why)
        return false;
    if (judged[by].problem) {
        *why = "its issuer was refused";
        return false;
    }
    const char *name = arena_printf(f->a, "%s.crl", judged[by].name);
    if (trust_file_write(f->o->trust.trust_dir, name, der, &e)) {
        *why = arena_strdup(f->a, e.detail);
        return false;
    }
    tell(f, (struct trust_fetch_line){.status = "written",
                                      .what = arena_printf(f->a, "CRL of %s", judged[by].subject),
                                      .detail = name,
                                      .url = arena_strdup(f->a, url)});
    return true;
}

static bool asked_before(const char *const *asked, size_t n, const char *issuer)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(asked[i], issuer) == 0)
            return true;
    return false;
}

static void fetch_crls(struct fetching *f, const struct issuer *judged)
{
    const char *asked[POOL_MAX];
    size_t n_asked = 0;
    for (size_t i = 0; i < f->n_pool; i++) {
        const char *urls[ISSUERS_URLS_MAX];
        size_t n = judged[i].problem ? 0 : issuers_urls(f->pool[i].der, ISSUER_URL_CRL, f->a, urls);
        if (n == 0 || asked_before(asked, n_asked, judged[i].issued_by))
            continue;
        asked[n_asked++] = judged[i].issued_by;
        ask_mirrors(f, arena_printf(f->a, "CRL of %s", judged[i].issued_by), urls, n, take_crl,
                    true);
    }
}

/* ---- the whole ---- */

static void fetch_all(struct fetching *f)
{
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (!sources[i].legacy || f->o->trust.legacy_root)
            ask_mirrors(f, sources[i].what, sources[i].urls, MIRRORS, take_certificates, false);
    for (size_t i = 0; i < f->o->n_certificates; i++)
        chase(f, f->o->certificates[i], arena_printf(f->a, "certificate %zu", i + 1));
    chase_all(f);
    const struct issuer *judged = judge_pool(f);
    check_sources(f, judged);
    keep_certificates(f, judged);
    fetch_crls(f, judged);
}

enum err trust_fetch(const struct trust_fetch_options *o, struct arena *a,
                     struct trust_fetch_line **lines, size_t *n, bool *complete, struct err_info *e)
{
    AUTO(trust) struct attest_trust *trust = NULL;
    enum err err = trust_file_dir(o->trust.trust_dir, e);
    if (!err)
        err = attest_trust_open(&o->trust, &trust, e);
    if (err)
        return err;
    const struct trust_http_options http_options = {
        .base_url = o->base_url, .timeout_ms = o->timeout_ms, .size_max = ISSUERS_BODY_MAX};
    AUTO(trust_http) struct trust_http *http = trust_http_new(&http_options);
    struct fetching *f = ARENA_NEW(a, struct fetching);
    *f = (struct fetching){.o = o, .a = a, .trust = trust, .http = http, .complete = true};
    f->lines = arena_array(a, LINES_MAX, sizeof *f->lines);
    fetch_all(f);
    *lines = f->lines;
    *n = f->n_lines;
    *complete = f->complete;
    return OK;
}
