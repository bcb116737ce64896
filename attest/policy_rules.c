/* The rules of a policy, one function each: what is proven against what must hold. */
#include "attest/hash.h"
#include "attest/judging.h"
#include "attest/rollover.h"
#include "attest/rules_compiled.h"
#include "attest/text.h"
#include "attest/words.h"

#include <strings.h>

void judging_violated(const struct judging *j, const char *reason, int event, int pcr,
                      const char *expected, const char *found)
{
    result_fail_values(j->r, CHECK_POLICY, reason, event, pcr, expected, found);
}

void judging_unproven(const struct judging *j, const char *rule, int pcr, const char *what)
{
    judging_violated(j, "rule_not_proven", ATTEST_NO_INDEX, pcr, rule, what);
}

static struct bytes pcr_value(const struct attest_claims *c, unsigned pcr)
{
    return BYTES(c->pcrs[pcr], pcr_banks[c->bank].size);
}

/* As in scopes: the version may be "*". */
static bool of_this_image(const struct judging *j, const char *image)
{
    const char *own = j->in->image;
    size_t n = image ? strlen(image) : 0;
    if (!image || (own && strcasecmp(image, own) == 0))
        return true;
    return own && n > 1 && image[n - 1] == '*' && strchr("/:", image[n - 2]) &&
           strncasecmp(image, own, n - 1) == 0 && !strpbrk(own + n - 1, "/:");
}

static const char *join(struct judging *j, const struct str_list *list)
{
    struct buf out = {0};
    for (size_t i = 0; i < list->n && out.len < 400; i++)
        buf_printf(&out, "%s%s", i ? ", " : "", list->items[i]);
    const char *text = arena_strndup(j->a, out.len ? out.data : "", out.len);
    buf_free(&out);
    return text;
}

/* ---- the rules ---- */

static void check_profile(struct judging *j)
{
    if (j->p->profiles && !(j->p->profiles >> j->claims->profile & 1))
        judging_violated(j, "profile_not_allowed", ATTEST_NO_INDEX, ATTEST_NO_INDEX,
                         join(j, &j->p->rules->profiles), attest_profile_name(j->claims->profile));
}

static void check_secure_boot_rule(struct judging *j)
{
    enum tri state = claims_secure_boot(j->claims->log);
    if (j->p->rules->require_secure_boot != TRI_TRUE)
        return;
    if (!j->claims->has_log || state == TRI_UNSET)
        judging_unproven(j, "requireSecureBoot", 7, "no log proves the state of Secure Boot");
    else if (state == TRI_FALSE)
        judging_violated(j, claims_secure_boot_off(j->claims->log),
                         claims_secure_boot_event(j->claims->log), 7, "on", "off");
}

static bool is_proven(const struct judging *j, uint32_t pcrs)
{
    return j->claims->has_log && (j->claims->proven & pcrs) == pcrs;
}

/* Resumed from hibernation: what is running was started by another boot, whose measurements are gone. */
static bool is_resumed(const struct sipa_claims *w)
{
    return w->has_transfer && w->transfer != SIPA_TRANSFER_TO_LOADER;
}

#define WINDOWS_PCRS (1u << 12 | 1u << 13)

/* The next event of these PCRs that is not understood, nor named by the policy as what it is of. */
static const struct claim_unread *next_unread(const struct judging *j, uint32_t pcrs, size_t *at)
{
    const struct log_claims *log = j->claims->log;
    while (*at < log->n_unread) {
        const struct claim_unread *unread = &log->unread_events[(*at)++];
        if (pcrs >> unread->pcr & 1 && !attest_policy_image_name(j->p, unread->digest))
            return unread;
    }
    return NULL;
}

static bool is_understood(const struct judging *j, uint32_t pcrs)
{
    const struct log_claims *log = j->claims->log;
    size_t at = 0;
    return !(log->unread & pcrs) || (!log->unread_cut && !next_unread(j, pcrs, &at));
}

#define WORDS_MAX 64

static const char *logged_text(const struct judging *j, int event)
{
    struct bytes data = replay_log(j->f->log)->events[event].data;
    bool wide = text_looks_utf16(data);
    if (data.len > (wide ? 2 : 1) * WORDS_MAX)
        data.len = (wide ? 2 : 1) * WORDS_MAX;
    return wide ? text_utf16(data, j->a) : text_ascii(data, j->a);
}

