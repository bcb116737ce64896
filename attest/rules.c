#include "attest/rules_compiled.h"

#include "core/clock.h"

#include <strings.h>

/* ---- the tables; limits are those of the contract ---- */

#define LIST(s, json, member, most, longest)                                                       \
    {                                                                                              \
        .name = (json), .kind = FIELD_STR_LIST, .offset = offsetof(struct s, member),              \
        .max = (most), .item_min = 1, .item_max = (longest)                                        \
    }
#define TEXT(s, json, member, least, most)                                                         \
    {                                                                                              \
        .name = (json), .kind = FIELD_STR, .offset = offsetof(struct s, member), .min = (least),   \
        .max = (most)                                                                              \
    }
#define TRI(s, json, member)                                                                       \
    {                                                                                              \
        .name = (json), .kind = FIELD_TRI, .offset = offsetof(struct s, member)                    \
    }
#define ITEMS(s, json, member, most, of)                                                           \
    {                                                                                              \
        .name = (json), .kind = FIELD_OBJ_LIST, .offset = offsetof(struct s, member),              \
        .max = (most), .object = (of)                                                              \
    }
#define SCHEMA(title, s, table)                                                                    \
    {                                                                                              \
        .name = (title), .size = sizeof(struct s), .fields = (table), .n_fields = ARRAY_LEN(table) \
    }

static const struct field signers_fields[] = {
    LIST(rules_signers, "required", required, 32, 256),
    LIST(rules_signers, "allowed", allowed, 256, 256),
    LIST(rules_signers, "forbidden", forbidden, 256, 256),
};
static const struct schema signers_schema =
    SCHEMA("AttestationSigners", rules_signers, signers_fields);

static const struct field sbat_fields[] = {
    {.name = "component",
     .kind = FIELD_STR,
     .required = true,
     .offset = offsetof(struct rules_sbat, component),
     .min = 1,
     .max = 64},
    {.name = "generation",
     .kind = FIELD_INT,
     .required = true,
     .offset = offsetof(struct rules_sbat, generation),
     .min = 1,
     .max = 65535},
};
static const struct schema sbat_schema = SCHEMA("AttestationSbat", rules_sbat, sbat_fields);

static const struct field revocation_fields[] = {
    {.name = "name",
     .kind = FIELD_STR,
     .required = true,
     .offset = offsetof(struct rules_revocation, name),
     .min = 1,
     .max = 64},
    LIST(rules_revocation, "hashes", hashes, 2048, 64),
    LIST(rules_revocation, "certificates", certificates, 64, 64),
    {.name = "mustBeInDbx",
     .kind = FIELD_BOOL,
     .has_dflt = true,
     .dflt_int = 0,
     .offset = offsetof(struct rules_revocation, must_be_in_dbx)},
    {.name = "mustNotBoot",
     .kind = FIELD_BOOL,
     .has_dflt = true,
     .dflt_int = 1,
     .offset = offsetof(struct rules_revocation, must_not_boot)},
};
static const struct schema revocation_schema =
    SCHEMA("AttestationRevocation", rules_revocation, revocation_fields);

static const struct field golden_fields[] = {
    {.name = "name",
     .kind = FIELD_STR,
     .required = true,
     .offset = offsetof(struct rules_golden, name),
     .min = 1,
     .max = 64},
    TEXT(rules_golden, "image", image, 1, 600),
    {.name = "bank",
     .kind = FIELD_STR,
     .offset = offsetof(struct rules_golden, bank),
     .allowed = (const char *const[]){"sha256", "sha384", NULL},
     .dflt_str = "sha256"},
    {.name = "pcrs",
     .kind = FIELD_STR_MAP,
     .required = true,
     .offset = offsetof(struct rules_golden, pcrs),
     .max = 24,
     .item_max = 128},
};
static const struct schema golden_schema =
    SCHEMA("AttestationGoldenPcrs", rules_golden, golden_fields);

static const struct field events_fields[] = {
    TEXT(rules_events, "image", image, 1, 600),
    {.name = "pcr",
     .kind = FIELD_INT,
     .required = true,
     .offset = offsetof(struct rules_events, pcr),
     .min = 0,
     .max = 23},
    {.name = "digests",
     .kind = FIELD_STR_LIST,
     .required = true,
     .offset = offsetof(struct rules_events, digests),
     .min = 1,
     .max = 512,
     .item_min = 1,
     .item_max = 128},
};
static const struct schema events_schema =
    SCHEMA("AttestationAllowedEvents", rules_events, events_fields);

