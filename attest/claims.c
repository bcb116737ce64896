#include "attest/content.h"

#include "attest/hash.h"
#include "attest/loader.h"
#include "attest/text.h"
#include "attest/uefi.h"

const char *const sb_variable_names[SB_VARIABLES] = {"SecureBoot", "PK", "KEK", "db", "dbx"};

enum sb_variable claims_variable_of(const struct uefi_variable *v)
{
    int i = SB_SECURE_BOOT;
    while (i < SB_VARIABLES && !uefi_name_is(v, sb_variable_names[i]))
        i++;
    return (enum sb_variable)i;
}

struct collector {
    struct log_claims *out;
    struct arena *arena;
    enum pcr_bank bank;
    uint32_t pcrs;
    int index; /* of the event at hand */
    const struct log_event *ev;
    struct bytes digest;
    /* The certificate authority that was logged since the last application, or CLAIMS_NONE. */
    int authority;
    bool handed_over;  /* PCR 7's separator was seen */
    bool shim_vouched; /* shim let something through by a key of its own */
    bool sbat_seen;
    bool windows_over[EVIDENCE_PCRS]; /* the separator behind Windows' events was seen */
    struct sipa_claims windows_late;  /* what stands behind it */
};

/* ---- PCR 7 ---- */

#define SHA256_HASH 32 /* of an image: EFI_CERT_SHA256_GUID */

static void claim_config(struct collector *c)
{
    struct uefi_variable v;
    struct uefi_signatures s = {0};
    if (uefi_variable_parse(c->ev->data, &v))
        return;
    enum sb_variable which = claims_variable_of(&v);
    if (which == SB_VARIABLES)
        return;
    if (which == SB_SECURE_BOOT)
        c->out->secure_boot = v.value.len == 1 && v.value.data[0] == 1 ? TRI_TRUE : TRI_FALSE;
    else if (uefi_signatures_parse(v.value, &s))
        return;
    c->out->variables[which] = (struct claim_variable){.present = true,
                                                       .event = c->index,
                                                       .digest = c->digest,
                                                       .value = v.value,
                                                       .certificates = s.certificates,
                                                       .hashes = s.hashes,
                                                       .others = s.others};
}

/* EFI_SIGNATURE_DATA: owner, then the entry. Older shims measure the certificate without the owner, and all of them
 * (check_db_hash_in_ram) so a hash that they found in db, MokList or their own list. */
static void read_authority(struct collector *c, const struct uefi_variable *v,
                           struct claim_authority *out)
{
    struct bytes entry = v->value;
    enum uefi_vendor vendor = uefi_vendor_of(v->guid);
    out->certificate = uefi_der_at_start(entry);
    if (!out->certificate.len && entry.len == SHA256_HASH &&
        (vendor == VENDOR_SHIM || vendor == VENDOR_IMAGE_SECURITY)) {
        out->hash = entry;
    } else if (!out->certificate.len && entry.len > 16) {
        entry = BYTES(entry.data + 16, entry.len - 16);
        out->certificate = uefi_der_at_start(entry);
        if (!out->certificate.len && entry.len == SHA256_HASH && vendor != VENDOR_SHIM)
            out->hash = entry;
    }
    c->shim_vouched |= vendor == VENDOR_SHIM;
    out->opaque = (vendor == VENDOR_SHIM || vendor == VENDOR_IMAGE_SECURITY) &&
                  out->certificate.len + out->hash.len == 0;
}

/* shim measures its level when it starts, before it lets anything through. */
static void claim_sbat_level(struct collector *c, struct bytes level)
{
    struct log_claims *out = c->out;
    if (!c->handed_over)
        out->sbat_doubt = "SbatLevel stands before the separator, where shim did not run yet";
    else if (c->shim_vouched)
        out->sbat_doubt = "SbatLevel stands behind what shim let through";
    else if (c->sbat_seen)
        out->sbat_doubt = "SbatLevel was measured with two values";
    out->sbat_level = out->sbat_doubt ? (struct bytes){0} : level;
    c->sbat_seen = true;
}