static void tell_unread(const struct judging *j, const char *rule, uint32_t pcrs)
{
    static const char advice[] = ". If it is that of a credential, an extension or a device tree "
                                 "which a unified kernel image "
                                 "was given and is meant to have, name it in knownImages";
    const struct claim_unread *unread;
    size_t at = 0;
    while ((unread = next_unread(j, pcrs, &at)))
        judging_violated(
            j, "rule_not_proven", unread->event, (int)unread->pcr, rule,
            arena_printf(j->a,
                         "the digest %s, which is not that of the text that the log shows (%s)%s",
                         words_hex(j->a, unread->digest), logged_text(j, unread->event),
                         unread->pcr == 8 ? "" : advice));
    if (j->claims->log->unread_cut)
        judging_unproven(j, rule, ATTEST_NO_INDEX,
                         "more events are not understood than the policy can name");
}

/* Why nothing says which state Windows is in, or NULL. Without its events in the two PCRs that hold them a guest
 * is no Windows, but only where all that they hold is understood: the type of an event is nobody's word, so
 * what is not may be Windows' own. Nor is it none where a CA vouched that signs nothing else. */
static const char *windows_doubt(const struct judging *j)
{
    const struct log_claims *log = j->claims->log;
    if (!is_proven(j, WINDOWS_PCRS))
        return "PCR 12 and 13 are not both quoted and explained by the log";
    if (!log->windows.present && log->truncated)
        return "the log holds more than is looked at, so a CA of Windows may be among it";
    if (!log->windows.present && rollover_booted_windows(log))
        return "a CA that signs nothing but Windows vouched for this boot, but Windows measured "
               "nothing";
    if (is_resumed(&log->windows))
        return "resumed from hibernation: what runs was started by an earlier boot, which this log "
               "does not hold. Restart the guest without hibernating, then report again";
    return NULL;
}

/* Windows measures what makes it weaker; what it did not measure is off. */
static enum tri windows_is(const struct judging *j, enum tri measured)
{
    if (is_proven(j, WINDOWS_PCRS) && measured == TRI_TRUE)
        return TRI_TRUE;
    return j->windows_known ? TRI_FALSE : TRI_UNSET;
}

/* What Windows' own events say of the state. */
static enum tri windows_state(const struct sipa_claims *w, enum policy_state s)
{
    switch (s) {
    case STATE_BOOT_DEBUGGING:
        return w->boot_debugging;
    case STATE_KERNEL_DEBUGGING:
        return w->kernel_debugging;
    case STATE_HYPERVISOR_DEBUGGING:
        return w->hypervisor_debugging;
    case STATE_TEST_SIGNING:
        return w->test_signing;
    case STATE_FLIGHT_SIGNING:
        return w->flight_signing;
    case STATE_SAFE_MODE:
        return w->safe_mode;
    case STATE_WIN_PE:
        return w->win_pe;
    case STATE_CODE_INTEGRITY_DISABLED:
        return w->code_integrity == TRI_UNSET  ? TRI_UNSET
               : w->code_integrity == TRI_TRUE ? TRI_FALSE
                                               : TRI_TRUE;
    case STATE_UEFI_DEBUG:
    case STATE_DMA_PROTECTION_DISABLED:
    case POLICY_STATES:
        break;
    }
    return TRI_UNSET;
}

/* TRUE: the guest is in this state; UNSET: nothing proves that it is not. */
static enum tri state_of(const struct judging *j, enum policy_state s)
{
    const struct log_claims *log = j->claims->log;
    if (s == STATE_UEFI_DEBUG)
        return j->claims->has_log ? log->debug_mode : TRI_UNSET;
    if (s == STATE_DMA_PROTECTION_DISABLED) { /* logged only where it is off (PFP 1.05, 3.3.4.8) */
        if (!is_proven(j, 1u << 7))
            return TRI_UNSET;
        return log->dma_protection == TRI_FALSE ? TRI_TRUE : TRI_FALSE;
    }
    /* Windows measures code integrity of its own accord where it is on: without that it is not proven on. */
    if (s == STATE_CODE_INTEGRITY_DISABLED && log->windows.present &&
        log->windows.code_integrity == TRI_UNSET)
        return TRI_UNSET;
    return windows_is(j, windows_state(&log->windows, s));
}

/* Does this event alone say that the guest is in the state? */
static bool says_state(const struct log_event *ev, enum pcr_bank bank, enum policy_state s)
{
    struct sipa_claims w;
    if (ev->pcr == 7 && ev->type == EV_EFI_ACTION)
        return s == STATE_DMA_PROTECTION_DISABLED; /* content.c lets no other action stand there */
    if ((ev->pcr != 12 && ev->pcr != 13) || ev->type != EV_EVENT_TAG || !sipa_is(ev->data) ||
        !hash_matches(bank, ev->data, ev->digest[bank]))
        return false;
    sipa_init(&w);
    return !sipa_read(ev->data, &w, NULL) && windows_state(&w, s) == TRI_TRUE;
}

