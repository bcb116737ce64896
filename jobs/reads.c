#include "jobs/reads.h"

#include <string.h>

#define READS_MAX       512 /* kept answers; the oldest go first */
#define PAGES_MAX       20
#define RETRY_MS        400
#define RETRIES_MAX     12
#define READ_TIMEOUT_MS 9000
#define BRIEFLY_MS      2000

/* Eight bytes at a time: each submission looks for all of its reads. An equal hash is only a hint. */
static uint64_t hash_of(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t left = strlen(text), n; left; left -= n, text += n) {
        uint64_t word = 0;
        n = left < sizeof word ? left : sizeof word;
        memcpy(&word, text, n);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* FNV-1a in lower case, as ids are compared. */
static uint64_t place_hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (uint8_t)(*text >= 'A' && *text <= 'Z' ? *text - 'A' + 'a' : *text)) *
            0x100000001b3u;
    return h;
}

static void free_read(struct read *r)
{
    json_decref(r->body);
    arm_reply_free(r->reply);
    free(r->subscription);
    free(r->target);
    free(r);
}

/* With the lock. */
static void unlist(struct jobs *j, struct read *r)
{
    struct read **p = &j->cache->reads;
    while (*p && *p != r)
        p = &(*p)->next;
    if (!*p)
        return;
    *p = r->next;
    j->cache->n--;
    r->listed = false;
    if (r->waiters == 0)
        free_read(r);
}

/* What is over, and the oldest where there are too many. Reads under way stay. */
static void trim(struct jobs *j, int64_t now)
{
    struct read *next;
    pthread_mutex_lock(&j->cache->lock);
    for (struct read *r = j->cache->reads; r; r = next) {
        next = r->next;
        bool crowded = j->cache->n > READS_MAX;
        if (r->state != READ_WAITING && r->waiters == 0 && (crowded || r->kept_until <= now))
            unlist(j, r);
    }
    pthread_mutex_unlock(&j->cache->lock);
}

static void send_read(struct read *r, const char *target);

static void resend(struct task *t)
{
    struct read *r = CONTAINER_OF(t, struct read, task);
    send_read(r, r->target);
}

/* Only an existence is kept: that something is missing is what people remedy and try again. */
static int64_t life_ms(const struct read *r)
{
    if (r->state != READ_DONE || !r->exists)
        return 0;
    switch (preflight_life(r->kind)) {
    case READ_LONG:
        return r->jobs->config.query_cache_ms;
    case READ_BRIEFLY:
        return BRIEFLY_MS;
    case READ_ONCE:
        break;
    }
    return 0;
}

static void settle(struct read *r, enum read_state state)
{
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->cache->lock);
    r->state = state;
    r->observed_at = engine_now(j);
    r->kept_until = r->observed_at + life_ms(r);
    int64_t now = r->observed_at;
    pthread_mutex_unlock(&j->cache->lock);
    query_read_settled(j);
    trim(j, now);
}

/* Throttled and shaky reads are tried again, unless Azure says that it takes longer than anybody
 * waits for a query; the query's own limit ends the rest. */
static void read_refused(struct read *r, const struct arm_outcome *o)
{
    const char *reason = NULL;
    int64_t ms = o->retry_after_ms > RETRY_MS ? o->retry_after_ms : RETRY_MS;
    bool again = o->class == ARM_CLASS_THROTTLED || o->class == ARM_CLASS_CONFLICT ||
                 o->class == ARM_CLASS_TRANSIENT;
    r->err = arm_error_read(o, &r->error, &reason);
    if (!again || ++r->retries > RETRIES_MAX || r->waiters == 0 ||
        ms >= r->jobs->config.query_timeout_ms) {
        settle(r, READ_FAILED);
        return;
    }
    r->task.fn = resend;
    engine_delay(r->jobs, &r->task, ms + (int64_t)(engine_random() % 100));
}

static void merge(struct read *r, json_t *digest)
{
    if (!r->body)
        r->body = json_incref(digest);
    else if (json_is_object(digest))
        json_object_update_missing(r->body, digest);
}

static bool has_pages(enum read_kind kind)
{
    return kind == READ_SIZES || kind == READ_VMS;
}

static void read_page(struct read *r, const struct arm_reply *reply)
{
    AUTO(json) json_t *body = NULL;
    AUTO(json) json_t *digest = NULL;
    if (json_parse(reply->body, &body, &r->error)) {
        r->err = err_set(&r->error, ERR_UPSTREAM, "Azure's answer is not JSON");
        settle(r, READ_FAILED);
        return;
    }
    digest = preflight_digest(r->kind, body);
    merge(r, digest); /* nobody looks at a body before its read is done */
    const char *more = json_path_str(body, "nextLink");
    if (has_pages(r->kind) && more && *more) {
        if (++r->pages < PAGES_MAX) {
            send_read(r, more);
            return;
        }
        preflight_cut_off(r->kind, r->body);
    }
    r->exists = true;
    settle(r, READ_DONE);
}

