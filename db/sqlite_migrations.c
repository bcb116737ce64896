#include "db/sqlite.h"

/*
 * Numbered migrations, each in one transaction with its number (PRAGMA user_version). A published
 * one is never changed: a change is a new one.
 *
 * Times are ms since 1970 and 0 where there is none. *_key columns hold the lower-case form of the
 * column beside them. JSON is TEXT that the database never looks into.
 */
static const char migration_1[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('probe', '0');"

    "CREATE TABLE job ("
    " id TEXT PRIMARY KEY,"
    " kind TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " terminal INTEGER NOT NULL," /* 1: succeeded, failed, canceled */
    " shared INTEGER NOT NULL,"
    " resource_id TEXT NOT NULL,"
    " resource_key TEXT NOT NULL,"
    " subscription_id TEXT NOT NULL,"
    " subscription_key TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " ended_at INTEGER NOT NULL,"
    " due_at INTEGER NOT NULL," /* leased: the end of the lease */
    " deadline_at INTEGER NOT NULL,"
    " cancel_requested_at INTEGER NOT NULL,"
    " created_by_id TEXT NOT NULL,"
    " created_by TEXT NOT NULL,"
    " request_id TEXT,"
    " traceparent TEXT,"
    " body_hash TEXT,"
    " spec TEXT,"
    " vars TEXT,"
    " result TEXT,"
    " error TEXT,"
    " wake_key TEXT,"
    " wakes INTEGER NOT NULL,"      /* wake-ups and cancel requests so far */
    " wakes_seen INTEGER NOT NULL," /* of which the present claim knows */
    " undoing INTEGER NOT NULL,"
    " current_step INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " lease_until INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL,"
    " last_event INTEGER NOT NULL"
    ") STRICT;"
    /* One job at a time works on a resource. */
    "CREATE UNIQUE INDEX job_busy ON job (resource_key) WHERE terminal = 0 AND shared = 0;"
    "CREATE INDEX job_due ON job (subscription_key, due_at) WHERE terminal = 0;"
    "CREATE INDEX job_wake ON job (wake_key) WHERE wake_key IS NOT NULL AND terminal = 0;"
    "CREATE INDEX job_resource ON job (resource_key, id);"
    "CREATE INDEX job_subscription ON job (subscription_key, id);"
    "CREATE INDEX job_state ON job (state, id);"
    "CREATE INDEX job_ended ON job (ended_at) WHERE terminal = 1;"

    "CREATE TABLE step ("
    " job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " seq INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " started_at INTEGER NOT NULL DEFAULT 0,"
    " ended_at INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " detail TEXT,"
    " created INTEGER NOT NULL DEFAULT 0,"
    " intent_method TEXT,"
    " intent_url TEXT,"
    " intent_body_hash TEXT,"
    " intent_request_id TEXT,"
    " intent_at INTEGER NOT NULL DEFAULT 0,"
    " poll_url TEXT,"
    " poll_kind TEXT,"
    " poll_not_before INTEGER NOT NULL DEFAULT 0,"
    " last_status INTEGER NOT NULL DEFAULT 0,"
    " vars TEXT,"
    " PRIMARY KEY (job_id, seq)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE event ("
    " job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " id INTEGER NOT NULL,"
    " at INTEGER NOT NULL,"
    " type TEXT NOT NULL,"
    " data TEXT,"
    " PRIMARY KEY (job_id, id)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE job_secret ("
    " job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " name TEXT NOT NULL,"
    " sealed BLOB NOT NULL,"
    " PRIMARY KEY (job_id, name)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE idempotency ("
    " principal_id TEXT NOT NULL,"
    " operation TEXT NOT NULL,"
    " idem_key TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL,"
    " job_id TEXT NOT NULL,"
    " expires_at INTEGER NOT NULL,"
    " PRIMARY KEY (principal_id, operation, idem_key)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX idempotency_expires ON idempotency (expires_at);"

    "CREATE TABLE audit ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " at INTEGER NOT NULL,"
    " principal_id TEXT,"
    " principal TEXT,"
    " action TEXT NOT NULL,"
    " resource_id TEXT,"
    " job_id TEXT,"
    " request_id TEXT,"
    " traceparent TEXT,"
    " peer TEXT,"
    " detail TEXT"
    ") STRICT;"

    "CREATE TABLE vm ("
    " resource_key TEXT PRIMARY KEY,"
    " resource_id TEXT NOT NULL,"
    " vm_id TEXT,"
    " vm_key TEXT UNIQUE,"
    " name TEXT,"
    " location TEXT,"
    " state TEXT,"
    " origin TEXT,"
    " job_id TEXT,"
    " spec TEXT,"
    " made TEXT,"
    " secure_boot INTEGER NOT NULL DEFAULT 0,"
    " vtpm INTEGER NOT NULL DEFAULT 0,"
    " monitoring INTEGER NOT NULL DEFAULT 0,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " status TEXT NOT NULL DEFAULT 'unknown',"
    " reasons TEXT,"
    " claims TEXT,"
    " last_report_id TEXT,"
    " last_verdict TEXT,"
    " last_report_at INTEGER NOT NULL DEFAULT 0,"
    " ak_spki TEXT UNIQUE," /* two VMs never share an AK */
    " ak_name TEXT,"
    " enrolled_at INTEGER NOT NULL DEFAULT 0,"
    " reset_count INTEGER NOT NULL DEFAULT 0,"
    " restart_count INTEGER NOT NULL DEFAULT 0,"
    " clock_ms INTEGER NOT NULL DEFAULT 0,"
    " etag TEXT NOT NULL"
    ") STRICT;"
    /* Fleet list by status, and the summary without touching the rows. */
    "CREATE INDEX vm_status ON vm (status, resource_key, last_report_at);"

    "CREATE TABLE enrollment ("
    " hash TEXT PRIMARY KEY,"
    " resource_id TEXT NOT NULL,"
    " resource_key TEXT NOT NULL,"
    " job_id TEXT,"
    " created_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL,"
    " used_at INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX enrollment_resource ON enrollment (resource_key);"
    "CREATE INDEX enrollment_expires ON enrollment (expires_at);"

    "CREATE TABLE report ("
    " id TEXT PRIMARY KEY,"
    " vm_id TEXT NOT NULL,"
    " vm_key TEXT NOT NULL,"
    " resource_id TEXT NOT NULL,"
    " received_at INTEGER NOT NULL,"
    " verdict TEXT NOT NULL,"
    " checks TEXT,"
    " claims TEXT,"
    " evidence_hash TEXT,"
    " log_digest TEXT,"
    " ak_spki TEXT,"
    " reset_count INTEGER NOT NULL,"
    " restart_count INTEGER NOT NULL,"
    " clock_ms INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX report_vm ON report (vm_key, id);"

    "CREATE TABLE log ("
    " vm_key TEXT NOT NULL,"
    " digest TEXT NOT NULL,"
    " last_used_at INTEGER NOT NULL,"
    " PRIMARY KEY (vm_key, digest)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX log_used ON log (last_used_at);"
    /* The log itself has a table of its own, so that a new last_used_at does not write it again. */
    "CREATE TABLE log_body ("
    " vm_key TEXT NOT NULL,"
    " digest TEXT NOT NULL,"
    " body BLOB NOT NULL,"
    " PRIMARY KEY (vm_key, digest),"
    " FOREIGN KEY (vm_key, digest) REFERENCES log (vm_key, digest) ON DELETE CASCADE"
    ") STRICT;"

    "CREATE TABLE challenge_used ("
    " hash TEXT PRIMARY KEY,"
    " expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX challenge_expires ON challenge_used (expires_at);"

    "CREATE TABLE api_key ("
    " id TEXT PRIMARY KEY,"
    " name TEXT NOT NULL,"
    " hash TEXT NOT NULL,"
    " role TEXT NOT NULL,"
    " scope TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL,"
    " revoked_at INTEGER NOT NULL,"
    " last_used_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

/* Which of Microsoft's Secure Boot certificates a VM trusts. */
static const char migration_2[] =
    "ALTER TABLE vm ADD COLUMN certificates INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vm ADD COLUMN certificates_state TEXT NOT NULL DEFAULT 'unknown';"
    "ALTER TABLE vm ADD COLUMN certificates_log TEXT;"
    "CREATE INDEX vm_certificates ON vm (certificates_state, resource_key);";

/*
 * Reports in the order in which they came, counted for each VM. What a VM says again and again stands
 * in the first report that said it; `checks` NULL: as in the VM's report before it (db/sqlite_history.c).
 * Used challenges in the order in which they expire: one place of one tree for all that are in use.
 */
static const char migration_3[] =
    "ALTER TABLE report RENAME TO report_1;"
    "DROP INDEX report_vm;"
    "CREATE TABLE report ("
    " seq INTEGER PRIMARY KEY,"
    " id TEXT NOT NULL UNIQUE,"
    " vm_key TEXT NOT NULL,"
    " n INTEGER NOT NULL," /* 1, 2, 3, ... of its VM */
    " received_at INTEGER NOT NULL,"
    " verdict TEXT NOT NULL,"
    " evidence_hash TEXT,"
    " reset_count INTEGER NOT NULL,"
    " restart_count INTEGER NOT NULL,"
    " clock_ms INTEGER NOT NULL,"
    " hour_verdicts TEXT,"              /* those that the VM got so far in this hour */
    " kept INTEGER NOT NULL DEFAULT 0," /* 1: the first with its verdict in its hour */
    " audit_id INTEGER NOT NULL DEFAULT 0,"
    " content BLOB," /* names what follows */
    " vm_id TEXT,"
    " resource_id TEXT,"
    " checks TEXT,"
    " claims TEXT,"
    " log_digest TEXT,"
    " ak_spki TEXT"
    ") STRICT;"
    "INSERT INTO report (id, vm_key, n, received_at, verdict, evidence_hash, reset_count,"
    " restart_count, clock_ms, kept, vm_id, resource_id, checks, claims, log_digest, ak_spki)"
    " SELECT id, vm_key, row_number() OVER (PARTITION BY vm_key ORDER BY id), received_at, verdict,"
    " evidence_hash, reset_count, restart_count, clock_ms, 1, vm_id, resource_id,"
    " coalesce(checks, '[]'), json_remove(coalesce(claims, '{}'), '$.resetCount',"
    " '$.restartCount', '$.clock'), log_digest, ak_spki FROM report_1 ORDER BY id;"
    "DROP TABLE report_1;"
    "CREATE INDEX report_vm ON report (vm_key, n);"
    "CREATE INDEX report_content ON report (vm_key, n) WHERE checks IS NOT NULL;"

    "ALTER TABLE challenge_used RENAME TO challenge_used_1;"
    "DROP INDEX challenge_expires;"
    "CREATE TABLE challenge_used ("
    " expires_at INTEGER NOT NULL,"
    " hash TEXT NOT NULL,"
    " PRIMARY KEY (expires_at, hash)"
    ") STRICT, WITHOUT ROWID;"
    "INSERT INTO challenge_used SELECT expires_at, hash FROM challenge_used_1;"
    "DROP TABLE challenge_used_1;";

/* Enrolment proofs other than tokens, and quarantines that last. */
static const char migration_4[] =
    "ALTER TABLE vm ADD COLUMN ak_profile TEXT;"
    "ALTER TABLE vm ADD COLUMN ek_spki TEXT;"
    "ALTER TABLE vm ADD COLUMN enrolled_by TEXT;"
    "ALTER TABLE vm ADD COLUMN quarantined_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vm ADD COLUMN quarantine_reason TEXT;"
    "ALTER TABLE vm ADD COLUMN quarantine_other TEXT;"
    "ALTER TABLE vm ADD COLUMN quarantine_report_id TEXT;"
    "ALTER TABLE vm ADD COLUMN candidate_ak_spki TEXT;"
    "ALTER TABLE vm ADD COLUMN candidate_ak_name TEXT;"
    "ALTER TABLE vm ADD COLUMN candidate_ak_profile TEXT;"
    "ALTER TABLE vm ADD COLUMN candidate_ek_spki TEXT;"
    "ALTER TABLE vm ADD COLUMN candidate_proof TEXT;"
    /* One TPM is one VM's. */
    "CREATE UNIQUE INDEX vm_ek ON vm (ek_spki);"
    "ALTER TABLE report ADD COLUMN proof TEXT;"
    /* Before, only the VM that came second was marked, and only until its next report. */
    "UPDATE vm SET quarantined_at = updated_at, quarantine_reason = 'ak_of_another_vm'"
    " WHERE status = 'quarantined';";

/*
 * Policies and baselines. A policy's versions are rows that never change; `policy` holds which is the
 * present one, and policy_scope that a scope has one policy at most. Of a VM: what it was made of, what
 * judged its last report, and when that report stops to count (0: as the gateway is configured).
 */
static const char migration_5[] =
    "CREATE TABLE policy ("
    " name_key TEXT PRIMARY KEY,"
    " name TEXT NOT NULL,"
    " version INTEGER NOT NULL,"
    " etag TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE policy_version ("
    " name_key TEXT NOT NULL REFERENCES policy (name_key) ON DELETE CASCADE,"
    " version INTEGER NOT NULL,"
    " document TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " created_by TEXT NOT NULL,"
    " PRIMARY KEY (name_key, version)"
    ") STRICT;"
    "CREATE TABLE policy_scope ("
    " scope_key TEXT PRIMARY KEY,"
    " name_key TEXT NOT NULL REFERENCES policy (name_key) ON DELETE CASCADE"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX policy_scope_name ON policy_scope (name_key);"
    /* Versions only ever rise, also of a policy that is made again under its former name. */
    "INSERT INTO meta VALUES ('policy_version', '0');"

    "CREATE TABLE baseline ("
    " id TEXT PRIMARY KEY,"
    " image TEXT NOT NULL,"
    " image_key TEXT NOT NULL UNIQUE,"
    " state TEXT NOT NULL,"
    " revision INTEGER NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE baseline_set ("
    " baseline_id TEXT NOT NULL REFERENCES baseline (id) ON DELETE CASCADE,"
    " digest TEXT NOT NULL," /* of the values: names the set */
    " bank TEXT NOT NULL,"
    " pcrs TEXT NOT NULL,"   /* JSON */
    " events TEXT NOT NULL," /* JSON */
    " report_id TEXT NOT NULL,"
    " added_at INTEGER NOT NULL,"
    " added_by TEXT NOT NULL,"
    " PRIMARY KEY (baseline_id, digest)"
    ") STRICT;"
    /* While a baseline is learned: which VM showed which set. */
    "CREATE TABLE baseline_vm ("
    " baseline_id TEXT NOT NULL REFERENCES baseline (id) ON DELETE CASCADE,"
    " vm_key TEXT NOT NULL,"
    " digest TEXT NOT NULL,"
    " PRIMARY KEY (baseline_id, vm_key)"
    ") STRICT, WITHOUT ROWID;"

    "ALTER TABLE vm ADD COLUMN image TEXT;"
    "ALTER TABLE vm ADD COLUMN policy TEXT;"
    "ALTER TABLE vm ADD COLUMN baseline TEXT;"
    "ALTER TABLE vm ADD COLUMN stale_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE report ADD COLUMN policy TEXT;"
    "DROP INDEX vm_status;"
    "CREATE INDEX vm_status ON vm (status, resource_key, last_report_at, stale_at);"
    "CREATE INDEX vm_policy ON vm (resource_key) WHERE policy IS NOT NULL;";

/*
 * The last report of a VM that says the same again and again: a narrow row, while the VM's own, which is
 * wide, stays (db/sqlite_vm_reports.c). The counters of its claims become columns (said_counted 1), so
 * that the claims are equal then.
 */
static const char migration_6[] =
    "ALTER TABLE vm ADD COLUMN said_counted INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vm ADD COLUMN said_reset INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vm ADD COLUMN said_restart INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vm ADD COLUMN said_clock INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE vm_echo ("
    " echo_key TEXT PRIMARY KEY REFERENCES vm (vm_key) ON DELETE CASCADE,"
    " echo_n INTEGER NOT NULL," /* reports since the one in the VM's row */
    " echo_report_id TEXT NOT NULL,"
    " echo_at INTEGER NOT NULL,"
    " echo_reset INTEGER NOT NULL,"
    " echo_restart INTEGER NOT NULL,"
    " echo_clock INTEGER NOT NULL,"
    " echo_stale_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;";

/*
 * A job names its steps, and a step has a row once it is begun: most of what a submission wrote was rows
 * that said "pending". NULL: a job of before, whose steps all have rows with their names.
 */
static const char migration_7[] =
    "ALTER TABLE job ADD COLUMN steps TEXT;"
    "DROP INDEX vm_ek;"
    "CREATE UNIQUE INDEX vm_ek ON vm (ek_spki) WHERE ek_spki IS NOT NULL;";

/* When a job may be asked about again that one lease holds for many polls; void once it has another. */
static const char migration_8[] = "CREATE TABLE poll ("
                                  " job_id TEXT PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,"
                                  " lease_until INTEGER NOT NULL,"
                                  " not_before INTEGER NOT NULL"
                                  ") STRICT, WITHOUT ROWID;";

/*
 * Fewer trees and narrower rows for a submission: with some 1,300 bytes three jobs fit on a page, which each
 * advance of one of them writes. Enrolments are kept by the time in their hash (enrollment_text), which is
 * little before they begin; of before, some are not, which are few and expire.
 */
static const char migration_9[] =
    "DROP INDEX enrollment_expires;"
    "DROP INDEX job_busy;"
    "DROP INDEX job_resource;"
    "ALTER TABLE job DROP COLUMN resource_key;"
    "CREATE UNIQUE INDEX job_busy ON job (lower(resource_id)) WHERE terminal = 0 AND shared = 0;"
    "CREATE INDEX job_resource ON job (lower(resource_id), id);"
    "UPDATE job SET subscription_id = '' WHERE subscription_id = subscription_key;";

/*
 * Fewer pages for each submission, which wrote 95 of them for 33.
 * - A VM stands in one tree with its ARM id, which answers for lists and counts as well (vm_fleet), instead of
 *   three; what few VMs have (an alarm, a vmId, an AK) is indexed where it is there. One row for each resource_key:
 *   there is one writer, and every insert looks for the row before.
 * - A job's place in job_resource says whether it keeps others away from its resource (JOB_BUSY). Those that are
 *   queued are found among the open ones (job_due), and stand in job_state once they are begun.
 * - Idempotency keys stand in the order in which they came, which is the order in which they expire.
 * - Audit ids rise without a counter beside them, since the newest row always stays.
 */
#define VM_10_COLUMNS                                                                              \
    "resource_key, resource_id, vm_id, vm_key, etag, job_id, name, location, state, origin,"       \
    " secure_boot, vtpm, monitoring, created_at, updated_at, status, last_report_id,"              \
    " last_verdict, last_report_at, stale_at, reset_count, restart_count, clock_ms, said_counted," \
    " said_reset, said_restart, said_clock, certificates, certificates_state, image,"              \
    " enrolled_by, enrolled_at, ak_profile, ak_name, ak_spki, ek_spki, quarantined_at,"            \
    " quarantine_reason, quarantine_other, quarantine_report_id, candidate_ak_spki,"               \
    " candidate_ak_name, candidate_ak_profile, candidate_ek_spki, candidate_proof,"                \
    " certificates_log, policy, baseline, reasons, spec, made, claims"

static const char migration_10[] =
    "ALTER TABLE vm RENAME TO vm_9;"
    "CREATE TABLE vm ("
    " id INTEGER PRIMARY KEY,"
    " resource_key TEXT NOT NULL,"
    " resource_id TEXT NOT NULL,"
    " vm_id TEXT,"
    " vm_key TEXT,"
    " etag TEXT NOT NULL,"
    " job_id TEXT,"
    " name TEXT,"
    " location TEXT,"
    " state TEXT,"
    " origin TEXT,"
    " secure_boot INTEGER NOT NULL,"
    " vtpm INTEGER NOT NULL,"
    " monitoring INTEGER NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " status TEXT NOT NULL,"
    " last_report_id TEXT,"
    " last_verdict TEXT,"
    " last_report_at INTEGER NOT NULL DEFAULT 0,"
    " stale_at INTEGER NOT NULL DEFAULT 0,"
    " reset_count INTEGER NOT NULL DEFAULT 0,"
    " restart_count INTEGER NOT NULL DEFAULT 0,"
    " clock_ms INTEGER NOT NULL DEFAULT 0,"
    " said_counted INTEGER NOT NULL DEFAULT 0,"
    " said_reset INTEGER NOT NULL DEFAULT 0,"
    " said_restart INTEGER NOT NULL DEFAULT 0,"
    " said_clock INTEGER NOT NULL DEFAULT 0,"
    " certificates INTEGER NOT NULL DEFAULT 0,"
    " certificates_state TEXT NOT NULL DEFAULT 'unknown',"
    " image TEXT,"
    " enrolled_by TEXT,"
    " enrolled_at INTEGER NOT NULL DEFAULT 0,"
    " ak_profile TEXT,"
    " ak_name TEXT,"
    " ak_spki TEXT,"
    " ek_spki TEXT,"
    " quarantined_at INTEGER NOT NULL DEFAULT 0,"
    " quarantine_reason TEXT,"
    " quarantine_other TEXT,"
    " quarantine_report_id TEXT,"
    " candidate_ak_spki TEXT,"
    " candidate_ak_name TEXT,"
    " candidate_ak_profile TEXT,"
    " candidate_ek_spki TEXT,"
    " candidate_proof TEXT,"
    " certificates_log TEXT,"
    " policy TEXT,"
    " baseline TEXT,"
    " reasons TEXT,"
    " spec TEXT,"
    " made TEXT,"
    " claims TEXT"
    ") STRICT;"
    "INSERT INTO vm (id, " VM_10_COLUMNS ") SELECT rowid, " VM_10_COLUMNS " FROM vm_9"
    " ORDER BY rowid;"
    "ALTER TABLE vm_echo RENAME TO vm_echo_9;"
    "CREATE TABLE vm_echo ("
    " echo_vm INTEGER PRIMARY KEY REFERENCES vm (id) ON DELETE CASCADE,"
    " echo_n INTEGER NOT NULL," /* reports since the one in the VM's row */
    " echo_report_id TEXT NOT NULL,"
    " echo_at INTEGER NOT NULL,"
    " echo_reset INTEGER NOT NULL,"
    " echo_restart INTEGER NOT NULL,"
    " echo_clock INTEGER NOT NULL,"
    " echo_stale_at INTEGER NOT NULL"
    ") STRICT;"
    "INSERT INTO vm_echo SELECT vm_9.rowid, echo_n, echo_report_id, echo_at, echo_reset,"
    " echo_restart, echo_clock, echo_stale_at FROM vm_echo_9 JOIN vm_9 ON vm_key = echo_key;"
    "DROP TABLE vm_echo_9;"
    "DROP TABLE vm_9;"
    "CREATE INDEX vm_fleet ON vm (resource_key, status, last_report_at, stale_at, certificates,"
    " certificates_state);"
    "CREATE INDEX vm_alarm ON vm (status, resource_key) WHERE " VM_ALARM ";"
    "CREATE INDEX vm_policy ON vm (resource_key) WHERE policy IS NOT NULL;"
    "CREATE UNIQUE INDEX vm_vm_id ON vm (vm_key) WHERE vm_key IS NOT NULL;"
    "CREATE UNIQUE INDEX vm_ak ON vm (ak_spki) WHERE ak_spki IS NOT NULL;" /* two VMs never share one */
    "CREATE UNIQUE INDEX vm_ek ON vm (ek_spki) WHERE ek_spki IS NOT NULL;"

    "DROP INDEX job_busy;"
    "DROP INDEX job_resource;"
    "CREATE UNIQUE INDEX job_resource ON job (" JOB_RESOURCE ", " JOB_BUSY ");"
    "DROP INDEX job_state;"
    "CREATE INDEX job_state ON job (state, id) WHERE " JOB_BEGUN ";"

    "ALTER TABLE idempotency RENAME TO idempotency_9;"
    "DROP INDEX idempotency_expires;"
    "CREATE TABLE idempotency ("
    " seq INTEGER PRIMARY KEY,"
    " principal_id TEXT NOT NULL,"
    " operation TEXT NOT NULL,"
    " idem_key TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL,"
    " job_id TEXT NOT NULL,"
    " expires_at INTEGER NOT NULL,"
    " UNIQUE (principal_id, operation, idem_key)"
    ") STRICT;"
    "INSERT INTO idempotency (principal_id, operation, idem_key, fingerprint, job_id, expires_at)"
    " SELECT principal_id, operation, idem_key, fingerprint, job_id, expires_at FROM idempotency_9"
    " ORDER BY expires_at;"
    "DROP TABLE idempotency_9;"

    "ALTER TABLE audit RENAME TO audit_9;"
    "CREATE TABLE audit ("
    " id INTEGER PRIMARY KEY,"
    " at INTEGER NOT NULL,"
    " principal_id TEXT,"
    " principal TEXT,"
    " action TEXT NOT NULL,"
    " resource_id TEXT,"
    " job_id TEXT,"
    " request_id TEXT,"
    " traceparent TEXT,"
    " peer TEXT,"
    " detail TEXT"
    ") STRICT;"
    "INSERT INTO audit SELECT id, at, principal_id, principal, action, resource_id, job_id,"
    " request_id, traceparent, peer, detail FROM audit_9 ORDER BY id;"
    /* The newest ids may be those of rows that are gone. */
    "INSERT INTO audit (id, at, action) SELECT seq, unixepoch() * 1000, 'store.migrate'"
    " FROM sqlite_sequence WHERE name = 'audit_9' AND seq > (SELECT coalesce(max(id), 0) FROM "
    "audit);"
    "DROP TABLE audit_9;";

const char *const db_migrations[] = {migration_1, migration_2,  migration_3, migration_4,
                                     migration_5, migration_6,  migration_7, migration_8,
                                     migration_9, migration_10, NULL};
