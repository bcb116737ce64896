/* Challenges, cursors, enrolment tokens and If-None-Match: what this gateway did not make is refused,
 * whatever it looks like. */
#include "handlers/challenge.h"
#include "handlers/etag.h"
#include "handlers/page.h"

#include "core/arena.h"
#include "jobs/enrollment.h"

#include <assert.h>
#include <unistd.h>

#define VM    "11111111-2222-4333-8444-555555555555"
#define VM_ID "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *keyring_of_this_run(void)
{
    static struct keyring *keys;
    char dir[] = "/tmp/tlgate-fuzz-XXXXXX", path[64];
    if (keys)
        return keys;
    if (!mkdtemp(dir))
        abort();
    snprintf(path, sizeof path, "%s/keys", dir);
    if (keyring_open(path, &keys, NULL) || unlink(path) != 0 || rmdir(dir) != 0)
        abort();
    return keys;
}

static void try_challenge(struct keyring *keys, const char *text)
{
    struct challenge made, back;
    assert(challenge_open(keys, text, VM, 10, 0, &back, NULL) == ERR_CHALLENGE_INVALID);
    /* The vmId comes from outside as well. */
    challenge_make(keys, text, 10, &made);
    assert(challenge_open(keys, made.id, text, 10, 9, &back, NULL) == OK);
}

/* As a cursor, and as a filter: a cursor is good for the list that it was made for only. */
static void try_cursor(struct keyring *keys, const char *text, struct arena *a)
{
    struct app app = {.public_url = "https://gateway", .keyring = keys};
    struct call c = {.app = &app, .arena = a};
    struct page page;
    struct page_of list = {.path = "/v1/jobs", .top = 50, .cursor = text};
    assert(page_open(&c, &list, &page) == ERR_VALIDATION);
    list.filters[0].key = "state";
    list.filters[0].value = text;
    const char *link = page_next(&c, &list, "01890000-0000-7000-8000-000000000000");
    list.cursor = strstr(link, "&cursor=") + strlen("&cursor=");
    c.err = (struct err_info){0};
    assert(page_open(&c, &list, &page) == OK && strlen(page.after) == 36);
    list.path = "/v1/other";
    assert(page_open(&c, &list, &page) == ERR_VALIDATION);
}

static void try_enrollment(struct keyring *keys, const char *text, struct arena *a)
{
    assert(enrollment_check(keys, text, VM_ID, NULL) == ERR_NOT_ENROLLED);
    assert(strlen(enrollment_text(a, text)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1024)
        return 0;
    struct arena *a = arena_new();
    struct keyring *keys = keyring_of_this_run();
    const char *text = arena_strndup(a, (const char *)data, size);
    try_challenge(keys, text);
    try_cursor(keys, text, a);
    try_enrollment(keys, text, a);
    bool listed = etag_listed(text, "0123456789abcdef");
    assert(!listed || strchr(text, '*') || strstr(text, "\"0123456789abcdef\""));
    arena_free(a);
    return 0;
}
