#include "attest/wire.h"

#include "attest/wireform.h"
#include "core/clock.h"
#include "core/sha256.h"

#define AT(member) offsetof(struct evidence, member)

#define NAMED(parent, text) {(const uint8_t *)(text), sizeof(text) - 1}, parent "/" text

const struct wire_member wire_members[WIRE_MEMBERS] = {
    {LEVEL_ROOT, KIND_TEXT, NAMED("#", "challengeId"), AT(challenge_id), 0},
    {LEVEL_ROOT, KIND_TEXT, NAMED("#", "vmId"), AT(vm_id), 0},
    {LEVEL_ROOT, KIND_OBJECT, NAMED("#", "enrollment"), 0, LEVEL_ENROLLMENT},
    {LEVEL_ENROLLMENT, KIND_SECRET, NAMED("#/enrollment", "token"), AT(enrollment_token), 0},
    {LEVEL_ENROLLMENT, KIND_BYTES, NAMED("#/enrollment", "attestedDocument"), AT(attested_document),
     0},
    {LEVEL_ENROLLMENT, KIND_OBJECT, NAMED("#/enrollment", "activation"), 0, LEVEL_ACTIVATION},
    {LEVEL_ACTIVATION, KIND_TEXT, NAMED("#/enrollment/activation", "id"), AT(activation_id), 0},
    {LEVEL_ACTIVATION, KIND_BYTES, NAMED("#/enrollment/activation", "secret"),
     AT(activation_secret), 0},
    {LEVEL_ROOT, KIND_OBJECT, NAMED("#", "quote"), 0, LEVEL_QUOTE},
    {LEVEL_QUOTE, KIND_BYTES, NAMED("#/quote", "message"), AT(quote_message), 0},
    {LEVEL_QUOTE, KIND_BYTES, NAMED("#/quote", "signature"), AT(quote_signature), 0},
    {LEVEL_ROOT, KIND_PCRS, NAMED("#", "pcrs"), 0, 0},
    {LEVEL_ROOT, KIND_OBJECT, NAMED("#", "ak"), 0, LEVEL_AK},
    {LEVEL_AK, KIND_BYTES, NAMED("#/ak", "public"), AT(ak_public), 0},
    {LEVEL_AK, KIND_BYTES, NAMED("#/ak", "certificate"), AT(ak_certificate), 0},
    {LEVEL_AK, KIND_CHAIN, NAMED("#/ak", "chain"), 0, 0},
    {LEVEL_ROOT, KIND_BYTES, NAMED("#", "eventLog"), AT(event_log), 0},
    {LEVEL_ROOT, KIND_HEX, NAMED("#", "eventLogDigest"), AT(event_log_digest), 0},
    {LEVEL_ROOT, KIND_TOKEN, NAMED("#", "maaToken"), AT(maa_token), 0},
};

/* Most bytes of what is not bounded elsewhere. */
static const struct {
    const char *pointer;
    size_t offset;
    size_t max;
} limits[] = {
    {"#/enrollment/attestedDocument", AT(attested_document), EVIDENCE_DOCUMENT_MAX},
    {"#/enrollment/activation/secret", AT(activation_secret), EVIDENCE_SECRET_MAX},
    {"#/quote/message", AT(quote_message), 4096},
    {"#/quote/signature", AT(quote_signature), 2048},
    {"#/ak/public", AT(ak_public), 4096},
    {"#/ak/certificate", AT(ak_certificate), EVIDENCE_CERT_MAX},
    {"#/eventLog", AT(event_log), EVIDENCE_LOG_MAX},
    {"#/maaToken", AT(maa_token), EVIDENCE_TOKEN_MAX},
};

enum err wire_malformed(struct err_info *e, const char *pointer, const char *why)
{
    if (e && e->code == OK)
        err_set(e, ERR_EVIDENCE_MALFORMED, "the evidence is not well-formed");
    err_add_field(e, pointer, "%s", why);
    return ERR_EVIDENCE_MALFORMED;
}