static const struct field known_fields[] = {
    {.name = "name",
     .kind = FIELD_STR,
     .required = true,
     .offset = offsetof(struct rules_known, name),
     .min = 1,
     .max = 64},
    {.name = "digest",
     .kind = FIELD_STR,
     .required = true,
     .offset = offsetof(struct rules_known, digest),
     .min = 1,
     .max = 128},
};
static const struct schema known_schema =
    SCHEMA("AttestationKnownImage", rules_known, known_fields);

static const struct field rules_fields[] = {
    TRI(attest_rules, "requireSecureBoot", require_secure_boot),
    TRI(attest_rules, "allowQuoteOnly", allow_quote_only),
    TEXT(attest_rules, "maxAge", max_age, 1, 32),
    {.name = "profiles",
     .kind = FIELD_STR_LIST,
     .offset = offsetof(struct attest_rules, profiles),
     .max = 3,
     .allowed = (const char *const[]){"azureTrustedLaunch", "confidentialVm", "tpm", NULL},
     .unique = true},
    {.name = "forbiddenStates",
     .kind = FIELD_STR_LIST,
     .offset = offsetof(struct attest_rules, forbidden_states),
     .max = 16,
     .allowed =
         (const char *const[]){
#define X(id, name, windows) name,
             POLICY_STATE_LIST(X)
#undef X
                 NULL},
     .unique = true},
    {.name = "signers",
     .kind = FIELD_OBJ,
     .offset = offsetof(struct attest_rules, signers),
     .object = &signers_schema},
    ITEMS(attest_rules, "sbat", sbat, 64, &sbat_schema),
    TEXT(attest_rules, "sbatLevel", sbat_level, 1, 16),
    ITEMS(attest_rules, "revocations", revocations, 8, &revocation_schema),
    ITEMS(attest_rules, "goldenPcrs", golden_pcrs, 64, &golden_schema),
    ITEMS(attest_rules, "allowedEvents", allowed_events, 32, &events_schema),
    LIST(attest_rules, "kernelCommandLines", kernel_command_lines, 32, 1024),
    LIST(attest_rules, "firmware", firmware, 64, 128),
    {.name = "baseline",
     .kind = FIELD_STR,
     .offset = offsetof(struct attest_rules, baseline),
     .allowed = (const char *const[]){"off", "warn", "enforce", NULL},
     .dflt_str = "off"},
    ITEMS(attest_rules, "knownImages", known_images, 256, &known_schema),
};
static const struct schema rules_schema = SCHEMA("AttestationRules", attest_rules, rules_fields);

static const struct field document_fields[] = {
    TEXT(attest_policy_document, "description", description, 1, 512),
    {.name = "scopes",
     .kind = FIELD_STR_LIST,
     .required = true,
     .offset = offsetof(struct attest_policy_document, scopes),
     .max = 256,
     .item_min = 1,
     .item_max = 600},
    {.name = "rules",
     .kind = FIELD_OBJ,
     .required = true,
     .offset = offsetof(struct attest_policy_document, rules),
     .object = &rules_schema},
};
const struct schema attest_policy_schema =
    SCHEMA("AttestationPolicySpec", attest_policy_document, document_fields);

/* ---- words ---- */

static const char *const state_names[] = {
#define X(id, name, windows) name,
    POLICY_STATE_LIST(X)
#undef X
};

const char *policy_state_name(enum policy_state s)
{
    return state_names[s];
}

/* ---- compiling ---- */

struct compiler {
    struct attest_policy *p;
    struct err_info *e;
    bool bad;
};

#define COMPLAIN(c, pointer, ...)                                                                  \
    do {                                                                                           \
        (c)->bad = true;                                                                           \
        err_add_field((c)->e, pointer, __VA_ARGS__);                                               \
    } while (0)

static const char *at(struct compiler *c, const char *list, size_t i, const char *member)
{
    return arena_printf(c->p->arena, "#/rules/%s/%zu%s", list, i, member);
}

static bool read_digest(const char *hex, struct policy_digest *out)
{
    size_t n = strlen(hex);
    out->len = (uint8_t)(n / 2);
    return (n == 40 || n == 64 || n == 96 || n == 128) && hex_decode(hex, n, out->v, n / 2);
}

static int compare_digests(const void *a, const void *b)
{
    const struct policy_digest *x = a, *y = b;
    return x->len != y->len ? x->len - y->len : memcmp(x->v, y->v, x->len);
}

