/*
 * The agent: quote the VM's TPM over the gateway's challenge, hand in the evidence, again and again.
 *
 * Enrolment proofs are sent only when the gateway answers not_enrolled without them, one after the
 * other: the token, then IMDS' attested document. The event log is sent only when the gateway does not
 * hold it; otherwise its digest. A round is bounded in attempts and
 * time. Single-threaded; logs, since it is a program's main loop.
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include "guest/gateway.h"

/* NULL: from IMDS or the usual place. */
struct guest_options {
    const char *gateway;
    const char *ca_file; /* NULL: the system's */
    const char *vm_id;
    const char *imds;
    const char *tcti;
    const char *event_log;
    const char *token_file;
    const char *maa_command; /* see guest/maa.h; NULL: no token of Azure Attestation */
    bool attested_document;  /* as the proof, although there may be a token */
    int64_t interval_ms;
};

/* How the agent waits and learns that it is to end. */
struct guest_process {
    bool (*stop)(void);
    void (*sleep_ms)(int64_t ms); /* returns early when it is to end */
};

enum guest_outcome {
    GUEST_TRUSTED = 0, /* verdict trusted or trustedQuoteOnly */
    GUEST_REFUSED = 1, /* another verdict, or the gateway does not take the report */
    GUEST_FAILED = 2,  /* no TPM, no identity, no gateway */
};

struct guest_agent;

/* Copies nothing: `o` and `p` outlive the agent. ERR_CONFIG. The caller frees. */
enum err guest_agent_new(const struct guest_options *o, const struct guest_process *p,
                         struct guest_agent **out, struct err_info *e) MUST_CHECK;
void guest_agent_free(struct guest_agent *g); /* NULL is fine */

/* One report. `answer`, may be NULL, gets the gateway's last answer (JSON, appended). */
enum guest_outcome guest_agent_once(struct guest_agent *g, struct buf *answer);
/* Reports until it is to end. */
void guest_agent_loop(struct guest_agent *g);

/* ---- decisions, pure ---- */

enum guest_next {
    NEXT_DONE,      /* 200 */
    NEXT_LOG,       /* the same again with the log itself */
    NEXT_PROOF,     /* again with the next enrolment proof, if there is one */
    NEXT_CHALLENGE, /* again with a new challenge */
    NEXT_WAIT,      /* again later */
    NEXT_GIVE_UP,   /* the gateway does not take it */
};

/* What follows from an answer to a report. */
enum guest_next guest_next_step(const struct guest_answer *answer);

/*
 * Milliseconds until the next round. After a verdict the interval with 10 % of jitter either way;
 * after `failures` failed rounds in a row 5 s doubled each time, up to the interval, with the upper
 * half as jitter; never less than what the gateway asked for. `random` is any number.
 */
int64_t guest_next_delay(int64_t interval_ms, unsigned failures, int64_t retry_after_ms,
                         uint32_t random);

#endif