/* What shim measures of how it is set (its mok.c) vouches for nothing. False where it is none of that. */
static bool claim_shim_variable(struct collector *c, const struct uefi_variable *v)
{
    if (uefi_vendor_of(v->guid) != VENDOR_SHIM)
        return false;
    if (uefi_name_is(v, "SbatLevel"))
        claim_sbat_level(c, v->value);
    else if (!uefi_name_is(v, "MokSBState"))
        return uefi_name_is(v, "MokListTrusted");
    else if (v->value.len != 1 || v->value.data[0] != 0)
        c->out->shim_validation = TRI_FALSE;
    return true;
}

/* Index of the authority, which is added where it is not known yet: the same entry of db is measured
 * for every image that it vouches for. */
static int put_authority(struct collector *c, const struct uefi_variable *v)
{
    struct log_claims *out = c->out;
    for (size_t i = 0; i < out->n_authorities; i++)
        if (bytes_equal(out->authorities[i].digest, c->digest))
            return (int)i;
    if (out->n_authorities == CLAIMS_AUTHORITIES) {
        out->truncated = true;
        return CLAIMS_NONE;
    }
    struct claim_authority *auth = &out->authorities[out->n_authorities];
    *auth = (struct claim_authority){.event = c->index,
                                     .variable = uefi_name_text(v, c->arena),
                                     .digest = c->digest,
                                     .value = v->value,
                                     .sure = !c->handed_over || out->n_authorities == 0};
    if (!claim_shim_variable(c, v))
        read_authority(c, v, auth);
    return (int)out->n_authorities++;
}

/* Firmware and newer shims log the authority before the image that it is for; older shims right after
 * it. What is not one of these two is not said. */
static void place_authority(struct collector *c, int authority)
{
    struct log_claims *out = c->out;
    struct claim_application *last =
        out->n_applications ? &out->applications[out->n_applications - 1] : NULL;
    if (last && last->authority == CLAIMS_NONE && last->event == c->index - 1) {
        last->authority = authority;
        return;
    }
    c->authority = authority;
}

static void claim_authority(struct collector *c)
{
    struct uefi_variable v;
    if (uefi_variable_parse(c->ev->data, &v))
        return;
    int i = put_authority(c, &v);
    if (i != CLAIMS_NONE &&
        (c->out->authorities[i].certificate.len || c->out->authorities[i].hash.len))
        place_authority(c, i);
}

/* Some firmware logs the terminator too. */
static bool text_is(struct bytes data, const char *text)
{
    if (data.len && data.data[data.len - 1] == 0)
        data.len--;
    return bytes_equal(data, BYTES_STR(text));
}

static void claim_pcr7(struct collector *c)
{
    if (c->ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG)
        claim_config(c);
    else if (c->ev->type == EV_EFI_VARIABLE_AUTHORITY)
        claim_authority(c);
    else if (c->ev->type == EV_SEPARATOR)
        c->handed_over = true;
    else if (c->ev->type == EV_EFI_ACTION && text_is(c->ev->data, "UEFI Debug Mode"))
        c->out->debug_mode = TRI_TRUE;
    else if (c->ev->type == EV_EFI_ACTION && text_is(c->ev->data, "DMA Protection Disabled"))
        c->out->dma_protection = TRI_FALSE;
}

/* ---- PCR 0 and 4 ---- */

#define ACTION_MAX 256 /* the texts of PFP 1.05, 10.4.4, are shorter */

/* That its digest is of its data shows no more than that: the bytes of a small image, in the order in which
 * Authenticode hashes them, have the image's digest, too. They are no text. */
static bool is_action(const struct log_event *ev)
{
    struct bytes text = ev->data;
    if (text.len && text.data[text.len - 1] == 0)
        text.len--;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    return ev->type == EV_EFI_ACTION && text.len <= ACTION_MAX;
}

bool content_is_image(const struct log_event *ev)
{
    return ev->pcr == 4 && !is_action(ev) && ev->type != EV_SEPARATOR && ev->type != EV_NO_ACTION;
}

