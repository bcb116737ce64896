/*
 * Inside of the wire format: the structure, which the JSON and the CBOR decoder share.
 */
#ifndef ATTEST_WIREFORM_H
#define ATTEST_WIREFORM_H

#include "attest/wire.h"

/* Where a member stands. */
enum wire_level { LEVEL_ROOT, LEVEL_ENROLLMENT, LEVEL_ACTIVATION, LEVEL_QUOTE, LEVEL_AK };

enum wire_kind {
    KIND_TEXT,   /* text in both forms */
    KIND_SECRET, /* text */
    KIND_TOKEN,  /* text, kept as bytes */
    KIND_BYTES,  /* base64, or a byte string */
    KIND_HEX,    /* hex, or a byte string */
    KIND_OBJECT, /* of the level `object` */
    KIND_PCRS,
    KIND_CHAIN,
};

struct wire_member {
    enum wire_level level;
    enum wire_kind kind;
    struct bytes name;
    const char *pointer;
    size_t offset; /* in struct evidence */
    enum wire_level object;
};

#define WIRE_MEMBERS 19
extern const struct wire_member wire_members[WIRE_MEMBERS];

/* What was decoded so far. */
struct wire_state {
    struct evidence *out;
    struct err_info *e;
    uint32_t seen;  /* bit i: wire_members[i] */
    uint32_t banks; /* bit i: bank i was there */
};

/* The member of that name; NULL with the complaint made where there is none, or it came before.
 * `parent` is where the level stands. */
const struct wire_member *wire_enter(struct wire_state *s, enum wire_level level,
                                     const char *parent, struct bytes name);
/* Store a value of a scalar kind. Text must be NUL-terminated. */
void wire_set_text(struct wire_state *s, const struct wire_member *m, const char *text, size_t n);
void wire_set_bytes(struct wire_state *s, const struct wire_member *m, struct bytes b);

/* The bank of a member of `pcrs`; BANK_COUNT with the complaint made. */
enum pcr_bank wire_enter_bank(struct wire_state *s, struct bytes name);
/* False with the complaint made where the index or the size is wrong, or the index came before. */
bool wire_set_pcr(struct wire_state *s, enum pcr_bank bank, uint64_t index, struct bytes value);
bool wire_add_chain(struct wire_state *s, struct bytes der);

/* Rules that hold for both forms: what is required, sizes, exclusions. Returns s->e->code. */
enum err wire_finish(struct wire_state *s, enum wire_need need);

/* "#/quote" and "message" -> "#/quote/message"; what is not printable ASCII becomes '?'. */
void wire_pointer(char *out, size_t size, const char *parent, struct bytes name);

#endif
