#include "attest/diff.h"

#include "attest/cert.h"
#include "attest/devpath.h"
#include "attest/loader.h"
#include "attest/result.h"
#include "attest/text.h"
#include "core/sha256.h"

#define DESCRIPTION_MAX 256

static const struct field event_fields[] = {
    {.name = "index",
     .kind = FIELD_INT,
     .offset = offsetof(struct boot_event, index),
     .max = EVENTLOG_EVENTS_MAX},
    {.name = "pcr", .kind = FIELD_INT, .offset = offsetof(struct boot_event, pcr), .max = 23},
    {.name = "type", .kind = FIELD_STR, .offset = offsetof(struct boot_event, type)},
    {.name = "digest", .kind = FIELD_STR, .offset = offsetof(struct boot_event, digest)},
    {.name = "description", .kind = FIELD_STR, .offset = offsetof(struct boot_event, description)},
    {.name = "signer", .kind = FIELD_STR, .offset = offsetof(struct boot_event, signer)},
};
static const struct schema event_schema = {.name = "BootEvent",
                                           .size = sizeof(struct boot_event),
                                           .fields = event_fields,
                                           .n_fields = ARRAY_LEN(event_fields)};

static const struct field events_fields[] = {
    {.name = "events",
     .kind = FIELD_OBJ_LIST,
     .offset = offsetof(struct boot_events, events),
     .max = BOOT_EVENTS_MAX,
     .object = &event_schema},
    {.name = "truncated",
     .kind = FIELD_BOOL,
     .offset = offsetof(struct boot_events, truncated),
     .has_dflt = true},
};
const struct schema boot_events_schema = {.name = "BootEvents",
                                          .size = sizeof(struct boot_events),
                                          .fields = events_fields,
                                          .n_fields = ARRAY_LEN(events_fields)};

/* ---- an event in words ---- */

static const char *cut(const char *text, struct arena *a)
{
    return strlen(text) > DESCRIPTION_MAX ? arena_strndup(a, text, DESCRIPTION_MAX) : text;
}

/* The file at the end of a device path; the path itself where it names none. */
static const char *file_of(struct bytes path, struct arena *a)
{
    const char *text = devpath_text(path, a), *file = strchr(text, '\\');
    return file ? file : text;
}

static const char *application_text(const struct log_event *ev, struct arena *a)
{
    struct uefi_image_load image;
    return uefi_image_load_parse(ev->data, &image) || image.device_path.len == 0
               ? NULL
               : file_of(image.device_path, a);
}

static bool is_variable(uint32_t type)
{
    return type == EV_EFI_VARIABLE_DRIVER_CONFIG || type == EV_EFI_VARIABLE_AUTHORITY ||
           type == EV_EFI_VARIABLE_BOOT || type == EV_EFI_VARIABLE_BOOT2;
}

static const char *type_text(uint32_t type, struct arena *a)
{
    const char *name = eventlog_type_name(type);
    return name ? name : arena_printf(a, "0x%08x", type);
}

/* What stands in PCR 4 is an image also where the log calls it something harmless. */
static const char *image_text(const struct log_event *ev, struct arena *a)
{
    if (ev->type == EV_EFI_BOOT_SERVICES_APPLICATION || ev->type == EV_EFI_BOOT_SERVICES_DRIVER)
        return application_text(ev, a);
    return arena_printf(a, "an image that the log calls %s", type_text(ev->type, a));
}

/* "dbx (certificates: 1, hashes: 430, others: 0)", "SecureBoot (on)" */
static const char *variable_text(const struct log_event *ev, struct arena *a)
{
    struct uefi_variable v;
    struct uefi_signatures s;
    if (uefi_variable_parse(ev->data, &v))
        return NULL;
    const char *name = uefi_name_text(&v, a);
    enum sb_variable which = claims_variable_of(&v);
    if (ev->type != EV_EFI_VARIABLE_DRIVER_CONFIG || which == SB_VARIABLES)
        return name;
    if (which == SB_SECURE_BOOT)
        return arena_printf(a, "%s (%s)", name,
                            v.value.len == 1 && v.value.data[0] == 1 ? "on" : "off");
    if (uefi_signatures_parse(v.value, &s))
        return name;
    return arena_printf(a, "%s (certificates: %zu, hashes: %zu, others: %zu)", name, s.certificates,
                        s.hashes, s.others);
}