void wire_pointer(char *out, size_t size, const char *parent, struct bytes name)
{
    size_t n = strnlen(parent, size - 2);
    memcpy(out, parent, n);
    out[n++] = '/';
    for (size_t i = 0; i < name.len && n + 3 < size; i++) {
        char c = (char)name.data[i];
        if (c == '~' || c == '/') { /* RFC 6901, section 3 */
            out[n++] = '~';
            out[n++] = c == '~' ? '0' : '1';
        } else {
            out[n++] = name.data[i] >= 0x20 && name.data[i] < 0x7f ? c : '?';
        }
    }
    out[n] = 0;
}

const struct wire_member *wire_enter(struct wire_state *s, enum wire_level level,
                                     const char *parent, struct bytes name)
{
    char pointer[128];
    for (unsigned i = 0; i < WIRE_MEMBERS; i++) {
        const struct wire_member *m = &wire_members[i];
        if (m->level != level || !bytes_equal(name, m->name))
            continue;
        if (s->seen >> i & 1) {
            wire_malformed(s->e, m->pointer, "appears twice");
            return NULL;
        }
        s->seen |= 1u << i;
        return m;
    }
    wire_pointer(pointer, sizeof pointer, parent, name);
    wire_malformed(s->e, pointer, "is not a member of evidence");
    return NULL;
}

void wire_set_text(struct wire_state *s, const struct wire_member *m, const char *text, size_t n)
{
    void *at = (char *)s->out + m->offset;
    if (m->kind == KIND_SECRET)
        *(struct secret *)at = (struct secret){text, n};
    else if (m->kind == KIND_TOKEN)
        *(struct bytes *)at = BYTES(text, n);
    else
        *(const char **)at = text;
}

void wire_set_bytes(struct wire_state *s, const struct wire_member *m, struct bytes b)
{
    *(struct bytes *)(void *)((char *)s->out + m->offset) = b;
}

static enum pcr_bank no_bank(struct wire_state *s, struct bytes name, const char *why)
{
    char pointer[64];
    wire_pointer(pointer, sizeof pointer, "#/pcrs", name);
    wire_malformed(s->e, pointer, why);
    return BANK_COUNT;
}

enum pcr_bank wire_enter_bank(struct wire_state *s, struct bytes name)
{
    for (int i = 0; i < BANK_COUNT; i++) {
        if (!bytes_equal(name, BYTES_STR(pcr_banks[i].name)))
            continue;
        if (s->banks >> i & 1)
            return no_bank(s, name, "appears twice");
        s->banks |= 1u << i;
        return (enum pcr_bank)i;
    }
    return no_bank(s, name, "is not a PCR bank");
}

bool wire_set_pcr(struct wire_state *s, enum pcr_bank bank, uint64_t index, struct bytes value)
{
    struct evidence_bank *b = &s->out->banks[bank];
    const char *why = NULL;
    if (index >= EVIDENCE_PCRS)
        why = "is not a PCR index";
    else if (b->present >> index & 1)
        why = "appears twice";
    else if (value.len != pcr_banks[bank].size)
        why = "has not the size of the bank's digest";
    if (why) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "#/pcrs/%s/%llu", pcr_banks[bank].name,
                 (unsigned long long)index);
        wire_malformed(s->e, pointer, why);
        return false;
    }
    b->present |= 1u << index;
    b->value[index] = value;
    return true;
}

bool wire_add_chain(struct wire_state *s, struct bytes der)
{
    struct evidence *ev = s->out;
    const char *why = NULL;
    if (ev->n_chain == EVIDENCE_CHAIN_MAX)
        why = "has more than 6 certificates";
    else if (der.len == 0 || der.len > EVIDENCE_CERT_MAX)
        why = "holds a certificate that is empty or larger than 8 KiB";
    if (why) {
        wire_malformed(s->e, "#/ak/chain", why);
        return false;
    }
    ev->chain[ev->n_chain++] = der;
    return true;
}

static bool was_seen(const struct wire_state *s, size_t offset)
{
    for (unsigned i = 0; i < WIRE_MEMBERS; i++)
        if (wire_members[i].offset == offset && wire_members[i].kind == KIND_BYTES)
            return s->seen >> i & 1;
    return false;
}