static void tell_state(const struct judging *j, enum policy_state s)
{
    const struct event_log *log = replay_log(j->f->log);
    const char *name = policy_state_name(s);
    size_t i = 0;
    while (i < log->n && !says_state(&log->events[i], replay_bank(j->f->log), s))
        i++;
    bool found = i < log->n;
    judging_violated(j, "state_forbidden", found ? (int)i : ATTEST_NO_INDEX,
                     found ? (int)log->events[i].pcr : ATTEST_NO_INDEX,
                     arena_printf(j->a, "not %s", name), name);
}

/* One line for all that the same doubt stands in the way of. */
static void tell_doubt(const struct judging *j, const char *states, const char *doubt)
{
    const char *rule = arena_printf(j->a, "forbiddenStates: %s", states);
    if (*states && doubt)
        judging_unproven(j, rule, ATTEST_NO_INDEX, doubt);
    else if (*states)
        tell_unread(j, rule, WINDOWS_PCRS);
}

static void check_states(struct judging *j)
{
    if (!j->p->states)
        return;
    const char *doubt = windows_doubt(j), *windows = "", *others = "";
    j->windows_known = !doubt && is_understood(j, WINDOWS_PCRS);
    for (int s = 0; s < POLICY_STATES; s++) {
        if (!(j->p->states >> s & 1))
            continue;
        enum tri state = state_of(j, (enum policy_state)s);
        const char *name = policy_state_name((enum policy_state)s);
        const char **list =
            policy_state_of_windows((enum policy_state)s) && !j->windows_known ? &windows : &others;
        if (state == TRI_TRUE)
            tell_state(j, (enum policy_state)s);
        else if (state == TRI_UNSET)
            *list = arena_printf(j->a, "%s%s%s", *list, **list ? ", " : "", name);
    }
    tell_doubt(j, windows, doubt);
    tell_doubt(j, others, "no log proves that the guest is not in it");
}

static void check_firmware(struct judging *j)
{
    if (j->p->firmware.n == 0)
        return;
    if (!(j->claims->quoted & 1))
        judging_unproven(j, "firmware", 0, "PCR 0 is not quoted");
    else if (!digest_set_has(&j->p->firmware, pcr_value(j->claims, 0)))
        judging_violated(j, "firmware_not_allowed", ATTEST_NO_INDEX, 0,
                         join(j, &j->p->rules->firmware), words_hex(j->a, pcr_value(j->claims, 0)));
}

/* ---- golden values ---- */

/* The debug PCR and that of applications (PFP 1.05, table 1): anybody may reset them. */
#define RESETTABLE_PCRS (1u << 16 | 1u << 23)

/* The PCRs of the set that the quote does not confirm. */
static uint32_t golden_differs(const struct attest_golden *g, const struct attest_claims *c)
{
    if (g->bank != c->bank)
        return g->mask;
    uint32_t differs = g->mask & RESETTABLE_PCRS;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        if (g->mask >> i & 1 && (!(c->quoted >> i & 1) ||
                                 memcmp(g->values[i], c->pcrs[i], pcr_banks[g->bank].size) != 0))
            differs |= 1u << i;
    return differs;
}

/* One line a PCR, against the set that comes nearest. */
static void tell_difference(struct judging *j, const struct attest_golden *g, const char *reason,
                            const char *rule)
{
    uint32_t differs = golden_differs(g, j->claims);
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(differs >> i & 1))
            continue;
        if (RESETTABLE_PCRS >> i & 1)
            judging_unproven(j, rule, (int)i, "anybody may reset this PCR");
        else if (g->bank != j->claims->bank || !(j->claims->quoted >> i & 1))
            judging_unproven(
                j, rule, (int)i,
                arena_printf(j->a, "PCR %u of bank %s is not quoted", i, pcr_banks[g->bank].name));
        else
            judging_violated(j, reason, ATTEST_NO_INDEX, (int)i,
                             words_hex(j->a, BYTES(g->values[i], pcr_banks[g->bank].size)),
                             words_hex(j->a, pcr_value(j->claims, i)));
    }
}

