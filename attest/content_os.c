#include "attest/checker.h"

#include "attest/loader.h"
#include "attest/text.h"

/* What says that it is GRUB's must be what was measured. Of other loaders' events only those are
 * believed whose digest fits (claims.c). */
static void check_grub(struct checker *c)
{
    struct loader_event e = loader_read(c->ev);
    bool grub = e.kind == LOADER_GRUB_COMMAND || e.kind == LOADER_GRUB_COMMAND_LINE ||
                e.kind == LOADER_GRUB_MODULE;
    for (size_t i = 0; grub && i < e.n_measured; i++)
        if (checker_is_digest_of(c, e.measured[i]))
            return;
    if (grub)
        checker_mismatch(c, e.measured[0]);
}

static bool is_sipa(const struct log_event *ev)
{
    return ev->type == EV_EVENT_TAG && ev->pcr >= 11 && ev->pcr <= 14 && sipa_is(ev->data);
}

bool checker_has_windows(const struct event_log *log)
{
    for (size_t i = 0; i < log->n; i++)
        if (is_sipa(&log->events[i]))
            return true;
    return false;
}

static void check_sipa(struct checker *c)
{
    struct sipa_claims scratch;
    sipa_init(&scratch);
    const char *why = sipa_read(c->ev->data, &scratch, NULL);
    if (why)
        checker_malformed(c, "SIPA events", why);
    else
        checker_want_digest_of(c, c->ev->data);
}

static void check_windows_separator(struct checker *c, bool told)
{
    c->windows_over |= 1u << c->ev->pcr;
    if (!told)
        return; /* BitLocker caps PCR 11 with values of its own, and nothing is claimed from it or 14 */
    if (!bytes_equal(c->ev->data, BYTES("WBCL", 4)))
        checker_fail(c, "separator_value", "5742434c", text_hex(c->ev->data, 32, c->arena));
    else
        checker_want_digest_of(c, c->ev->data);
}

/* PCR 12 and 13 of a Windows boot tell what weakens it: before the separator nothing may stand there
 * that is not understood, or a debug state could hide under another type. What follows the separator
 * is not the boot manager's. */
static void check_windows(struct checker *c)
{
    const struct log_event *ev = c->ev;
    bool told = ev->pcr == 12 || ev->pcr == 13;
    if (c->windows_over >> ev->pcr & 1) {
        if (told && ev->type == EV_SEPARATOR)
            checker_fail(c, "duplicate_separator", "1", "2");
    } else if (ev->type == EV_SEPARATOR) {
        check_windows_separator(c, told);
    } else if (is_sipa(ev)) {
        check_sipa(c);
    } else if (told) {
        checker_unexpected(c, "EV_EVENT_TAG of SIPA events, EV_SEPARATOR");
    }
}

void checker_later(struct checker *c)
{
    if (c->windows && c->ev->pcr >= 11 && c->ev->pcr <= 14)
        check_windows(c);
    else
        check_grub(c);
}
