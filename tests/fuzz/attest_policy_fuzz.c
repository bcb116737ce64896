/* A policy document, compiled; the glob of command lines against the bytes themselves. */
#include "attest/policy.h"
#include "attest/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct attest_policy *p = NULL;
    struct err_info e = {0};
    struct arena *a = arena_new();
    if (attest_policy_compile(BYTES(data, size), &p, &e) == OK) {
        const struct attest_policy_document *d = attest_policy_document(p);
        struct buf out = {0};
        struct jw w = jw_over(&out);
        (void)attest_policy_image_name(p, BYTES(data, size < 32 ? size : 32));
        /* What is written compiles again: that is how the store keeps it. */
        json_encode(&w, &attest_policy_schema, d);
        struct attest_policy *again = NULL;
        if (attest_policy_compile(buf_bytes(&out), &again, &e))
            abort();
        attest_policy_unref(again);
        buf_free(&out);
    } else if (e.code != ERR_VALIDATION && e.code != ERR_BAD_REQUEST) {
        abort();
    }
    attest_policy_unref(p);
    const char *text = arena_strndup(a, (const char *)data, size < 4096 ? size : 4096);
    (void)policy_glob_matches("*a*b?c*", text);
    (void)policy_glob_matches(text, "root=/dev/sda1 ro quiet");
    arena_free(a);
    return 0;
}