static void check_golden(struct judging *j)
{
    const struct policy_golden *nearest = NULL;
    int least = EVIDENCE_PCRS + 1;
    for (size_t i = 0; i < j->p->rules->golden_pcrs.n; i++) {
        const struct policy_golden *g = &j->p->golden[i];
        if (!of_this_image(j, g->image))
            continue;
        int differs = __builtin_popcount(golden_differs(&g->golden, j->claims));
        if (differs < least) {
            least = differs;
            nearest = g;
        }
    }
    if (nearest && least > 0)
        tell_difference(j, &nearest->golden, "golden_pcr_mismatch",
                        arena_printf(j->a, "goldenPcrs: %s", nearest->name));
    else if (!nearest && j->p->rules->golden_pcrs.n)
        judging_unproven(
            j, "goldenPcrs", ATTEST_NO_INDEX,
            arena_printf(j->a, "no set is of image %s", j->in->image ? j->in->image : "unknown"));
}

/* NULL: no set that says enough is confirmed. */
static const struct attest_golden *nearest_set(const struct judging *j)
{
    const struct attest_baseline *b = j->in->baseline;
    const uint32_t least = attest_baseline_least();
    const struct attest_golden *nearest = NULL;
    for (size_t i = 0; b && i < b->n; i++)
        if ((b->sets[i].mask & least) == least &&
            (!nearest || __builtin_popcount(golden_differs(&b->sets[i], j->claims)) <
                             __builtin_popcount(golden_differs(nearest, j->claims))))
            nearest = &b->sets[i];
    return nearest;
}

static void check_baseline(struct judging *j)
{
    enum baseline_rule rule = j->p->baseline;
    if (rule == BASELINE_OFF)
        return;
    const struct attest_golden *nearest = nearest_set(j);
    if (!nearest) {
        struct attest_finding none = {CHECK_POLICY,
                                      rule == BASELINE_ENFORCE ? STATUS_FAIL : STATUS_WARN,
                                      "baseline_not_confirmed",
                                      ATTEST_NO_INDEX,
                                      ATTEST_NO_INDEX,
                                      "a confirmed baseline of the image",
                                      j->in->image ? j->in->image : "unknown image"};
        result_put(j->r, &none);
        return;
    }
    uint32_t differs = golden_differs(nearest, j->claims);
    if (differs && rule == BASELINE_ENFORCE) {
        tell_difference(j, nearest, "baseline_mismatch", "baseline");
        return;
    }
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(differs >> i & 1))
            continue;
        struct attest_finding remark = {
            CHECK_POLICY,
            STATUS_WARN,
            "baseline_mismatch",
            ATTEST_NO_INDEX,
            (int)i,
            words_hex(j->a, BYTES(nearest->values[i], pcr_banks[nearest->bank].size)),
            j->claims->quoted >> i & 1 ? words_hex(j->a, pcr_value(j->claims, i)) : "not quoted"};
        result_put(j->r, &remark);
    }
}

/* ---- events ---- */

#define EVENTS_TOLD_MAX 8 /* lines of one rule: more of the same say nothing new */

static void check_events_of(struct judging *j, unsigned pcr)
{
    const struct event_log *log = replay_log(j->f->log);
    unsigned told = 0;
    for (size_t i = 0; i < log->n && told < EVENTS_TOLD_MAX; i++) {
        const struct log_event *ev = &log->events[i];
        struct bytes digest = ev->digest[replay_bank(j->f->log)];
        bool allowed = ev->pcr != pcr || ev->type == EV_NO_ACTION;
        for (size_t k = 0; k < j->p->rules->allowed_events.n && !allowed; k++)
            allowed = j->p->events[k].pcr == pcr && of_this_image(j, j->p->events[k].image) &&
                      digest_set_has(&j->p->events[k].digests, digest);
        if (allowed)
            continue;
        told++;
        judging_violated(j, "event_not_allowed", (int)i, (int)pcr, "a digest that the policy lists",
                         words_hex(j->a, digest));
    }
}

/* Every event of the PCR must be listed; the lists of one PCR add up. */
static void check_events(struct judging *j)
{
    uint32_t done = 0;
    for (size_t i = 0; i < j->p->rules->allowed_events.n; i++) {
        unsigned pcr = j->p->events[i].pcr;
        if (done >> pcr & 1 || !of_this_image(j, j->p->events[i].image))
            continue;
        done |= 1u << pcr;
        if (RESETTABLE_PCRS >> pcr & 1)
            judging_unproven(j, "allowedEvents", (int)pcr, "anybody may reset this PCR");
        else if (!j->f->log || !(replay_proven(j->f->log) >> pcr & 1))
            judging_unproven(j, "allowedEvents", (int)pcr, "no log explains this PCR");
        else
            check_events_of(j, pcr);
    }
    if (!done && j->p->rules->allowed_events.n)
        judging_unproven(
            j, "allowedEvents", ATTEST_NO_INDEX,
            arena_printf(j->a, "no list is of image %s", j->in->image ? j->in->image : "unknown"));
}