bool digest_set_has(const struct digest_set *s, struct bytes digest)
{
    struct policy_digest key = {.len = (uint8_t)digest.len};
    if (digest.len > sizeof key.v || s->n == 0)
        return false;
    memcpy(key.v, digest.data, digest.len);
    return bsearch(&key, s->items, s->n, sizeof *s->items, compare_digests) != NULL;
}

/* `size` 0: of any hash. `pointer` is that of the list. */
static struct digest_set compile_digests(struct compiler *c, const struct str_list *list,
                                         size_t size, const char *pointer)
{
    struct digest_set out = {.items = arena_array(c->p->arena, list->n + 1, sizeof *out.items)};
    for (size_t i = 0; i < list->n; i++) {
        struct policy_digest *d = &out.items[out.n];
        if (read_digest(list->items[i], d) && (size == 0 || d->len == size))
            out.n++;
        else if (size)
            COMPLAIN(c, arena_printf(c->p->arena, "%s/%zu", pointer, i), "must be %zu hex digits",
                     2 * size);
        else
            COMPLAIN(c, arena_printf(c->p->arena, "%s/%zu", pointer, i),
                     "must be a digest in hex (40, 64, 96 or 128 digits)");
    }
    qsort(out.items, out.n, sizeof *out.items, compare_digests);
    return out;
}

/* Canonical decimal, so that no index can be given twice. */
static bool read_pcr(const char *text, unsigned *out)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 2 || text[n] || (n == 2 && text[0] == '0'))
        return false;
    *out = (unsigned)strtoul(text, NULL, 10);
    return *out < EVIDENCE_PCRS;
}

static void compile_golden(struct compiler *c, const struct rules_golden *g, size_t i)
{
    struct policy_golden *out = &c->p->golden[i];
    *out = (struct policy_golden){.name = g->name, .image = g->image};
    out->golden.bank = strcmp(g->bank, "sha384") == 0 ? BANK_SHA384 : BANK_SHA256;
    size_t size = pcr_banks[out->golden.bank].size;
    if (g->pcrs.n == 0)
        COMPLAIN(c, at(c, "goldenPcrs", i, "/pcrs"), "must name at least one PCR");
    for (size_t k = 0; k < g->pcrs.n; k++) {
        const char *key = g->pcrs.items[k].key, *hex = g->pcrs.items[k].value;
        const char *pointer =
            arena_printf(c->p->arena, "#/rules/goldenPcrs/%zu/pcrs/%.40s", i, key);
        unsigned pcr = 0;
        if (!read_pcr(key, &pcr))
            COMPLAIN(c, pointer, "is not the index of a PCR (0 to 23)");
        else if (!hex_decode(hex, strlen(hex), out->golden.values[pcr], size))
            COMPLAIN(c, pointer, "must be %zu hex digits", 2 * size);
        else
            out->golden.mask |= 1u << pcr;
    }
}

static void compile_revocation(struct compiler *c, const struct rules_revocation *r, size_t i)
{
    struct policy_revocation *out = &c->p->revocations[i];
    out->rule = r;
    out->hashes = compile_digests(c, &r->hashes, 32, at(c, "revocations", i, "/hashes"));
    out->certificates =
        compile_digests(c, &r->certificates, 32, at(c, "revocations", i, "/certificates"));
    if (!r->must_be_in_dbx && !r->must_not_boot)
        COMPLAIN(c, at(c, "revocations", i, ""),
                 "asks for nothing: set mustBeInDbx or mustNotBoot");
    if (r->hashes.n + r->certificates.n == 0)
        COMPLAIN(c, at(c, "revocations", i, ""), "lists neither hashes nor certificates");
}

static void compile_lists(struct compiler *c, const struct attest_rules *r)
{
    struct attest_policy *p = c->p;
    const struct rules_golden *golden = r->golden_pcrs.items;
    const struct rules_events *events = r->allowed_events.items;
    const struct rules_revocation *revocations = r->revocations.items;
    p->golden = arena_array(p->arena, r->golden_pcrs.n + 1, sizeof *p->golden);
    p->events = arena_array(p->arena, r->allowed_events.n + 1, sizeof *p->events);
    p->revocations = arena_array(p->arena, r->revocations.n + 1, sizeof *p->revocations);
    for (size_t i = 0; i < r->golden_pcrs.n; i++)
        compile_golden(c, &golden[i], i);
    for (size_t i = 0; i < r->allowed_events.n; i++)
        p->events[i] = (struct policy_events){
            .image = events[i].image,
            .pcr = (unsigned)events[i].pcr,
            .digests =
                compile_digests(c, &events[i].digests, 0, at(c, "allowedEvents", i, "/digests")),
        };
    for (size_t i = 0; i < r->revocations.n; i++)
        compile_revocation(c, &revocations[i], i);
    p->firmware = compile_digests(c, &r->firmware, 0, "#/rules/firmware");
}

