#include "attest/eventlog.h"

#include "attest/hash.h"

#define SPEC_ID_ALGS_MAX 8
#define DIGESTS_MAX      8
#define EVENTS_FIRST     128 /* room at first; most logs have fewer */
#define PCR_ANY          0xffffffffu

/* TCG_EfiSpecIdEventAlgorithmSize */
struct alg_size {
    uint16_t alg;
    uint16_t size;
};

struct parser {
    struct cursor c;
    struct bytes in;
    struct arena *arena;
    size_t room; /* for events */
    struct event_log log;
    struct alg_size algs[SPEC_ID_ALGS_MAX];
    size_t n_algs;
};

static bool malformed(struct parser *p, const char *reason, const char *detail)
{
    if (!p->log.bad) {
        p->log.bad = reason;
        p->log.bad_detail = detail;
    }
    return false;
}

static const struct alg_size *declared(const struct parser *p, uint16_t alg)
{
    for (size_t i = 0; i < p->n_algs; i++)
        if (p->algs[i].alg == alg)
            return &p->algs[i];
    return NULL;
}

static bool declare(struct parser *p, uint16_t alg, uint16_t size)
{
    enum pcr_bank bank = hash_of_tpm_alg(alg);
    if (declared(p, alg))
        return malformed(p, "duplicate_algorithm", "the header declares an algorithm twice");
    if (size == 0 || size > DIGEST_MAX || (bank != BANK_COUNT && size != pcr_banks[bank].size))
        return malformed(p, "digest_size", "the header declares a wrong digest size");
    p->algs[p->n_algs++] = (struct alg_size){alg, size};
    if (bank != BANK_COUNT)
        p->log.banks[bank] = true;
    return true;
}

/* TCG_EfiSpecIDEvent after its signature (PFP 1.05, 10.4.5.1) */
static bool parse_spec_id(struct parser *p, struct bytes data)
{
    struct cursor c = cursor_of(data);
    cursor_take(&c, 16);
    cursor_u32le(&c); /* platformClass */
    cursor_u8(&c);    /* specVersionMinor */
    uint8_t major = cursor_u8(&c);
    cursor_u8(&c); /* specErrata */
    uint8_t uintn = cursor_u8(&c);
    uint32_t n = cursor_u32le(&c);
    if (c.bad)
        return malformed(p, "header", "the Spec ID event is truncated");
    if (major != 2 || (uintn != 1 && uintn != 2))
        return malformed(p, "header", "the Spec ID event is of another version");
    if (n == 0 || n > SPEC_ID_ALGS_MAX)
        return malformed(p, "header", "the Spec ID event declares no or too many algorithms");
    for (uint32_t i = 0; i < n; i++) {
        uint16_t alg = cursor_u16le(&c), size = cursor_u16le(&c);
        if (c.bad)
            return malformed(p, "header", "the Spec ID event is truncated");
        if (!declare(p, alg, size))
            return false;
    }
    cursor_take(&c, cursor_u8(&c)); /* vendorInfo */
    if (!cursor_done(&c))
        return malformed(p, "header", "the vendorInfo does not fit the Spec ID event");
    return true;
}

static bool check_pcr(struct parser *p, const struct log_event *ev)
{
    if (ev->pcr < EVIDENCE_PCRS || (ev->pcr == PCR_ANY && ev->type == EV_NO_ACTION))
        return true;
    return malformed(p, "pcr_index", "an event names a PCR that does not exist");
}

static bool parse_data(struct parser *p, struct log_event *ev)
{
    uint32_t size = cursor_u32le(&p->c);
    ev->data = cursor_take(&p->c, size);
    if (p->c.bad)
        return malformed(p, "truncated", "the log ends within an event");
    return true;
}

/* TCG_PCR_EVENT (PFP 1.05, 10.2.1): SHA-1 only */
static bool parse_legacy(struct parser *p, struct log_event *ev)
{
    ev->pcr = cursor_u32le(&p->c);
    ev->type = cursor_u32le(&p->c);
    ev->digest[BANK_SHA1] = cursor_take(&p->c, 20);
    return parse_data(p, ev) && check_pcr(p, ev);
}

static bool parse_digest(struct parser *p, struct log_event *ev, uint16_t *alg)
{
    *alg = cursor_u16le(&p->c);
    if (p->c.bad)
        return malformed(p, "truncated", "the log ends within an event");
    const struct alg_size *a = declared(p, *alg);
    if (!a)
        return malformed(p, "undeclared_algorithm", "a digest's algorithm is not in the header");
    struct bytes digest = cursor_take(&p->c, a->size);
    if (p->c.bad)
        return malformed(p, "truncated", "the log ends within an event");
    enum pcr_bank bank = hash_of_tpm_alg(*alg);
    if (bank != BANK_COUNT)
        ev->digest[bank] = digest;
    return true;
}