static void claim_application(struct collector *c)
{
    struct log_claims *out = c->out;
    if (out->n_applications == CLAIMS_APPLICATIONS) {
        out->truncated = true;
        return;
    }
    struct claim_application *app = &out->applications[out->n_applications++];
    *app = (struct claim_application){
        .event = c->index, .digest = c->digest, .authority = c->authority};
    struct uefi_image_load image;
    if (!uefi_image_load_parse(c->ev->data, &image))
        app->device_path = image.device_path;
    c->authority = CLAIMS_NONE;
}

/* ---- loaders ---- */

static bool is_measured(const struct collector *c, const struct loader_event *e)
{
    for (size_t i = 0; i < e->n_measured; i++)
        if (hash_matches(c->bank, e->measured[i], c->digest))
            return true;
    return false;
}

/* The names of GRUB's commands begin like this; those of files, with which a command line begins, do not (GRUB
 * manual, "How to specify files"), nor does one that GRUB has quoted. "BOOT_IMAGE=" is how others begin it,
 * and an assignment is one word. */
static bool is_command(struct bytes text)
{
    static const char image[] = "BOOT_IMAGE=";
    uint8_t first = text.len ? text.data[0] : 0;
    bool letter = (first | 0x20) >= 'a' && (first | 0x20) <= 'z';
    if (!letter && first != '_' && first != '[' && first != '.')
        return false;
    if (text.len >= strlen(image) && memcmp(text.data, image, strlen(image)) == 0)
        return false;
    const uint8_t *blank = memchr(text.data, ' ', text.len);
    return !blank || !memchr(text.data, '=', (size_t)(blank - text.data));
}

/* GRUB measures a command with the word that inverts its result: "! loadfont unicode". */
static struct bytes uninverted(struct bytes text)
{
    while (text.len > 2 && text.data[0] == '!' && text.data[1] == ' ')
        text = BYTES(text.data + 2, text.len - 2);
    return text;
}

/* What a GRUB command hands to the kernel. GRUB's digest is of the text behind the prefix alone, so a
 * command line can be shown as a command, and the other way round: neither can hide. */
static struct bytes kernel_arguments(const struct loader_event *e)
{
    /* A kernel with an EFI stub takes what chainloader hands over, which GRUB measures as a command alone. */
    static const char *const commands[] = {"linux ", "linuxefi ", "linux16 ", "chainloader "};
    if (e->kind == LOADER_GRUB_COMMAND_LINE || e->kind == LOADER_STUB_COMMAND_LINE)
        return e->text;
    if (e->kind != LOADER_GRUB_COMMAND && e->kind != LOADER_GRUB_MODULE)
        return (struct bytes){0};
    struct bytes text = uninverted(e->text);
    if (!is_command(text))
        return e->text;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        size_t n = strlen(commands[i]);
        if (text.len > n && memcmp(text.data, commands[i], n) == 0)
            return BYTES(text.data + n, text.len - n);
    }
    return (struct bytes){0};
}

/* The command and the command line that it leads to are one. */
static void put_command_line(struct collector *c, const struct claim_command_line *line)
{
    struct log_claims *out = c->out;
    for (size_t i = 0; i < out->n_command_lines; i++) {
        if (strcmp(out->command_lines[i].text, line->text) == 0) {
            out->command_lines[i].event = line->event;
            return;
        }
    }
    if (out->n_command_lines == CLAIMS_COMMAND_LINES)
        out->truncated = true;
    else
        out->command_lines[out->n_command_lines++] = *line;
}

static void claim_unread(struct collector *c)
{
    struct log_claims *out = c->out;
    out->unread |= 1u << c->ev->pcr;
    if (out->n_unread == CLAIMS_UNREAD)
        out->unread_cut = true;
    else
        out->unread_events[out->n_unread++] =
            (struct claim_unread){.event = c->index, .pcr = c->ev->pcr, .digest = c->digest};
}

static void claim_command_line(struct collector *c)
{
    struct loader_event e = loader_read(c->ev);
    if (!is_measured(c, &e)) {
        claim_unread(c);
        return;
    }
    e.text = kernel_arguments(&e);
    if (e.text.len == 0)
        return;
    bool stub = e.kind == LOADER_STUB_COMMAND_LINE;
    const struct claim_command_line line = {.event = c->index,
                                            .source = stub ? COMMAND_LINE_SYSTEMD_STUB
                                                           : COMMAND_LINE_GRUB,
                                            .text = loader_text(&e, c->arena)};
    put_command_line(c, &line);
}