static void on_answer(struct task *t)
{
    struct read *r = CONTAINER_OF(t, struct read, task);
    struct arm_reply *reply = TAKE(r->reply); /* settling may free the read */
    struct arm_outcome o;
    arm_classify(reply, &o);
    if (o.class == ARM_CLASS_SUCCESS || o.class == ARM_CLASS_ACCEPTED)
        read_page(r, reply);
    else if (o.class == ARM_CLASS_MISSING || preflight_is_missing(r->kind, o.code))
        settle(r, READ_DONE);
    else
        read_refused(r, &o);
    arm_reply_free(reply);
}

static void send_read(struct read *r, const char *target)
{
    struct arm_request req = {.method = ARM_GET,
                              .subscription = r->subscription,
                              .target = target,
                              .timeout_ms = READ_TIMEOUT_MS};
    r->task.fn = on_answer;
    engine_send(r->jobs, &req, &r->reply,
                &r->task); /* copies the target, so the old reply may go */
}

static bool is_kept(const struct read *r, int64_t now)
{
    return r->state == READ_DONE && r->kept_until > now;
}

/* A kept catalogue is fresh enough for anything. */
static struct read *find_read(struct jobs *j, const char *target, bool fresh)
{
    int64_t now = engine_now(j);
    uint64_t hash = hash_of(target);
    for (struct read *r = j->cache->reads; r; r = r->next) {
        if (r->hash != hash || strcmp(r->target, target) != 0)
            continue;
        bool stale = fresh && preflight_life(r->kind) == READ_BRIEFLY;
        if (r->state == READ_WAITING || (is_kept(r, now) && !stale))
            return r;
    }
    return NULL;
}

static uint64_t place_of(const struct preflight_facts *f, enum read_kind kind)
{
    return kind == READ_VM || kind == READ_VMS ? place_hash(f->plan->group_id) : 0;
}

struct read *reads_join(struct jobs *j, const struct preflight_facts *f, enum read_kind kind,
                        const char *target, bool fresh)
{
    struct read *r = find_read(j, target, fresh);
    if (r) {
        r->waiters++;
        return r;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->jobs = j;
    r->kind = kind;
    r->subscription = strdup(f->ref->subscription);
    r->target = strdup(target);
    if (!r->subscription || !r->target)
        abort();
    r->hash = hash_of(target);
    r->place = place_of(f, kind);
    r->listed = true;
    r->waiters = 1;
    pthread_mutex_lock(&j->cache->lock);
    r->next = j->cache->reads;
    j->cache->reads = r;
    j->cache->n++;
    pthread_mutex_unlock(&j->cache->lock);
    send_read(r, target);
    return r;
}

void reads_leave(struct read *r)
{
    r->waiters--; /* trimmed when the next read settles */
}

bool reads_crowded(struct jobs *j, const struct preflight_facts *f)
{
    uint64_t place = place_of(f, READ_VMS);
    int64_t now = engine_now(j);
    for (const struct read *r = j->cache->reads; r; r = r->next)
        if (r->place == place &&
            (r->state == READ_WAITING || (r->kind == READ_VMS && is_kept(r, now))))
            return true;
    return false;
}

bool reads_find_kept(struct jobs *j, const char *target, struct read_answer *out,
                     int64_t *observed_at)
{
    uint64_t hash = hash_of(target);
    int64_t now = engine_now(j);
    bool found = false;
    pthread_mutex_lock(&j->cache->lock);
    for (struct read *r = j->cache->reads; r && !found; r = r->next) {
        if (r->hash != hash || !is_kept(r, now) || strcmp(r->target, target) != 0)
            continue;
        *out = (struct read_answer){.known = true, .exists = true, .body = json_incref(r->body)};
        *observed_at = r->observed_at;
        found = true;
    }
    pthread_mutex_unlock(&j->cache->lock);
    return found;
}

void reads_start(struct jobs *j)
{
    j->cache = calloc(1, sizeof *j->cache);
    if (!j->cache)
        abort();
    pthread_mutex_init(&j->cache->lock, NULL);
}

void reads_stop(struct jobs *j)
{
    while (j->cache->reads) {
        struct read *r = j->cache->reads;
        j->cache->reads = r->next;
        free_read(r);
    }
    pthread_mutex_destroy(&j->cache->lock);
    free(j->cache);
    j->cache = NULL;
}