/* TCG_PCR_EVENT2 (PFP 1.05, 10.2.2) */
static bool parse_agile(struct parser *p, struct log_event *ev)
{
    uint16_t seen[DIGESTS_MAX];
    ev->pcr = cursor_u32le(&p->c);
    ev->type = cursor_u32le(&p->c);
    uint32_t n = cursor_u32le(&p->c);
    if (p->c.bad)
        return malformed(p, "truncated", "the log ends within an event");
    if (n == 0 || n > DIGESTS_MAX)
        return malformed(p, "digest_count", "an event has no or too many digests");
    for (uint32_t i = 0; i < n; i++) {
        if (!parse_digest(p, ev, &seen[i]))
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (seen[k] == seen[i])
                return malformed(p, "duplicate_digest", "an event has two digests of one bank");
    }
    return parse_data(p, ev) && check_pcr(p, ev);
}

static const char spec_id_prefix[] = "Spec ID Event";

static bool has_prefix(struct bytes data, const char *prefix, size_t n)
{
    return data.len >= n && memcmp(data.data, prefix, n) == 0;
}

/* The first event is of the legacy layout in both formats and tells which one follows. */
static bool parse_header(struct parser *p)
{
    struct log_event *ev = &p->log.events[0];
    if (!parse_legacy(p, ev))
        return false;
    p->log.n = 1;
    bool spec_id =
        ev->type == EV_NO_ACTION && has_prefix(ev->data, spec_id_prefix, sizeof spec_id_prefix - 1);
    if (!spec_id) {
        p->log.banks[BANK_SHA1] = true;
        return true;
    }
    if (ev->pcr != 0)
        return malformed(p, "header", "the Spec ID event is not for PCR 0");
    /* "Spec ID Event00" and "02" head legacy logs (TCG EFI 1.22, 7.4) */
    if (has_prefix(ev->data, "Spec ID Event00", 16) ||
        has_prefix(ev->data, "Spec ID Event02", 16)) {
        p->log.banks[BANK_SHA1] = true;
        return true;
    }
    if (!has_prefix(ev->data, "Spec ID Event03", 16))
        return malformed(p, "header", "the Spec ID event is of an unknown kind");
    p->log.agile = true;
    return parse_spec_id(p, ev->data);
}

/* A legacy log has no marker of its end: a run of zero bytes after it would parse as events that
 * measured nothing. */
static bool legacy_padding(const struct log_event *ev)
{
    static const uint8_t zeros[20];
    return ev->pcr == 0 && ev->type == EV_PREBOOT_CERT && ev->data.len == 0 &&
           bytes_equal(ev->digest[BANK_SHA1], BYTES_OF(zeros));
}

static void make_room(struct parser *p)
{
    if (p->log.n < p->room)
        return;
    struct log_event *more = arena_array(p->arena, p->room * 2, sizeof *more);
    memcpy(more, p->log.events, p->log.n * sizeof *more);
    p->log.events = more;
    p->room *= 2;
}

static bool parse_next(struct parser *p)
{
    if (p->log.n == EVENTLOG_EVENTS_MAX)
        return malformed(p, "too_many_events", "the log has more than 4096 events");
    make_room(p);
    struct log_event *ev = &p->log.events[p->log.n];
    if (!(p->log.agile ? parse_agile(p, ev) : parse_legacy(p, ev)))
        return false;
    if (!p->log.agile && legacy_padding(ev))
        return malformed(p, "padding", "zero bytes follow the last event");
    p->log.n++;
    return true;
}

struct event_log eventlog_parse(struct bytes in, struct arena *a)
{
    struct parser p = {.c = cursor_of(in), .in = in, .arena = a, .room = EVENTS_FIRST};
    if (in.len == 0)
        malformed(&p, "empty", "the log is empty");
    if (in.len > EVIDENCE_LOG_MAX)
        malformed(&p, "too_large", "the log is larger than 128 KiB");
    if (p.log.bad)
        return p.log;
    p.log.events = arena_array(a, p.room, sizeof *p.log.events);
    size_t start = 0;
    bool ok = parse_header(&p);
    while (ok && p.c.left > 0) {
        start = in.len - p.c.left;
        ok = parse_next(&p);
    }
    if (!ok)
        p.log.bad_offset = start;
    return p.log;
}

const char *eventlog_type_name(uint32_t type)
{
    switch (type) {
#define X(value, name)                                                                             \
    case value:                                                                                    \
        return #name;
        EVENT_TYPE_LIST(X)
#undef X
    default:
        return NULL;
    }
}
