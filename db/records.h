/*
 * What the store holds, as plain records.
 *
 * Text is UTF-8 and NUL-terminated, absent text is NULL, times are milliseconds since 1970 (0:
 * none), JSON is opaque text that the store neither reads nor makes. ARM ids and vmIds are kept as
 * given and compared without case. A record that a read returns lives in the caller's arena; what a
 * write takes is borrowed until its completion.
 */
#ifndef DB_RECORDS_H
#define DB_RECORDS_H

#include "core/arena.h"
#include "core/bytes.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, text); the text is what the database and the API hold. */
#define JOB_STATE_LIST(X)                                                                          \
    X(QUEUED, "queued")                                                                            \
    X(RUNNING, "running")                                                                          \
    X(WAITING, "waiting")                                                                          \
    X(CANCELING, "canceling")                                                                      \
    X(SUCCEEDED, "succeeded")                                                                      \
    X(FAILED, "failed")                                                                            \
    X(CANCELED, "canceled")

enum job_state {
#define X(name, text) JOB_##name,
    JOB_STATE_LIST(X)
#undef X
        JOB_STATES
};

#define STEP_STATE_LIST(X)                                                                         \
    X(PENDING, "pending")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(WAITING, "waiting")                                                                          \
    X(SUCCEEDED, "succeeded")                                                                      \
    X(SKIPPED, "skipped")                                                                          \
    X(FAILED, "failed")                                                                            \
    X(UNDOING, "undoing")                                                                          \
    X(UNDONE, "undone")

enum step_state {
#define X(name, text) STEP_##name,
    STEP_STATE_LIST(X)
#undef X
        STEP_STATES
};

#define VM_STATUS_LIST(X)                                                                          \
    X(UNKNOWN, "unknown")                                                                          \
    X(HEALTHY, "healthy")                                                                          \
    X(UNHEALTHY, "unhealthy")                                                                      \
    X(UNMONITORED, "unmonitored")                                                                  \
    X(QUARANTINED, "quarantined")

enum vm_status {
#define X(name, text) VM_##name,
    VM_STATUS_LIST(X)
#undef X
        VM_STATUSES
};

#define ROLE_LIST(X)                                                                               \
    X(READER, "reader")                                                                            \
    X(PROVISIONER, "provisioner")                                                                  \
    X(ADMIN, "admin")

/* In rising order: each role may do what the ones before it may. */
enum role {
#define X(name, text) ROLE_##name,
    ROLE_LIST(X)
#undef X
        ROLES
};

const char *job_state_text(enum job_state s);
const char *step_state_text(enum step_state s);
const char *vm_status_text(enum vm_status s);
const char *role_text(enum role r);
/* False where the text names none. */
bool job_state_parse(const char *text, enum job_state *out) MUST_CHECK;
bool step_state_parse(const char *text, enum step_state *out) MUST_CHECK;
bool vm_status_parse(const char *text, enum vm_status *out) MUST_CHECK;
bool role_parse(const char *text, enum role *out) MUST_CHECK;

/* succeeded, failed, canceled. */
bool job_state_terminal(enum job_state s);

/* Who moves a job from one state to another. */
enum job_actor { JOB_BY_ENGINE, JOB_BY_CANCEL, JOB_BY_RETRY };
struct job_transition {
    enum job_state from;
    enum job_state to;
    enum job_actor by;
    const char *why;
};
/* The one table of transitions (docs/state_machine.md is rendered from it). */
const struct job_transition *job_transitions(size_t *n);
bool job_may_go(enum job_state from, enum job_state to, enum job_actor by);

/* ---- who ---- */

/* scope is "/", "/subscriptions/x" or "/subscriptions/x/resourceGroups/y", compared without case.
 */
struct principal {
    const char *id; /* stable: key id or subject */
    const char *name;
    enum role role;
    const char *scope;
    uint64_t seen; /* of the server: the verification that this comes from (server/auth.h) */
};

/* True where the scope covers the ARM id (or a scope) `target`. */
bool scope_covers(const char *scope, const char *target);

