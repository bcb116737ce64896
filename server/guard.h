/*
 * The header guard: what RFC 9112 forbids and libmicrohttpd 0.9.75 lets pass.
 *
 * That parser cuts a request head in place: it puts NULs where it saw line ends, colons and blanks,
 * and then reports C strings. The block it leaves still tells everything: two NULs stand where CRLF
 * stood, one where a bare CR or LF did, and a NUL of the sender's own makes a line end too early.
 * So the guard walks that block, byte by byte, and believes nothing else. Later parsers (1.0) work
 * differently and are strict themselves; http_start refuses a library whose blocks are unknown.
 *
 * Pure; any thread.
 */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include "core/bytes.h"
#include "core/err.h"

#define GUARD_TARGET_MAX 8192
#define GUARD_BLOCK_MAX  16384
#define GUARD_FIELDS_MAX 64

/* Views into the block, NUL-terminated; the value is without the blanks around it. */
struct guard_field {
    struct bytes name;
    struct bytes value;
};

struct guard_head {
    const char *method;
    bool http10;
    bool chunked;
    bool has_length;
    uint64_t length; /* Content-Length; 0 where absent */
    size_t n_fields;
    struct guard_field fields[GUARD_FIELDS_MAX]; /* n_fields of them mean something */
};

/*
 * `block` is the head from the first byte of the method to the end of the empty line, `target_len`
 * the length of the request target as the parser reported it. Blanks at the end of values are
 * overwritten. ERR_BAD_REQUEST, ERR_URI_TOO_LONG,
 * ERR_HEADERS_TOO_LARGE. In every error case the connection must be closed after the answer.
 */
enum err guard_check(uint8_t *block, size_t len, size_t target_len, struct guard_head *out,
                     struct err_info *e) MUST_CHECK;

/* The first field of that name (case-insensitive), or NULL. */
const struct guard_field *guard_find(const struct guard_head *h, const char *name);

#define GUARD_IDS_MAX 2

/* A block without the values of some fields. */
struct guard_cut {
    size_t n_ids;
    struct guard_field ids[GUARD_IDS_MAX]; /* values with the blanks at their end, if any */
    size_t n_parts;
    struct bytes parts[GUARD_IDS_MAX + 1]; /* the rest, in order */
};

/*
 * Of a block that guard_check has not seen: where the values of the fields `names` (in lower case) are,
 * of which a request may have one each. Where this is true and the parts, and target_len, are those of a
 * block that guard_check has accepted, it would say the same of this one, as long as the values are
 * visible characters. False says nothing of the block.
 */
bool guard_cut(struct bytes block, size_t target_len, const char *const names[GUARD_IDS_MAX],
               struct guard_cut *out);

/* RFC 9110 section 5.6.2. */
bool guard_is_token(struct bytes b);

#endif