/* False where the event is not of Windows' boot manager. It says something only with both PCRs proven: what
 * makes the system weaker may stand in either. */
static bool claim_windows(struct collector *c)
{
    const uint32_t both = 1u << 12 | 1u << 13;
    bool over = c->windows_over[c->ev->pcr];
    bool separator =
        !over && c->ev->type == EV_SEPARATOR && bytes_equal(c->ev->data, BYTES("WBCL", 4));
    bool events = c->ev->type == EV_EVENT_TAG && sipa_is(c->ev->data);
    if (!(separator || events) || !hash_matches(c->bank, c->ev->data, c->digest))
        return false;
    if (separator)
        c->windows_over[c->ev->pcr] = true;
    else if ((c->pcrs & both) == both) /* content.c refuses bad ones before the separator */
        return !sipa_read(c->ev->data, over ? &c->windows_late : &c->out->windows, c->arena) ||
               !over;
    return true;
}

static void claim_event(struct collector *c)
{
    const struct log_event *ev = c->ev;
    switch (ev->pcr) {
    case 0:
        /* the firmware's comes first: a later one is somebody else's */
        if (ev->type == EV_S_CRTM_VERSION && !c->out->crtm_version.data)
            c->out->crtm_version = ev->data;
        break;
    case 4:
        /* A type is nobody's word: what is not text that was measured counts as an application, so
         * that none can hide under another type. */
        if (content_is_image(ev))
            claim_application(c);
        break;
    case 7:
        claim_pcr7(c);
        break;
    case 8:
        claim_command_line(c);
        break;
    case 12:
        if (!claim_windows(c))
            claim_command_line(c);
        break;
    case 13:
        if (!claim_windows(c))
            claim_unread(c);
        break;
    default:
        break;
    }
}

enum tri claims_secure_boot(const struct log_claims *c)
{
    return c->secure_boot == TRI_TRUE && c->shim_validation == TRI_FALSE ? TRI_FALSE
                                                                         : c->secure_boot;
}

const char *claims_secure_boot_off(const struct log_claims *c)
{
    return c->secure_boot == TRI_TRUE ? "shim_validation_off" : "secure_boot_off";
}

int claims_authority_event(const struct log_claims *c, const char *variable)
{
    for (size_t i = 0; i < c->n_authorities; i++)
        if (strcmp(c->authorities[i].variable, variable) == 0)
            return c->authorities[i].event;
    return ATTEST_NO_INDEX;
}

int claims_secure_boot_event(const struct log_claims *c)
{
    return c->secure_boot == TRI_TRUE ? claims_authority_event(c, "MokSBState")
                                      : c->variables[SB_SECURE_BOOT].event;
}

struct log_claims content_claims(const struct event_log *log, enum pcr_bank bank, uint32_t pcrs,
                                 struct arena *a)
{
    struct log_claims out = {.secure_boot = TRI_UNSET,
                             .shim_validation = TRI_UNSET,
                             .debug_mode = TRI_UNSET,
                             .dma_protection = TRI_UNSET};
    struct collector c = {
        .out = &out, .arena = a, .bank = bank, .pcrs = pcrs, .authority = CLAIMS_NONE};
    sipa_init(&out.windows);
    sipa_init(&c.windows_late);
    for (size_t i = 0; i < log->n; i++) {
        c.ev = &log->events[i];
        c.index = (int)i;
        if (c.ev->pcr >= EVIDENCE_PCRS || !(pcrs >> c.ev->pcr & 1) || c.ev->type == EV_NO_ACTION)
            continue;
        c.digest = c.ev->digest[bank];
        if (c.digest.len)
            claim_event(&c);
    }
    sipa_weaken(&out.windows, &c.windows_late);
    if (out.secure_boot != TRI_UNSET && out.debug_mode == TRI_UNSET)
        out.debug_mode = TRI_FALSE;
    return out;
}