/* The audit row of one mutation. The store adds time and job. */
struct audit {
    const char *principal_id;
    const char *principal; /* name */
    const char *action;    /* "job.submit", "vm.delete", ... */
    const char *resource_id;
    const char *request_id;
    const char *traceparent;
    const char *peer;
    const char *detail; /* JSON, without secrets */
};

struct audit_entry {
    int64_t id; /* without gaps until pruned */
    int64_t at;
    struct audit a;
    const char *job_id;
};

/* ---- jobs ---- */

/* One step's row. `intent` is committed before a request is sent; poll as soon as it was answered.
 */
struct job_step {
    int seq; /* 0 .. n-1 */
    enum step_state state;
    const char *name;
    const char *detail; /* text for people */
    int64_t started_at;
    int64_t ended_at;
    int attempts;
    int last_status; /* HTTP status of the last answer, 0: none */
    bool created;    /* this job made the resource: undo may delete it */

    const char *intent_method; /* NULL: nothing was ever sent */
    const char *intent_url;
    const char *intent_body_hash;
    const char *intent_request_id; /* x-ms-client-request-id */
    int64_t intent_at;

    const char *poll_url; /* NULL: nothing to poll */
    const char *poll_kind;
    int64_t poll_not_before;

    const char *vars; /* JSON, the step's own */
};

struct job {
    const char *id; /* uuid v7 */
    const char *kind;
    enum job_state state;
    const char *resource_id;
    const char *subscription_id;
    int64_t created_at;
    int64_t updated_at;
    int64_t ended_at;
    int64_t due_at;      /* when the engine looks at it next */
    int64_t deadline_at; /* 0: none */
    int64_t cancel_requested_at;
    const char *created_by_id;
    const char *created_by; /* name */
    const char *request_id;
    const char *traceparent;
    const char *body_hash; /* of the request that made it */
    const char *spec;      /* JSON, never changes, without secrets */
    const char *vars;      /* JSON, the workflow's own */
    const char *result;    /* JSON */
    const char *error;     /* JSON; may be set before the end, when a failed job is being undone */
    const char *wake_key;  /* see struct job_advance */
    bool undoing;
    int current_step;
    int attempt;
    int64_t lease_until; /* 0: nobody works on it */
    int64_t epoch;       /* raised by each claim */
    int64_t last_event;  /* id of its newest event */
    struct job_step *steps;
    int n_steps;
};

/* A job that is polled again and again under one lease: not again before. */
struct job_poll {
    const char *job_id;
    int64_t lease_until; /* as the job has it; the note counts no more once that has changed */
    int64_t not_before;
};
struct job_polls {
    const struct job_poll *polls;
    int n;
};

struct job_event {
    int64_t id; /* 1, 2, 3, ... of its job, without gaps */
    int64_t at;
    const char *type;
    const char *data; /* JSON */
};

struct job_list {
    struct job *items;
    size_t n;
    bool more; /* ask again with page.after = id of the last item */
};

struct event_list {
    struct job_event *items;
    size_t n;
};

/* Keyset page: rows after the key `after` (NULL: the first page), at most `limit`. */
struct page {
    const char *after;
    int limit;
};

/* Members that are NULL do not filter. */
struct job_filter {
    const char *scope;  /* of the principal */
    const char *within; /* an ARM scope or id: only it and what is below it */
    const enum job_state *state;
    const char *kind;
    const char *resource_id;
    struct page page; /* newest first, key: job id */
};

/* ---- VMs ---- */

/* What may entitle a report that the pinned AK did not sign. */
#define ENROLL_PROOF_LIST(X)                                                                       \
    X(NONE, "none")                                                                                \
    X(TOKEN, "token")                                                                              \
    X(ATTESTED_DOCUMENT, "attestedDocument")                                                       \
    X(MAA_TOKEN, "maaToken")                                                                       \
    X(ACTIVATION, "activation")

enum enroll_proof {
#define X(name, text) PROOF_##name,
    ENROLL_PROOF_LIST(X)
#undef X
        ENROLL_PROOFS
};
const char *enroll_proof_text(enum enroll_proof p);

/*
 * Why a VM waits for an operator's decision, and the key that waits with it. It lasts until
 * store_requalify: no report ends it.
 */