static const char *describe(const struct log_event *ev, struct arena *a)
{
    struct loader_event loaded = loader_read(ev);
    if (content_is_image(ev) || ev->type == EV_EFI_BOOT_SERVICES_DRIVER)
        return image_text(ev, a);
    if (is_variable(ev->type))
        return variable_text(ev, a);
    if (loaded.kind != LOADER_NONE)
        return arena_printf(a, "%s %s", loader_kind_name(loaded.kind), loader_text(&loaded, a));
    if (ev->type == EV_S_CRTM_VERSION)
        return text_looks_utf16(ev->data) ? text_utf16(ev->data, a) : text_ascii(ev->data, a);
    if (ev->type == EV_EFI_ACTION || ev->type == EV_ACTION)
        return text_ascii(ev->data, a);
    return NULL;
}

static const char *subject_of(const struct claim_authority *auth, struct arena *a)
{
    if (auth->certificate.len == 0)
        return NULL;
    struct cert_facts f = cert_describe(auth->certificate, a);
    return f.decoded ? f.subject : NULL;
}

static const char *signer_of(const struct log_claims *claims, int index, struct arena *a)
{
    for (size_t i = 0; i < claims->n_applications; i++)
        if (claims->applications[i].event == index)
            return claims->applications[i].authority == CLAIMS_NONE
                       ? NULL
                       : subject_of(&claims->authorities[claims->applications[i].authority], a);
    for (size_t i = 0; i < claims->n_authorities; i++)
        if (claims->authorities[i].event == index)
            return subject_of(&claims->authorities[i], a);
    return NULL;
}

struct boot_events boot_events_of(struct attest_log *log, enum pcr_bank bank, uint32_t pcrs,
                                  struct arena *a)
{
    const struct event_log *events = log_events(log);
    const struct log_claims *claims = log_claims(log, bank, pcrs, a);
    struct boot_event *items = arena_array(a, BOOT_EVENTS_MAX, sizeof *items);
    struct boot_events out = {.events = {.items = items}};
    for (size_t i = 0; i < events->n; i++) {
        const struct log_event *ev = &events->events[i];
        if (ev->pcr >= EVIDENCE_PCRS || !(pcrs >> ev->pcr & 1) || ev->type == EV_NO_ACTION)
            continue;
        if (out.events.n == BOOT_EVENTS_MAX) {
            out.truncated = true;
            break;
        }
        const char *words = describe(ev, a);
        items[out.events.n++] = (struct boot_event){
            .index = (int64_t)i,
            .pcr = ev->pcr,
            .type = type_text(ev->type, a),
            .digest = text_hex(ev->digest[bank], 64, a),
            .description = words ? cut(words, a) : NULL,
            .signer = signer_of(claims, (int)i, a),
        };
    }
    return out;
}

void boot_events_keep(struct boot_events *e, uint32_t pcrs)
{
    struct boot_event *items = e->events.items;
    size_t n = 0;
    for (size_t i = 0; i < e->events.n; i++)
        if (pcrs >> items[i].pcr & 1)
            items[n++] = items[i];
    e->events.n = n;
}

/* ---- what is kept of a boot ---- */

static const char *values_text(const struct attest_claims *c, uint32_t pcrs, struct arena *a)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(pcrs >> i & 1))
            continue;
        jw_key(&w, pcr_names[i]);
        jw_hex(&w, BYTES(c->pcrs[i], pcr_banks[c->bank].size));
    }
    jw_close(&w, '}');
    const char *text = arena_strndup(a, out.data, out.len);
    buf_free(&out);
    return text;
}

static const char *events_text(const struct boot_events *events, struct arena *a)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, &boot_events_schema, events);
    const char *text = arena_strndup(a, out.data, out.len);
    buf_free(&out);
    return text;
}

static const char *digest_text(const char *bank, const char *values, struct arena *a)
{
    const struct bytes parts[] = {BYTES_STR(bank), BYTES_STR(values)};
    uint8_t digest[SHA256_SIZE];
    char *hex = arena_alloc(a, 2 * sizeof digest + 1);
    sha256_parts(parts, ARRAY_LEN(parts), digest);
    hex_encode(BYTES_OF(digest), hex);
    return hex;
}

