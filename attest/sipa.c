#include "attest/sipa.h"

#include "attest/text.h"

/* SIPAEVENTTYPE_* in bits 16 to 19; SIPAEVENTTYPE_AGGREGATION marks what has children. */
#define TYPE_MASK        0x000f0000u
#define TYPE_CONTAINER   0x00010000u
#define TYPE_AGGREGATION 0x40000000u

enum sipa_type {
    SIPA_TRUST_BOUNDARY = 0x40010001,
    SIPA_ELAM_AGGREGATION = 0x40010002,
    SIPA_MODULE_AGGREGATION = 0x40010003,
    SIPA_BOOT_COUNTER = 0x00020002,
    SIPA_TRANSFER_CONTROL = 0x00020003,
    SIPA_BITLOCKER_UNLOCK = 0x00020005,
    SIPA_SYSTEM_ROOT = 0x00050009,
    SIPA_SI_POLICY = 0x0005000f,
    SIPA_ELAM_KEY_NAME = 0x00090001,
};

struct node {
    uint32_t type;
    struct bytes data;
};

static bool is_container(uint32_t type)
{
    return (type & TYPE_AGGREGATION) && (type & TYPE_MASK) == TYPE_CONTAINER;
}

/* The size is checked against what the parent has left. */
static bool take_node(struct cursor *c, struct node *out)
{
    out->type = cursor_u32le(c);
    uint32_t size = cursor_u32le(c);
    out->data = cursor_take(c, size);
    return !c->bad;
}

bool sipa_is(struct bytes data)
{
    struct cursor c = cursor_of(data);
    return is_container(cursor_u32le(&c)) && !c.bad;
}

void sipa_init(struct sipa_claims *c)
{
    *c = (struct sipa_claims){.elam = TRI_UNSET,
#define X(member, type, name) .member = TRI_UNSET,
                              SIPA_WEAK_LIST(X) SIPA_STRONG_LIST(X)
#undef X
    };
}

/* Little-endian, 1 to 8 bytes; writers differ in the width of the same event. */
static bool value_of(struct bytes data, uint64_t *out)
{
    *out = 0;
    if (data.len == 0 || data.len > 8)
        return false;
    for (size_t i = data.len; i > 0; i--)
        *out = *out << 8 | data.data[i - 1];
    return true;
}

static void latch_weak(enum tri *t, bool on)
{
    if (on || *t == TRI_UNSET)
        *t = on ? TRI_TRUE : TRI_FALSE;
}

static void latch_strong(enum tri *t, bool on)
{
    if (!on || *t == TRI_UNSET)
        *t = on ? TRI_TRUE : TRI_FALSE;
}

static bool read_flag(struct sipa_claims *c, uint32_t type, uint64_t v)
{
    switch (type) {
#define X(member, value, name)                                                                     \
    case value:                                                                                    \
        latch_weak(&c->member, v != 0);                                                            \
        return true;
        SIPA_WEAK_LIST(X)
#undef X
#define X(member, value, name)                                                                     \
    case value:                                                                                    \
        latch_strong(&c->member, v != 0);                                                          \
        return true;
        SIPA_STRONG_LIST(X)
#undef X
    default:
        return false;
    }
}

static void read_number(struct sipa_claims *c, uint32_t type, uint64_t v)
{
    if (read_flag(c, type, v))
        return;
    if (type == SIPA_BOOT_COUNTER) {
        c->has_boot_count = true;
        c->boot_count = v;
    } else if (type == SIPA_TRANSFER_CONTROL) {
        if (!c->has_transfer || v != SIPA_TRANSFER_TO_LOADER)
            c->transfer = (uint32_t)v;
        c->has_transfer = true;
    } else if (type == SIPA_BITLOCKER_UNLOCK) {
        c->has_bitlocker = true;
        c->bitlocker_unlock |= (uint32_t)v;
    }
}

static bool is_flag(uint32_t type)
{
    struct sipa_claims scratch;
    sipa_init(&scratch);
    return read_flag(&scratch, type, 0);
}