/* ---- command lines ---- */

/* Which ends of the text's beginnings the glob has come to so far: [i] is of the first i characters. Between
 * `low` and `high` alone any can be set. */
struct glob_match {
    const char *text;
    size_t n, low, high;
    bool at[TEXT_MAX + 4]; /* a text that was cut ends in three dots */
};

/* In a text of loader_text, where '?' also stands for what is no printable ASCII: that may be a tab. */
static bool is_of_word(char c)
{
    return c != ' ' && c != '?';
}

/* Of one character. */
static void match_one(struct glob_match *m, char wanted)
{
    size_t high = m->high < m->n ? m->high + 1 : m->n;
    for (size_t i = high; i > m->low; i--)
        m->at[i] =
            m->at[i - 1] && (wanted == '?' ? is_of_word(m->text[i - 1]) : m->text[i - 1] == wanted);
    m->at[m->low] = false;
    m->high = high;
}

static void match_star(struct glob_match *m, bool blanks)
{
    for (size_t i = m->low + 1; i <= m->n; i++) {
        bool more = m->at[i - 1] && (blanks || is_of_word(m->text[i - 1]));
        if (i > m->high && !more)
            break;
        m->at[i] |= more;
        m->high = i > m->high ? i : m->high;
    }
}

/* False where no beginning is left. */
static bool trim(struct glob_match *m)
{
    while (m->low < m->high && !m->at[m->low])
        m->low++;
    while (m->high > m->low && !m->at[m->high])
        m->high--;
    return m->at[m->low];
}

bool policy_glob_matches(const char *glob, const char *text)
{
    struct glob_match m = {.text = text, .n = strlen(text), .at = {[0] = true}};
    if (m.n >= ARRAY_LEN(m.at))
        return false;
    for (; *glob; glob++) {
        bool twice = glob[0] == '*' && glob[1] == '*';
        if (*glob == '*')
            match_star(&m, twice);
        else
            match_one(&m, *glob);
        glob += twice;
        if (!trim(&m))
            return false;
    }
    return m.at[m.n];
}

static bool any_glob_matches(const struct str_list *globs, const char *text)
{
    for (size_t i = 0; i < globs->n; i++)
        if (policy_glob_matches(globs->items[i], text))
            return true;
    return false;
}

static const char lines_rule[] = "kernelCommandLines";

/* A line that was booted cannot be taken back, but a PCR that nobody looks at, or an event that nobody
 * understands, can hold it while an allowed one was extended after it. */
static bool lines_are_all(struct judging *j)
{
    static const unsigned pcrs[] = {8, 12}; /* GRUB's, and systemd-stub's */
    for (size_t i = 0; i < ARRAY_LEN(pcrs); i++) {
        unsigned pcr = pcrs[i];
        if (!is_proven(j, 1u << pcr))
            judging_unproven(j, lines_rule, (int)pcr,
                             "the PCR is not quoted, or the log does not explain it");
        else if (!is_understood(j, 1u << pcr))
            tell_unread(j, lines_rule, 1u << pcr);
        else
            continue;
        return false;
    }
    return true;
}

/* Every line that a loader measured must be allowed, also one that was tried before the last. */
static void check_command_lines(struct judging *j)
{
    const struct str_list *globs = &j->p->rules->kernel_command_lines;
    if (globs->n == 0)
        return;
    const struct log_claims *log = j->claims->log;
    if (lines_are_all(j) && (log->n_command_lines == 0 || log->truncated))
        judging_unproven(j, lines_rule, 8,
                         log->windows.present
                             ? "this is Windows, which measures no command line: give it a policy "
                               "without this rule"
                             : "no proven event holds a kernel command line");
    for (size_t i = 0; i < log->n_command_lines; i++) {
        const struct claim_command_line *line = &log->command_lines[i];
        if (!any_glob_matches(globs, line->text))
            judging_violated(j, "kernel_command_line_not_allowed", line->event,
                             line->source == COMMAND_LINE_GRUB ? 8 : 12, join(j, globs),
                             line->text);
    }
}

void policy_check_rules(const struct attest_input *in, const struct policy_facts *f,
                        struct arena *a, struct attest_result *r)
{
    struct judging j = {.p = in->policy, .in = in, .f = f, .claims = f->claims, .a = a, .r = r};
    check_profile(&j);
    check_secure_boot_rule(&j);
    check_states(&j);
    check_firmware(&j);
    check_golden(&j);
    check_events(&j);
    check_command_lines(&j);
    judging_signers(&j);
    check_baseline(&j);
}