static void check_sizes(const struct wire_state *s)
{
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        const struct bytes *b = (const void *)((const char *)s->out + limits[i].offset);
        if (b->len > limits[i].max)
            wire_malformed(s->e, limits[i].pointer, "is larger than allowed");
    }
    if (s->out->event_log_digest.len && s->out->event_log_digest.len != 32)
        wire_malformed(s->e, "#/eventLogDigest", "must have 32 bytes");
}

static void check_ids(const struct wire_state *s, enum wire_need need)
{
    const struct evidence *ev = s->out;
    if (need == WIRE_REPORT && !ev->challenge_id)
        wire_malformed(s->e, "#/challengeId", "is required");
    if (ev->challenge_id && (!ev->challenge_id[0] || strlen(ev->challenge_id) > 256))
        wire_malformed(s->e, "#/challengeId", "must have 1 to 256 characters");
    if (need == WIRE_REPORT && !ev->vm_id)
        wire_malformed(s->e, "#/vmId", "is required");
    if (ev->vm_id && !uuid_valid(ev->vm_id))
        wire_malformed(s->e, "#/vmId", "must be a GUID");
    size_t token = ev->enrollment_token.len;
    if (ev->enrollment_token.text && (token == 0 || token > 512))
        wire_malformed(s->e, "#/enrollment/token", "must have 1 to 512 characters");
    size_t id = ev->activation_id ? strlen(ev->activation_id) : 0;
    if (ev->activation_id && (id == 0 || id > EVIDENCE_ACTIVATION_MAX))
        wire_malformed(s->e, "#/enrollment/activation/id", "must have 1 to 1024 characters");
    if ((ev->activation_id != NULL) != (ev->activation_secret.len > 0))
        wire_malformed(s->e, "#/enrollment/activation", "needs both id and secret");
}

enum err wire_finish(struct wire_state *s, enum wire_need need)
{
    const struct evidence *ev = s->out;
    uint32_t any = 0;
    for (int i = 0; i < BANK_COUNT; i++)
        any |= ev->banks[i].present;
    check_ids(s, need);
    if (ev->quote_message.len == 0)
        wire_malformed(s->e, "#/quote/message", "is required");
    if (ev->quote_signature.len == 0)
        wire_malformed(s->e, "#/quote/signature", "is required");
    if (!any)
        wire_malformed(s->e, "#/pcrs", "at least one PCR value is required");
    if (was_seen(s, AT(event_log)) && ev->event_log_digest.len)
        wire_malformed(s->e, "#/eventLogDigest", "excludes eventLog");
    check_sizes(s);
    return s->e->code;
}

void wire_own(struct evidence *ev, struct arena *a)
{
    for (unsigned i = 0; i < WIRE_MEMBERS; i++) {
        const struct wire_member *m = &wire_members[i];
        if ((m->kind != KIND_BYTES && m->kind != KIND_HEX) || m->offset == AT(event_log))
            continue;
        struct bytes *b = (void *)((char *)ev + m->offset);
        *b = arena_copy(a, *b);
    }
    for (int bank = 0; bank < BANK_COUNT; bank++)
        for (uint32_t left = ev->banks[bank].present; left; left &= left - 1) {
            struct bytes *b = &ev->banks[bank].value[__builtin_ctz(left)];
            *b = arena_copy(a, *b);
        }
    for (size_t i = 0; i < ev->n_chain; i++)
        ev->chain[i] = arena_copy(a, ev->chain[i]);
}

void wire_document_nonce(struct bytes challenge_nonce, char out[WIRE_DOCUMENT_NONCE_SIZE])
{
    const struct bytes parts[] = {BYTES_STR("tlgate attested document"), challenge_nonce};
    uint8_t digest[SHA256_SIZE];
    sha256_parts(parts, ARRAY_LEN(parts), digest);
    struct cursor c = cursor_of(BYTES_OF(digest));
    snprintf(out, WIRE_DOCUMENT_NONCE_SIZE, "%010llu",
             (unsigned long long)(cursor_u64be(&c) % 10000000000u));
}