static const char *read_leaf(const struct node *n, struct sipa_claims *c, struct arena *a)
{
    uint64_t v;
    if (value_of(n->data, &v))
        read_number(c, n->type, v);
    else if (is_flag(n->type))
        return "a SIPA event's value is of a wrong size";
    if (n->type == SIPA_SI_POLICY)
        c->code_integrity_policies++;
    if (n->type == SIPA_SYSTEM_ROOT && a && !c->system_root)
        c->system_root = text_utf16(n->data, a);
    if (n->type == SIPA_ELAM_KEY_NAME && a && !c->elam_driver)
        c->elam_driver = text_utf16(n->data, a);
    return NULL;
}

static const char *read_nodes(struct bytes data, unsigned depth, struct sipa_claims *c,
                              struct arena *a)
{
    struct cursor in = cursor_of(data);
    struct node n;
    if (depth == SIPA_DEPTH_MAX)
        return "SIPA events are nested too deep";
    while (in.left > 0) {
        if (!take_node(&in, &n))
            return "a SIPA event is longer than what holds it";
        const char *why =
            is_container(n.type) ? read_nodes(n.data, depth + 1, c, a) : read_leaf(&n, c, a);
        if (why)
            return why;
        c->modules += n.type == SIPA_MODULE_AGGREGATION;
        if (n.type == SIPA_ELAM_AGGREGATION)
            c->elam = TRI_TRUE;
    }
    return NULL;
}

const char *sipa_read(struct bytes data, struct sipa_claims *c, struct arena *a)
{
    c->present = true;
    return read_nodes(data, 0, c, a);
}

void sipa_weaken(struct sipa_claims *c, const struct sipa_claims *late)
{
#define X(member, type, name)                                                                      \
    if (late->member == TRI_TRUE)                                                                  \
        c->member = TRI_TRUE;
    SIPA_WEAK_LIST(X)
#undef X
#define X(member, type, name)                                                                      \
    if (late->member == TRI_FALSE)                                                                 \
        c->member = TRI_FALSE;
    SIPA_STRONG_LIST(X)
#undef X
    if (late->has_transfer && late->transfer != SIPA_TRANSFER_TO_LOADER) {
        c->has_transfer = true;
        c->transfer = late->transfer;
    }
}

/* ---- output ---- */

static void write_tri(struct jw *w, const char *key, enum tri v)
{
    if (v != TRI_UNSET)
        jw_key_bool(w, key, v == TRI_TRUE);
}

static void write_unlock(struct jw *w, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {0x001, "cached"},     {0x002, "media"},    {0x004, "tpm"},
        {0x010, "pin"},        {0x020, "external"}, {0x040, "recovery"},
        {0x080, "passphrase"}, {0x100, "network"},  {0x200, "osFveInfo"},
    };
    jw_key(w, "bitLockerUnlock");
    jw_open(w, '[');
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (flags & names[i].flag)
            jw_str(w, names[i].name);
    jw_close(w, ']');
}

void sipa_write(struct jw *w, const struct sipa_claims *c)
{
#define X(member, type, name) write_tri(w, name, c->member);
    SIPA_WEAK_LIST(X)
    SIPA_STRONG_LIST(X)
#undef X
    write_tri(w, "elam", c->elam);
    jw_key_str_opt(w, "elamDriver", c->elam_driver);
    if (c->has_bitlocker)
        write_unlock(w, c->bitlocker_unlock);
    if (c->has_boot_count)
        jw_key_int(w, "bootCount", (int64_t)(c->boot_count & INT64_MAX));
    if (c->has_transfer)
        jw_key_int(w, "transferControl", c->transfer);
    jw_key_str_opt(w, "systemRoot", c->system_root);
    if (c->code_integrity_policies)
        jw_key_int(w, "codeIntegrityPolicies", c->code_integrity_policies);
    jw_key_int(w, "modules", (int64_t)c->modules);
}

