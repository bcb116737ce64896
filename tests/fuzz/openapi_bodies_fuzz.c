/*
 * The bodies of all requests: each schema of the route table gets the input. What one takes is written
 * and taken again as the same; of what it refuses the faults are named.
 */
#include "openapi/schemas.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUTE(method, path, operation, role, max, flags, accepts, produces, query, body, ...) body,
#define PRODUCES(...)                                                                         0
static const struct schema *const bodies[] = {
#include "openapi/routes.def"
};

/* Secrets are never written. */
static bool has_secret(const struct schema *s, const void *body)
{
    const struct vm_spec *vm = body;
    return s == &vm_spec_schema && vm->admin && vm->admin->password.text;
}

static void write_again(const struct schema *s, const void *body, struct arena *a)
{
    struct buf first = {0}, second = {0};
    struct jw one = jw_over(&first), two = jw_over(&second);
    void *again = arena_alloc(a, s->size);
    json_encode(&one, s, body);
    if (json_decode_text(buf_bytes(&first), s, a, again, NULL))
        abort();
    json_encode(&two, s, again);
    assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_free(&first);
    buf_free(&second);
}

static void decode(const struct schema *s, struct bytes text, struct arena *a)
{
    struct err_info e = {0};
    void *body = arena_alloc(a, s->size);
    enum err err = json_decode_text(text, s, a, body, &e);
    if (err == OK && !has_secret(s, body))
        write_again(s, body, a);
    assert(err == OK || err == ERR_BAD_REQUEST || (err == ERR_VALIDATION && e.n_fields > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (bodies[i])
            decode(bodies[i], BYTES(data, size), a);
    arena_free(a);
    return 0;
}