/* "2, 14" */
static const char *pcrs_text(uint32_t pcrs, struct arena *a)
{
    const char *text = "";
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        if (pcrs >> i & 1)
            text = arena_printf(a, "%s%s%u", text, *text ? ", " : "", i);
    return text;
}

const char *boot_set_of(const struct attest_result *r, struct arena *a, struct boot_set *out)
{
    const struct attest_claims *c = r->claims;
    if (!c || !c->has_log)
        return "the report has no event log that is proven";
    uint32_t pcrs = (c->quoted | attest_baseline_least()) & attest_baseline_pcrs();
    uint32_t lacks = pcrs & ~(c->proven & c->quoted);
    if (lacks)
        return arena_printf(a,
                            "PCR %s of the report is not quoted, or the log does not explain it "
                            "wholly with events that are understood",
                            pcrs_text(lacks, a));
    const struct boot_events events = boot_events_of(c->source, c->bank, pcrs, a);
    if (events.truncated)
        return "the boot has more events than a baseline keeps, so not all could be looked at";
    const char *values = values_text(c, pcrs, a), *bank = pcr_banks[c->bank].name;
    *out = (struct boot_set){.pcrs_mask = pcrs,
                             .digest = digest_text(bank, values, a),
                             .bank = bank,
                             .pcrs = values,
                             .events = events_text(&events, a)};
    return NULL;
}

/* ---- two boots ---- */

struct comparing {
    const struct attest_policy *names;
    struct arena *arena;
    struct boot_differences out;
    bool new_signer; /* PCR 7 of what was found has one that was not expected */
};

static const char *name_of(struct comparing *c, const struct boot_event *e)
{
    uint8_t digest[64];
    size_t n = strlen(e->digest) / 2;
    const char *known = NULL;
    if (c->names && n <= sizeof digest && hex_decode(e->digest, 2 * n, digest, n))
        known = attest_policy_image_name(c->names, BYTES(digest, n));
    return known ? known : e->description ? e->description : e->type;
}

static const char *signer_text(struct comparing *c, const struct boot_event *was,
                               const struct boot_event *is)
{
    if (!was->signer && !is->signer)
        return "";
    /* Which signer is an image's is the word of the log alone; that there is no other is proven. */
    if (was->signer && is->signer && strcmp(was->signer, is->signer) == 0)
        return c->new_signer ? ", signer uncertain: PCR 7 has a new one" : ", signer unchanged";
    return arena_printf(c->arena, ", signer %s instead of %s", is->signer ? is->signer : "unknown",
                        was->signer ? was->signer : "unknown");
}

static void put(struct comparing *c, const struct boot_event *was, const struct boot_event *is)
{
    const struct boot_event *either = was ? was : is;
    if (!either)
        return;
    struct boot_difference *d = &c->out.items[c->out.n++];
    *d = (struct boot_difference){.pcr = either->pcr, .expected = was, .found = is};
    if (was && is) {
        const char *before = name_of(c, was), *now = name_of(c, is);
        d->kind = "replaced";
        d->text = strcmp(before, now) == 0
                      ? arena_printf(c->arena, "%s changed%s", now, signer_text(c, was, is))
                      : arena_printf(c->arena, "%s replaced by %s%s", before, now,
                                     signer_text(c, was, is));
    } else if (was) {
        d->kind = "removed";
        d->text = arena_printf(c->arena, "%s is not measured any more", name_of(c, was));
    } else {
        d->kind = "added";
        d->text = arena_printf(c->arena, "%s is new", name_of(c, is));
    }
}

/* What lies between two events that both boots have: events of one type take each other's place. */
static void put_gap(struct comparing *c, const struct boot_event **was, size_t n_was,
                    const struct boot_event **is, size_t n_is)
{
    size_t k = 0;
    for (size_t i = 0; i < n_was; i++) {
        size_t match = k;
        while (match < n_is && strcmp(is[match]->type, was[i]->type) != 0)
            match++;
        if (match == n_is) {
            put(c, was[i], NULL);
            continue;
        }
        for (; k < match; k++)
            put(c, NULL, is[k]);
        put(c, was[i], is[k++]);
    }
    for (; k < n_is; k++)
        put(c, NULL, is[k]);
}