/* X(type, name, form): what a person may want to see of a tree; u: number, s: UTF-16, x: hex. */
#define NODE_LIST(X)                                                                               \
    X(0x40010001, "trustBoundary", 0)                                                              \
    X(0x40010002, "elamAggregation", 0)                                                            \
    X(0x40010003, "loadedModule", 0)                                                               \
    X(0x40010005, "ksrAggregation", 0)                                                             \
    X(0x00020002, "bootCounter", 'u')                                                              \
    X(0x00020003, "transferControl", 'u')                                                          \
    X(0x00020005, "bitLockerUnlock", 'u')                                                          \
    X(0x00020009, "applicationSvn", 'u')                                                           \
    X(0x0002000a, "svnChainStatus", 'u')                                                           \
    X(0x0002000b, "morBitApiStatus", 'u')                                                          \
    X(0x00040002, "bootRevocationList", 'x')                                                       \
    X(0x00050008, "osDevice", 'x')                                                                 \
    X(0x00050009, "systemRoot", 's')                                                               \
    X(0x0005000a, "hypervisorLaunchType", 'u')                                                     \
    X(0x0005000b, "hypervisorPath", 's')                                                           \
    X(0x0005000c, "hypervisorIommuPolicy", 'u')                                                    \
    X(0x0005000e, "driverLoadPolicy", 'u')                                                         \
    X(0x0005000f, "codeIntegrityPolicy", 'x')                                                      \
    X(0x00050013, "osRevocationList", 'x')                                                         \
    X(0x00050014, "smtStatus", 'u')                                                                \
    X(0x00060002, "authorityPublicKey", 'x')                                                       \
    X(0x00070001, "filePath", 's')                                                                 \
    X(0x00070002, "imageSize", 'u')                                                                \
    X(0x00070003, "hashAlgorithm", 'u')                                                            \
    X(0x00070004, "authenticodeHash", 'x')                                                         \
    X(0x00070005, "authorityIssuer", 's')                                                          \
    X(0x00070006, "authoritySerial", 'x')                                                          \
    X(0x00070007, "imageBase", 'x')                                                                \
    X(0x00070008, "authorityPublisher", 's')                                                       \
    X(0x00070009, "authoritySha1", 'x')                                                            \
    X(0x0007000a, "imageValidated", 'u')                                                           \
    X(0x0007000b, "moduleSvn", 'u')                                                                \
    X(0x00090001, "elamKeyName", 's')                                                              \
    X(0x00090002, "elamConfiguration", 'x')                                                        \
    X(0x00090003, "elamPolicy", 'x')                                                               \
    X(0x00090004, "elamMeasured", 'x')

struct node_name {
    uint32_t type;
    const char *name;
    char form;
};

static struct node_name name_of(uint32_t type)
{
    static const struct node_name names[] = {
#define X(value, name, form) {value, name, form},
        NODE_LIST(X)
#undef X
#define X(member, value, name) {value, name, 'u'},
            SIPA_WEAK_LIST(X) SIPA_STRONG_LIST(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].type == type)
            return names[i];
    return (struct node_name){type, NULL, 'x'};
}

#define HEX_SHOWN 64

static void write_value(struct jw *w, const struct node *n, char form, struct arena *a)
{
    uint64_t v;
    if (form == 's') {
        jw_key_str(w, "value", text_utf16(n->data, a));
    } else if (form == 'u' && value_of(n->data, &v) && v <= INT64_MAX) {
        jw_key_int(w, "value", (int64_t)v);
    } else {
        jw_key(w, "value");
        jw_hex(w, BYTES(n->data.data, n->data.len > HEX_SHOWN ? HEX_SHOWN : n->data.len));
        if (n->data.len > HEX_SHOWN)
            jw_key_int(w, "size", (int64_t)n->data.len);
    }
}

struct tree_writer {
    struct jw *w;
    struct arena *arena;
    size_t room; /* nodes that may still be written */
};

static void write_nodes(struct tree_writer *t, struct bytes data, unsigned depth)
{
    struct cursor c = cursor_of(data);
    struct node n;
    jw_open(t->w, '[');
    while (c.left > 0 && t->room > 0 && take_node(&c, &n)) {
        struct node_name name = name_of(n.type);
        t->room--;
        jw_open(t->w, '{');
        jw_key_str(t->w, "type", name.name ? name.name : arena_printf(t->arena, "0x%08x", n.type));
        if (is_container(n.type) && depth + 1 < SIPA_DEPTH_MAX) {
            jw_key(t->w, "events");
            write_nodes(t, n.data, depth + 1);
        } else {
            write_value(t->w, &n, name.form, t->arena);
        }
        jw_close(t->w, '}');
    }
    jw_close(t->w, ']');
}

void sipa_write_tree(struct jw *w, struct bytes data, struct arena *a)
{
    struct tree_writer t = {w, a, SIPA_WRITE_MAX};
    write_nodes(&t, data, 0);
}