struct vm_quarantine {
    int64_t since;      /* 0: none, and all below is NULL */
    const char *reason; /* ak_changed, ak_of_another_vm, ak_on_another_vm, ... */
    const char *other;  /* ARM id of the VM on the other side; NULL: none */
    const char *report_id;
    /* The AK that was proven and not pinned; NULL: none (the VM's own AK turned up elsewhere). */
    const char *ak_spki;
    const char *ak_name;
    const char *ak_profile;
    const char *ek_spki;
    const char *proof; /* enroll_proof_text */
};

struct vm {
    const char *resource_id;
    const char *vm_id;    /* NULL until Azure told it */
    const char *name;     /* last segment of the id, for instances as the writer gave it */
    const char *location; /* all below as the writer gave it */
    const char *state;    /* of the registry row: "creating", "ready", "failed", "deleting", ... */
    const char *origin;   /* "created" or "imported" */
    const char *job_id;   /* the job that last changed it */
    const char *spec;     /* JSON: what was asked for */
    const char *made;     /* JSON: what the gateway made for it, for DELETE */
    bool secure_boot;     /* expected */
    bool vtpm;
    bool monitoring;
    int64_t created_at;
    int64_t updated_at;

    enum vm_status status;
    const char *reasons; /* JSON array */
    const char *claims;  /* JSON object, but for the counters */
    struct vm_said {     /* which are these; they change with each report */
        bool counted;    /* false: the claims stand as they are */
        int64_t reset_count;
        int64_t restart_count;
        int64_t clock_ms;
    } said;
    const char *last_report_id;
    const char *last_verdict;
    int64_t last_report_at;

    const char *ak_spki; /* pin: hex SHA-256 of the AK's SubjectPublicKeyInfo; NULL: not enrolled */
    const char *ak_name; /* hex TPM Name */
    const char *ak_profile;  /* under which the AK is judged; NULL: azureTrustedLaunch */
    const char *ek_spki;     /* of the TPM that activated the credential; NULL: another proof */
    const char *enrolled_by; /* enroll_proof_text; NULL: not enrolled, or before it was recorded */
    int64_t enrolled_at;
    int64_t reset_count; /* of the newest report of the pinned AK; valid while ak_spki is set */
    int64_t restart_count;
    int64_t clock_ms;

    /* Microsoft's Secure Boot certificates that it trusts, as its writer encodes them (attest); 0: not
     * known. Read from the event log of the digest certificates_log, NULL: none yet. */
    int64_t certificates;
    const char *certificates_state; /* "unknown", "ready", ... */
    const char *certificates_log;
    struct vm_quarantine quarantine;
    const char *etag; /* changes with every write of the row */

    const char *image;  /* publisher:offer:sku:version or a gallery version's id; NULL: not known */
    const char *policy; /* "name@version" that judged the last report; NULL: none did */
    const char *baseline; /* "id@revision" that it was compared with; NULL: none */
    int64_t stale_at;     /* when the last report stops to count; 0: as the gateway is configured */

    uint64_t reading; /* for store_vm_stands; 0: it cannot tell */

    /* The store's own: what stands in the row itself, where the rest of the last report stands beside
     * it. */
    struct vm_settled {
        int64_t rowid;
        int64_t last_report_at;
        int64_t stale_at;
        int64_t echoes; /* reports since then; 0: none */
    } settled;
};

/*
 * The status as it is at a time: healthy and unhealthy whose last report is older than fresh_after (or,
 * where the row has a stale_at of its own, past that) become unknown, with reasons ["report_too_old"]
 * and an ETag of its own. Lists do this themselves.
 */
#define VM_ETAG_OLD "-old"
void vm_apply_age(struct arena *a, struct vm *vm, int64_t fresh_after, int64_t now);
/* After that: the first ms at which the status would be another one, where reports count for max_age_ms
 * (0: for ever); INT64_MAX: never. */
int64_t vm_ages_at(const struct vm *vm, int64_t max_age_ms);

struct vm_list {
    struct vm *items;
    size_t n;
    bool more; /* ask again with page.after = resource_id of the last item */
};