struct side {
    const struct boot_event **events;
    size_t n;
};

static struct side side_of(const struct boot_events *e, int64_t pcr, struct arena *a)
{
    const struct boot_event *items = e->events.items;
    struct side s = {.events = arena_array(a, e->events.n + 1, sizeof(const struct boot_event *))};
    for (size_t i = 0; i < e->events.n; i++)
        if (items[i].pcr == pcr)
            s.events[s.n++] = &items[i];
    return s;
}

/* Longest common subsequence of the digests; both sides are short (BOOT_EVENTS_MAX). */
static void compare_pcr(struct comparing *c, const struct side *was, const struct side *is)
{
    size_t width = is->n + 1, i = 0, k = 0, from_was = 0, from_is = 0;
    uint16_t *length = arena_array(c->arena, (was->n + 1) * width, sizeof *length);
    for (size_t x = was->n; x-- > 0;)
        for (size_t y = is->n; y-- > 0;) {
            uint16_t down = length[(x + 1) * width + y], right = length[x * width + y + 1];
            bool same = strcmp(was->events[x]->digest, is->events[y]->digest) == 0;
            length[x * width + y] = same           ? (uint16_t)(length[(x + 1) * width + y + 1] + 1)
                                    : down > right ? down
                                                   : right;
        }
    while (i < was->n && k < is->n) {
        if (strcmp(was->events[i]->digest, is->events[k]->digest) == 0) {
            put_gap(c, was->events + from_was, i - from_was, is->events + from_is, k - from_is);
            from_was = ++i;
            from_is = ++k;
        } else if (length[(i + 1) * width + k] >= length[i * width + k + 1]) {
            i++;
        } else {
            k++;
        }
    }
    put_gap(c, was->events + from_was, was->n - from_was, is->events + from_is, is->n - from_is);
}

static bool has_digest(const struct side *s, const char *digest)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->events[i]->digest, digest) == 0)
            return true;
    return false;
}

static bool has_new_signer(const struct boot_events *expected, const struct boot_events *found,
                           struct arena *a)
{
    const struct side was = side_of(expected, 7, a), is = side_of(found, 7, a);
    for (size_t i = 0; i < is.n; i++)
        if (is.events[i]->signer && !has_digest(&was, is.events[i]->digest))
            return true;
    return false;
}

struct boot_differences boot_compare(const struct boot_events *expected,
                                     const struct boot_events *found,
                                     const struct attest_policy *names, struct arena *a)
{
    struct comparing c = {
        .names = names, .arena = a, .new_signer = has_new_signer(expected, found, a)};
    c.out.items = arena_array(a, expected->events.n + found->events.n + 1, sizeof *c.out.items);
    for (int64_t pcr = 0; pcr < EVIDENCE_PCRS; pcr++) {
        const struct side was = side_of(expected, pcr, a), is = side_of(found, pcr, a);
        if (was.n || is.n)
            compare_pcr(&c, &was, &is);
    }
    return c.out;
}

void boot_differences_add(struct boot_differences *d, const char *kind, int64_t pcr,
                          const char *text, struct arena *a)
{
    struct boot_difference *items = arena_array(a, d->n + 1, sizeof *items);
    if (d->n)
        memcpy(items, d->items, d->n * sizeof *items);
    items[d->n++] = (struct boot_difference){.kind = kind, .pcr = pcr, .text = text};
    d->items = items;
}

bool boot_differences_has(const struct boot_differences *d, int64_t pcr)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].pcr == pcr)
            return true;
    return false;
}

void boot_differences_write(struct jw *w, const struct boot_differences *d)
{
    jw_open(w, '[');
    for (size_t i = 0; i < d->n; i++) {
        jw_open(w, '{');
        jw_key_str(w, "kind", d->items[i].kind);
        jw_key_int(w, "pcr", d->items[i].pcr);
        jw_key_str(w, "text", d->items[i].text);
        if (d->items[i].expected) {
            jw_key(w, "expected");
            json_encode(w, &event_schema, d->items[i].expected);
        }
        if (d->items[i].found) {
            jw_key(w, "found");
            json_encode(w, &event_schema, d->items[i].found);
        }
        jw_close(w, '}');
    }
    jw_close(w, ']');
}
