#include "emulator/promises.h"

/* The client's wall clock and this one's monotonic one turn their milliseconds at different moments. */
#define GRAIN_MS 1

static const char *header_of(const struct http_response *r, const char *name)
{
    for (unsigned i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

/* "op/{guid}" of .../operations/{guid}, .../operationResults/{guid}; the path of everything else. */
static const char *key_of(struct arena *a, const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *path = scheme ? strchr(scheme + 3, '/') : url;
    char *key = arm_lower(a, arena_strndup(a, path ? path : "", path ? strcspn(path, "?") : 0));
    const char *last = strrchr(key, '/');
    const char *operation = strstr(key, "/operation");
    if (last && operation && strchr(operation + 1, '/') == last && uuid_valid(last + 1))
        return arena_printf(a, "op%s", last);
    return key;
}

/* What a 429 holds is the method's quota, not what was asked for. */
static const char *with_method(const struct arm_call *c, const char *key)
{
    return arena_printf(c->arena, "%s %s", c->req->method, key);
}

static bool is_early(struct emulator *em, const char *key)
{
    const json_t *due = json_object_get(em->promises, key);
    if (!due)
        return false;
    if (clock_mono(em->clock) + GRAIN_MS < json_integer_value(due))
        return true;
    json_object_del(em->promises, key);
    return false;
}

bool promises_early(struct arm_call *c)
{
    const char *key = key_of(c->arena, c->req->path);
    return is_early(c->em, key) || is_early(c->em, with_method(c, key));
}

void promises_note(struct arm_call *c)
{
    const char *wait = header_of(c->resp, "Retry-After");
    if (!wait || c->resp->drop)
        return;
    c->retry_after = atoll(wait);
    const char *operation = header_of(c->resp, "Azure-AsyncOperation");
    const char *location = header_of(c->resp, "Location");
    bool accepted = c->resp->status < 300;
    const char *about = accepted && operation  ? operation
                        : accepted && location ? location
                                               : c->req->path;
    const char *key = key_of(c->arena, about);
    json_object_set_new(
        c->em->promises, c->resp->status == 429 ? with_method(c, key) : key,
        json_integer((json_int_t)(clock_mono(c->em->clock) + c->retry_after * 1000)));
}