static void compile_known(struct compiler *c, const struct attest_rules *r)
{
    const struct rules_known *known = r->known_images.items;
    c->p->known = arena_array(c->p->arena, r->known_images.n + 1, sizeof *c->p->known);
    for (size_t i = 0; i < r->known_images.n; i++)
        if (!read_digest(known[i].digest, &c->p->known[i]))
            COMPLAIN(c, at(c, "knownImages", i, "/digest"),
                     "must be a digest in hex (40, 64, 96 or 128 digits)");
}

#define GLOB_STARS_MAX 32

static void check_globs(struct compiler *c, const struct str_list *globs)
{
    for (size_t i = 0; i < globs->n; i++) {
        unsigned stars = 0;
        bool printable = true;
        for (const char *p = globs->items[i]; *p; p++) {
            stars += *p == '*';
            printable = printable && *p >= 0x20 && *p < 0x7f;
        }
        if (!printable)
            COMPLAIN(c, at(c, "kernelCommandLines", i, ""), "must be printable ASCII");
        if (stars > GLOB_STARS_MAX)
            COMPLAIN(c, at(c, "kernelCommandLines", i, ""), "may hold at most %d stars",
                     GLOB_STARS_MAX);
    }
}

static void check_sbat(struct compiler *c, const struct attest_rules *r)
{
    const struct rules_sbat *sbat = r->sbat.items;
    for (size_t i = 1; i < r->sbat.n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(sbat[i].component, sbat[k].component) == 0)
                COMPLAIN(c, at(c, "sbat", i, "/component"), "repeats item %zu", k);
    if (r->sbat_level && (strlen(r->sbat_level) != 10 || strspn(r->sbat_level, "0123456789") != 10))
        COMPLAIN(c, "#/rules/sbatLevel", "must be a date stamp of ten digits, like 2023012900");
}

/* A fingerprint (64 hex digits) or part of a subject. The lists are short. */
static void check_not_forbidden(struct compiler *c, const struct str_list *forbidden,
                                const struct str_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        for (size_t k = 0; k < forbidden->n; k++)
            if (strcasecmp(list->items[i], forbidden->items[k]) == 0)
                COMPLAIN(c, at(c, name, i, ""), "is forbidden, too (item %zu)", k);
}

static void check_signers(struct compiler *c, const struct rules_signers *s)
{
    if (!s)
        return;
    check_not_forbidden(c, &s->forbidden, &s->required, "signers/required");
    check_not_forbidden(c, &s->forbidden, &s->allowed, "signers/allowed");
}

#define MAX_AGE_LEAST INT64_C(60000)
#define MAX_AGE_MOST  (INT64_C(31) * 24 * 3600 * 1000)

static void compile_age(struct compiler *c, const struct attest_rules *r)
{
    if (r->max_age && (!duration_parse(r->max_age, &c->p->max_age_ms) ||
                       c->p->max_age_ms < MAX_AGE_LEAST || c->p->max_age_ms > MAX_AGE_MOST))
        COMPLAIN(c, "#/rules/maxAge", "must be an ISO 8601 duration of 1 minute to 31 days");
}

static void compile_words(struct compiler *c, const struct attest_rules *r)
{
    for (size_t i = 0; i < r->forbidden_states.n; i++)
        for (int s = 0; s < POLICY_STATES; s++)
            if (strcmp(r->forbidden_states.items[i], state_names[s]) == 0)
                c->p->states |= 1u << s;
    for (size_t i = 0; i < r->profiles.n; i++) {
        enum attest_profile profile;
        if (attest_profile_parse(r->profiles.items[i], &profile))
            c->p->profiles |= 1u << profile;
    }
    static const char *const levels[] = {"off", "warn", "enforce"};
    for (unsigned i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(r->baseline, levels[i]) == 0)
            c->p->baseline = (enum baseline_rule)i;
}

