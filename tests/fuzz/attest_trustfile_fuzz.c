/*
 * The files of a trust: the input as an anchor, as an issuer and as a CRL of the trust directory, and as
 * anchors of documents and endorsement keys. Whatever is in them, they open or say why not, and what
 * opened is judged and opens again as the same.
 */
#include "attest/anchors.h"
#include "attest/issuers.h"

#include "core/cleanup.h"

#include <assert.h>
#include <openssl/err.h>
#include <unistd.h>

#define NOW INT64_C(1795000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"issuer.pem", "list.crl", "anchor"};

static char folder[] = "/tmp/tlgate-fuzz-XXXXXX";

static void remove_folder(void)
{
    rmdir(folder);
}

static const char *path_of(size_t i, char out[64])
{
    snprintf(out, 64, "%s/%s", folder, names[i]);
    return out;
}

static void put_file(size_t i, struct bytes content)
{
    char path[64];
    AUTO(file) FILE *f = fopen(path_of(i, path), "wb");
    if (!f || fwrite(content.data, 1, content.len, f) != content.len)
        abort();
}

static void remove_file(size_t i)
{
    char path[64];
    unlink(path_of(i, path));
}

static void open_trust(bool anchor)
{
    char path[64];
    const char *file = path_of(ARRAY_LEN(names) - 1, path);
    const struct attest_trust_options o = {
        .anchors = &file, .n_anchors = anchor, .trust_dir = folder};
    struct attest_trust *t = NULL;
    struct err_info e = {0};
    bool changed = true;
    size_t n = 0;
    if (attest_trust_open(&o, &t, &e)) {
        assert(e.code == ERR_CONFIG && e.detail[0]);
        return;
    }
    struct arena *a = arena_new();
    struct issuer *listed = issuers_list(t, NOW, a, &n);
    for (size_t i = 0; i < n; i++)
        assert(listed[i].subject && (listed[i].path || listed[i].problem));
    assert(attest_trust_reload(t, &changed, &e) == OK && !changed);
    arena_free(a);
    attest_trust_free(t);
}

static void open_anchors(void)
{
    char path[64];
    const char *file = path_of(ARRAY_LEN(names) - 1, path);
    const struct attest_anchors_options o = {.files = &file, .n_files = 1, .dir = folder};
    struct attest_anchors *t = NULL;
    struct err_info e = {0};
    bool changed = true;
    if (attest_anchors_open(&o, &t, &e) == OK)
        assert(attest_anchors_any(t) && attest_anchors_reload(t, &changed, &e) == OK && !changed);
    else
        assert(e.code == ERR_CONFIG);
    attest_anchors_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    if (!made && (!mkdtemp(folder) || atexit(remove_folder) != 0))
        abort();
    made = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        put_file(i, BYTES(data, size));
        open_trust(i == ARRAY_LEN(names) - 1);
        if (i == ARRAY_LEN(names) - 1)
            open_anchors();
        remove_file(i);
    }
    assert(ERR_peek_error() == 0);
    ERR_clear_error();
    return 0;
}
