/* Query parameters and formats: whatever comes, a struct that holds to its schema or named faults. */
#include "openapi/match.h"
#include "openapi/query.h"
#include "openapi/schemas.h"

#include <assert.h>

#define PAIRS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static field_match_fn *const predicates[] = {
    match_uuid,           match_id,         match_resource_group_name,
    match_vm_name,        match_arm_name,   match_location,
    match_vm_size,        match_image_part, match_gallery_image_version_id,
    match_subnet_id,      match_cidr,       match_resource_id,
    match_network_source, match_duration,   match_admin_username,
    match_ssh_public_key, match_tag_name,   match_sha256_hex,
    match_cursor,         match_job_kind,   match_idempotency_key,
    match_problem_code,   match_arm_scope,
};

/* "key=value" lines. */
static size_t split(char *text, struct str_pair *pairs)
{
    size_t n = 0;
    for (char *line = text; line && n < PAIRS_MAX;) {
        char *end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        char *value = strchr(line, '=');
        if (value)
            *value++ = 0;
        pairs[n++] = (struct str_pair){line, value ? value : ""};
        line = end;
    }
    return n;
}

static void check_jobs(const struct str_pair *pairs, size_t n, struct arena *a)
{
    struct list_jobs_query q;
    struct err_info e = {0};
    if (query_decode(pairs, n, &list_jobs_query_schema, a, &q, &e)) {
        assert(e.code == ERR_VALIDATION && e.n_fields > 0 && e.fields[0].pointer[0] == '?');
        return;
    }
    assert(q.top >= 1 && q.top <= 200);
    assert(!q.resource_id || !match_resource_id(q.resource_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    struct arena *a = arena_new();
    struct str_pair pairs[PAIRS_MAX];
    const char *text = arena_strndup(a, (const char *)data, size);
    for (size_t i = 0; i < ARRAY_LEN(predicates); i++) {
        const char *why = predicates[i](text);
        assert(!why || *why);
    }
    check_jobs(pairs, split(arena_strdup(a, text), pairs), a);
    arena_free(a);
    return 0;
}
