#include "arm/identity.h"

#include "arm/token.h"

#define FETCH_TIMEOUT_MS 30000
#define RETRY_FIRST_MS   1000
#define RETRY_MAX_MS     60000
#define RETRY_PERMANENT_MS                                                                         \
    5000                   /* a wrong secret may be put right, but Entra is not to be hammered */
#define HOPELESS_AFTER   4 /* transient failures in a row: about 7 s */
#define EXPIRY_MARGIN_MS 30000
#define FETCH_SPACING_MS 1000
#define FAR_MS           60000

void arm_identity_init(struct arm_identity_token *t, const struct arm_identity *cfg,
                       const char *imds, struct arm_http *http, const struct clock *clock)
{
    *t = (struct arm_identity_token){
        .cfg = cfg, .imds = imds, .http = http, .clock = clock, .arena = arena_new()};
}

void arm_identity_wipe(struct arm_identity_token *t)
{
    arena_free(t->arena);
    arena_free(t->call_arena);
}

static bool valid(const struct arm_identity_token *t)
{
    return t->bearer.text && clock_mono(t->clock) < t->expires_at;
}

const char *arm_identity_bearer(struct arm_identity_token *t)
{
    if (!valid(t))
        return NULL;
    t->used = true;
    return t->bearer.text;
}

static void forget(struct arm_identity_token *t)
{
    t->bearer = (struct secret){0};
    arena_reset(t->arena);
}

void arm_identity_drop(struct arm_identity_token *t, unsigned generation)
{
    if (t->generation != generation || !t->bearer.text)
        return;
    forget(t);
    /* A subscription that refuses every token must not become a flood of requests for tokens. */
    if (t->retry_at < t->fetched_at + FETCH_SPACING_MS)
        t->retry_at = t->fetched_at + FETCH_SPACING_MS;
}

static bool permanent(const struct arm_identity_token *t)
{
    return t->error.code == ERR_UPSTREAM_FORBIDDEN || t->error.code == ERR_CONFIG;
}

static int64_t retry_delay(unsigned fails)
{
    uint16_t jitter;
    random_bytes(&jitter, sizeof jitter);
    int64_t ms = RETRY_FIRST_MS << (fails < 7 ? fails - 1 : 6);
    if (ms > RETRY_MAX_MS)
        ms = RETRY_MAX_MS;
    return ms - ms / 4 + jitter % (ms / 4);
}

static void note_failure(struct arm_identity_token *t, const struct err_info *why,
                         int64_t retry_after_ms)
{
    t->error = *why;
    t->failed++;
    t->fails++;
    int64_t delay = permanent(t) ? RETRY_PERMANENT_MS : retry_delay(t->fails);
    if (retry_after_ms > delay)
        delay = retry_after_ms;
    t->retry_at = clock_mono(t->clock) + delay;
}

static void install(struct arm_identity_token *t, const struct arm_token *token)
{
    int64_t now = clock_mono(t->clock);
    int64_t life = token->lifetime_ms;
    int64_t margin = life / 10 < EXPIRY_MARGIN_MS ? life / 10 : EXPIRY_MARGIN_MS;
    forget(t);
    const char *text = arena_printf(t->arena, "Bearer %s", token->text.text);
    t->bearer = (struct secret){text, strlen(text)};
    t->fetched_at = now;
    t->refresh_at = now + life * 8 / 10;
    t->expires_at = now + life - margin;
    t->used = false;
    t->fails = 0;
    t->retry_at = now;
    t->error.code = OK;
    t->generation++;
    t->fetched++;
}

static void fetched(struct arm_http_call *call)
{
    struct arm_identity_token *t = CONTAINER_OF(call, struct arm_identity_token, call);
    struct arm_reply *r = call->reply;
    struct arm_token token;
    struct err_info why = {0};
    if (arm_token_read(t->call_arena, t->cfg, r, &token, &why) == OK)
        install(t, &token);
    else
        note_failure(t, &why, r->retry_after_ms);
    arm_reply_free(r);
    arena_free(t->call_arena);
    t->call_arena = NULL;
    t->changed(t);
}

static void fetch(struct arm_identity_token *t)
{
    struct arm_token_request req;
    struct err_info why = {0};
    struct arena *a = arena_new();
    if (arm_token_request(a, t->cfg, t->imds, &req, &why) != OK) {
        arena_free(a);
        note_failure(t, &why, 0);
        t->changed(t);
        return;
    }
    t->call_arena = a;
    t->call = (struct arm_http_call){
        .method = req.method,
        .url = req.url,
        .body = req.form,
        .timeout_ms = FETCH_TIMEOUT_MS,
        .plain = true, /* arm_start allows http for IMDS and a loopback authority only */
        .direct = req.imds,
        .done = fetched,
    };
    arm_http_header(t->http, &t->call, "Accept", "application/json");
    if (req.imds)
        arm_http_header(t->http, &t->call, "Metadata", "true");
    else
        arm_http_header(t->http, &t->call, "Content-Type", "application/x-www-form-urlencoded");
    arm_http_start(t->http, &t->call);
}

static bool fetch_wanted(const struct arm_identity_token *t, bool wanted)
{
    return !t->call_arena && (valid(t) ? t->used : wanted);
}

void arm_identity_tick(struct arm_identity_token *t, bool wanted)
{
    int64_t now = clock_mono(t->clock);
    if (!fetch_wanted(t, wanted) || now < t->retry_at || (valid(t) && now < t->refresh_at))
        return;
    fetch(t);
}

int64_t arm_identity_due(const struct arm_identity_token *t, bool wanted)
{
    if (!fetch_wanted(t, wanted))
        return clock_mono(t->clock) + FAR_MS;
    return valid(t) && t->refresh_at > t->retry_at ? t->refresh_at : t->retry_at;
}

bool arm_identity_hopeless(const struct arm_identity_token *t, int64_t *retry_ms)
{
    int64_t wait = t->retry_at - clock_mono(t->clock);
    if (t->error.code == OK || t->call_arena || wait <= 0 || valid(t))
        return false;
    *retry_ms = wait;
    return permanent(t) || t->fails >= HOPELESS_AFTER;
}