/* The first rule that cannot be kept without an event log, or NULL. */
static const char *needs_log(const struct attest_rules *r)
{
    if (r->require_secure_boot == TRI_TRUE)
        return "requireSecureBoot";
    if (r->forbidden_states.n)
        return "forbiddenStates";
    if (r->signers)
        return "signers";
    if (r->sbat.n || r->sbat_level)
        return "sbat";
    if (r->revocations.n)
        return "revocations";
    if (r->allowed_events.n)
        return "allowedEvents";
    return r->kernel_command_lines.n ? "kernelCommandLines" : NULL;
}

static void check_contradictions(struct compiler *c, const struct attest_rules *r)
{
    const char *rule = needs_log(r);
    if (r->allow_quote_only == TRI_TRUE && rule)
        COMPLAIN(c, "#/rules/allowQuoteOnly", "contradicts %s, which needs the event log", rule);
    if (r->allow_quote_only == TRI_TRUE && c->p->baseline == BASELINE_ENFORCE)
        COMPLAIN(
            c, "#/rules/allowQuoteOnly",
            "contradicts baseline enforce: a difference could not be explained without the log");
}

static const bool of_windows[] = {
#define X(id, name, windows) windows,
    POLICY_STATE_LIST(X)
#undef X
};

bool policy_state_of_windows(enum policy_state s)
{
    return of_windows[s];
}

#define WINDOWS_PCRS (1u << 12 | 1u << 13)

static uint32_t pcrs_of(const struct attest_policy *p)
{
    const struct attest_rules *r = p->rules;
    uint32_t pcrs = 1u << 0 | 1u << 2 | 1u << 4 | 1u << 7;
    for (int s = 0; s < POLICY_STATES; s++)
        if (p->states >> s & 1 && of_windows[s])
            pcrs |= WINDOWS_PCRS;
    if (r->kernel_command_lines.n) /* GRUB's, and systemd-stub's */
        pcrs |= 1u << 8 | 1u << 12;
    for (size_t i = 0; i < r->golden_pcrs.n; i++)
        pcrs |= p->golden[i].golden.mask;
    for (size_t i = 0; i < r->allowed_events.n; i++)
        pcrs |= 1u << p->events[i].pcr;
    return p->baseline == BASELINE_OFF ? pcrs : pcrs | attest_baseline_pcrs();
}

static enum err compile(struct compiler *c)
{
    const struct attest_rules *r = c->p->document->rules;
    c->p->rules = r;
    compile_words(c, r);
    compile_age(c, r);
    compile_lists(c, r);
    compile_known(c, r);
    check_globs(c, &r->kernel_command_lines);
    check_sbat(c, r);
    check_signers(c, r->signers);
    check_contradictions(c, r);
    c->p->pcrs = pcrs_of(c->p);
    return c->bad ? ERR_VALIDATION : OK;
}

enum err attest_policy_compile(struct bytes document, struct attest_policy **out,
                               struct err_info *e)
{
    struct arena *arena = arena_new();
    struct attest_policy *p = ARENA_NEW(arena, struct attest_policy);
    struct attest_policy_document *d = ARENA_NEW(arena, struct attest_policy_document);
    p->arena = arena;
    p->document = d;
    atomic_init(&p->refs, 1);
    struct compiler c = {.p = p, .e = e};
    enum err err = json_decode_text(document, &attest_policy_schema, arena, d, e);
    if (!err)
        err = compile(&c);
    if (err)
        arena_free(arena);
    else
        *out = p;
    return err;
}

struct attest_policy *attest_policy_ref(struct attest_policy *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void attest_policy_unref(struct attest_policy *p)
{
    if (p && atomic_fetch_sub(&p->refs, 1) == 1)
        arena_free(p->arena);
}

const struct attest_policy_document *attest_policy_document(const struct attest_policy *p)
{
    return p->document;
}

uint32_t attest_policy_pcrs(const struct attest_policy *p)
{
    return p->pcrs;
}

int64_t attest_policy_max_age(const struct attest_policy *p)
{
    return p->max_age_ms;
}

enum baseline_rule attest_policy_baseline(const struct attest_policy *p)
{
    return p->baseline;
}

enum tri attest_policy_quote_only(const struct attest_policy *p)
{
    return p->rules->allow_quote_only;
}

const char *attest_policy_image_name(const struct attest_policy *p, struct bytes digest)
{
    const struct rules_known *known = p->rules->known_images.items;
    for (size_t i = 0; i < p->rules->known_images.n; i++)
        if (bytes_equal(BYTES(p->known[i].v, p->known[i].len), digest))
            return known[i].name;
    return NULL;
}