struct vm_filter {
    const char *scope;            /* of the principal */
    const char *within;           /* only what is below this subscription or resource group */
    const enum vm_status *status; /* after ageing */
    const char *origin;
    bool with_policy;    /* only those whose last report a policy judged */
    int64_t fresh_after; /* 0: no ageing but that of rows with a stale_at */
    int64_t now;
    struct page page;               /* by ARM id without case */
    const char *certificates_state; /* NULL: any */
    const char *vm_id;
};

struct vm_summary {
    int64_t total;
    int64_t by_status[VM_STATUSES]; /* after ageing */
};

/* How many VMs have the same value of vm.certificates. */
struct certificates_count {
    int64_t certificates;
    int64_t n;
};
struct certificates_counts {
    struct certificates_count *items;
    size_t n;
};

/* ---- attestation ---- */

struct report {
    const char *id; /* uuid v7 */
    const char *vm_id;
    const char *resource_id;
    int64_t received_at;
    const char *verdict;
    const char *checks; /* JSON array */
    /* JSON object, without what differs in each report: the three counters below */
    const char *claims;
    const char *evidence_hash; /* hex, see wire_evidence_digest */
    const char *log_digest;    /* hex SHA-256; NULL: without event log */
    const char *ak_spki;
    const char *proof; /* enroll_proof_text where the pinned AK did not sign it; else NULL */
    int64_t reset_count;
    int64_t restart_count;
    int64_t clock_ms;
    const char *policy; /* "name@version" that judged it; NULL: none did */
};

/* True where (reset, restart, clock) of a report lies before the newest of the VM's pinned AK. */
bool vm_clock_regressed(const struct vm *vm, const struct report *r);

/* What a report claims for its AK, each part verified before. */
struct enroll_claim {
    enum enroll_proof proof; /* of the vmId; NONE: no valid one */
    bool decided;            /* the proof is an operator's decision for a VM that has a pin */
    const char *ak_spki;     /* in lower case; NULL: nobody knows who signed */
    bool ak_proven;          /* the evidence proves a TPM's AK, so that it may be pinned */
};

/* What a report's AK is to its VM, and so what the report may do. */
enum vm_binding {
    BINDING_NONE,     /* neither pinned nor with a valid proof: not let in */
    BINDING_PINNED,   /* the pinned AK */
    BINDING_UNPROVEN, /* a valid proof, but no AK that could be pinned: a result, nothing more */
    BINDING_ENROLLED, /* becomes the pin */
    BINDING_CHANGED,  /* another AK is pinned: quarantine, this one waits */
    BINDING_SHARED,   /* AK or EK are another VM's: both into quarantine */
    BINDING_HELD,     /* the VM is in quarantine already: this AK waits */
};

/*
 * The decision, pure, so that the one outside and the one in the transaction are the same. `elsewhere`:
 * another VM pins this AK, or the EK of this TPM.
 *
 * A pin is replaced only by an operator's decision, and a quarantine ends only by one
 * (facts of enrolment binding: a change is quarantined, never silently enrolled again).
 */
enum vm_binding vm_bind(const struct vm *vm, const struct enroll_claim *claim, bool elsewhere);

/* True where an enrolment token counts as an operator's decision for this VM: it was made on demand,
 * after the present AK was pinned. A token of the VM's own job never replaces a pin. */
struct enrollment;
bool vm_token_decides(const struct vm *vm, const struct enrollment *token);

struct report_list {
    struct report *items;
    size_t n;
    bool more; /* ask again with page.after = id of the last item */
};

struct enrollment {
    const char *hash; /* hex SHA-256 of the token */
    const char *resource_id;
    const char *job_id; /* NULL: made by hand */
    int64_t created_at;
    int64_t expires_at;
    int64_t used_at; /* 0: unused */
};

/* ---- API keys ---- */

struct api_key {
    const char *id;
    const char *name;
    const char *hash; /* never the key */
    enum role role;
    const char *scope;
    int64_t created_at;
    int64_t expires_at; /* 0: never */
    int64_t revoked_at; /* 0: valid */
    int64_t last_used_at;
};

struct api_key_list {
    struct api_key *items;
    size_t n;
};

#endif
