#include "attest/loader.h"

#include "attest/text.h"

/* GRUB's measurements (GRUB manual, "Measuring Boot Components"): of what stands behind the prefix,
 * without the terminator. Those with a blank are of Red Hat's older patches, which measure a command
 * with its terminator. */
static const struct {
    const char *prefix;
    enum loader_kind kind;
    bool terminated; /* the likelier of the two, which is tried first */
} grub_prefixes[] = {
    {"grub_cmd: ", LOADER_GRUB_COMMAND, false},
    {"grub_cmd ", LOADER_GRUB_COMMAND, true},
    {"kernel_cmdline: ", LOADER_GRUB_COMMAND_LINE, false},
    {"grub_kernel_cmdline ", LOADER_GRUB_COMMAND_LINE, false},
    {"module_cmdline: ", LOADER_GRUB_MODULE, false},
};

static struct bytes without_nul(struct bytes b)
{
    while (b.len && b.data[b.len - 1] == 0)
        b.len--;
    return b;
}

static void measures(struct loader_event *e, struct bytes b)
{
    e->measured[e->n_measured++] = b;
}

static struct loader_event read_grub(struct bytes data)
{
    struct loader_event e = {.kind = LOADER_NONE};
    struct bytes whole = without_nul(data);
    for (size_t i = 0; i < ARRAY_LEN(grub_prefixes); i++) {
        size_t n = strlen(grub_prefixes[i].prefix);
        if (whole.len < n || memcmp(whole.data, grub_prefixes[i].prefix, n) != 0)
            continue;
        e.text = BYTES(whole.data + n, whole.len - n);
        /* GRUB measures strings: with a NUL inside it is another loader's measurement under GRUB's prefix */
        if (memchr(e.text.data, 0, e.text.len))
            return e;
        e.kind = grub_prefixes[i].kind;
        struct bytes rest = BYTES(data.data + n, data.len - n);
        measures(&e, grub_prefixes[i].terminated ? rest : e.text);
        measures(&e, grub_prefixes[i].terminated ? e.text : rest);
        return e;
    }
    return e;
}

static bool is_mok(struct bytes text)
{
    static const char *const names[] = {"MokList", "MokListX", "MokListTrusted", "MokSBState",
                                        "MokDBState"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal(text, BYTES_STR(names[i])))
            return true;
    return false;
}

static bool has_wide_nul(struct bytes text)
{
    for (size_t i = 0; i + 1 < text.len; i += 2)
        if (text.data[i] == 0 && text.data[i + 1] == 0)
            return true;
    return false;
}

/* systemd's tpm_log_ipl_event: the data is a description in UTF-16; that of the command line is the
 * command line itself, with its terminator. Others (credentials) are told apart by their digest. */
static struct loader_event read_stub(struct bytes data, enum loader_kind kind)
{
    struct loader_event e = {.kind = LOADER_NONE};
    if (!text_looks_utf16(data))
        return e;
    e.kind = kind;
    e.text = data;
    if (data.len >= 2 && data.data[data.len - 2] == 0)
        e.text.len -= 2;
    /* it measures up to the first terminator: with another inside, it is not the stub's */
    if (kind == LOADER_STUB_COMMAND_LINE && !has_wide_nul(e.text))
        measures(&e, data);
    return e;
}

struct loader_event loader_read(const struct log_event *ev)
{
    struct bytes text = without_nul(ev->data);
    if (ev->type != EV_IPL || text.len == 0)
        return (struct loader_event){.kind = LOADER_NONE};
    switch (ev->pcr) {
    case 8: { /* systemd-stub before 252 measured the command line here */
        struct loader_event e = read_grub(ev->data);
        return e.kind ? e : read_stub(ev->data, LOADER_STUB_COMMAND_LINE);
    }
    case 9:
        return (struct loader_event){.kind = LOADER_GRUB_FILE, .text = text};
    case 11:
        return read_stub(ev->data, LOADER_STUB_SECTION);
    case 12:
        return read_stub(ev->data, LOADER_STUB_COMMAND_LINE);
    case 14:
        return (struct loader_event){.kind = is_mok(text) ? LOADER_MOK : LOADER_NONE, .text = text};
    default:
        return (struct loader_event){.kind = LOADER_NONE};
    }
}

const char *loader_kind_name(enum loader_kind k)
{
    static const char *const names[] = {
        [LOADER_NONE] = NULL,
        [LOADER_GRUB_COMMAND] = "grubCommand",
        [LOADER_GRUB_MODULE] = "grubModuleCommandLine",
        [LOADER_GRUB_COMMAND_LINE] = "kernelCommandLine",
        [LOADER_GRUB_FILE] = "grubFile",
        [LOADER_MOK] = "mokVariable",
        [LOADER_STUB_COMMAND_LINE] = "kernelCommandLine",
        [LOADER_STUB_SECTION] = "ukiSection",
    };
    return names[k];
}

const char *loader_text(const struct loader_event *e, struct arena *a)
{
    bool wide = e->kind == LOADER_STUB_COMMAND_LINE || e->kind == LOADER_STUB_SECTION;
    return wide ? text_utf16(e->text, a) : text_ascii(e->text, a);
}
