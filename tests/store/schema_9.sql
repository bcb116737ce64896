-- The schema as of migration 9, with a few rows: what a database of that time holds.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE job ( id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, terminal INTEGER NOT NULL, shared INTEGER NOT NULL, resource_id TEXT NOT NULL, subscription_id TEXT NOT NULL, subscription_key TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, due_at INTEGER NOT NULL, deadline_at INTEGER NOT NULL, cancel_requested_at INTEGER NOT NULL, created_by_id TEXT NOT NULL, created_by TEXT NOT NULL, request_id TEXT, traceparent TEXT, body_hash TEXT, spec TEXT, vars TEXT, result TEXT, error TEXT, wake_key TEXT, wakes INTEGER NOT NULL, wakes_seen INTEGER NOT NULL, undoing INTEGER NOT NULL, current_step INTEGER NOT NULL, attempt INTEGER NOT NULL, lease_until INTEGER NOT NULL, epoch INTEGER NOT NULL, last_event INTEGER NOT NULL, steps TEXT) STRICT;
CREATE INDEX job_due ON job (subscription_key, due_at) WHERE terminal = 0;
CREATE INDEX job_wake ON job (wake_key) WHERE wake_key IS NOT NULL AND terminal = 0;
CREATE INDEX job_subscription ON job (subscription_key, id);
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_ended ON job (ended_at) WHERE terminal = 1;
CREATE TABLE step ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, seq INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, started_at INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, detail TEXT, created INTEGER NOT NULL DEFAULT 0, intent_method TEXT, intent_url TEXT, intent_body_hash TEXT, intent_request_id TEXT, intent_at INTEGER NOT NULL DEFAULT 0, poll_url TEXT, poll_kind TEXT, poll_not_before INTEGER NOT NULL DEFAULT 0, last_status INTEGER NOT NULL DEFAULT 0, vars TEXT, PRIMARY KEY (job_id, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE event ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, id INTEGER NOT NULL, at INTEGER NOT NULL, type TEXT NOT NULL, data TEXT, PRIMARY KEY (job_id, id)) STRICT, WITHOUT ROWID;
CREATE TABLE job_secret ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, name TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (job_id, name)) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency ( principal_id TEXT NOT NULL, operation TEXT NOT NULL, idem_key TEXT NOT NULL, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL, expires_at INTEGER NOT NULL, PRIMARY KEY (principal_id, operation, idem_key)) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);
CREATE TABLE audit ( id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, principal_id TEXT, principal TEXT, action TEXT NOT NULL, resource_id TEXT, job_id TEXT, request_id TEXT, traceparent TEXT, peer TEXT, detail TEXT) STRICT;
CREATE TABLE vm ( resource_key TEXT PRIMARY KEY, resource_id TEXT NOT NULL, vm_id TEXT, vm_key TEXT UNIQUE, name TEXT, location TEXT, state TEXT, origin TEXT, job_id TEXT, spec TEXT, made TEXT, secure_boot INTEGER NOT NULL DEFAULT 0, vtpm INTEGER NOT NULL DEFAULT 0, monitoring INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'unknown', reasons TEXT, claims TEXT, last_report_id TEXT, last_verdict TEXT, last_report_at INTEGER NOT NULL DEFAULT 0, ak_spki TEXT UNIQUE, ak_name TEXT, enrolled_at INTEGER NOT NULL DEFAULT 0, reset_count INTEGER NOT NULL DEFAULT 0, restart_count INTEGER NOT NULL DEFAULT 0, clock_ms INTEGER NOT NULL DEFAULT 0, etag TEXT NOT NULL, certificates INTEGER NOT NULL DEFAULT 0, certificates_state TEXT NOT NULL DEFAULT 'unknown', certificates_log TEXT, ak_profile TEXT, ek_spki TEXT, enrolled_by TEXT, quarantined_at INTEGER NOT NULL DEFAULT 0, quarantine_reason TEXT, quarantine_other TEXT, quarantine_report_id TEXT, candidate_ak_spki TEXT, candidate_ak_name TEXT, candidate_ak_profile TEXT, candidate_ek_spki TEXT, candidate_proof TEXT, image TEXT, policy TEXT, baseline TEXT, stale_at INTEGER NOT NULL DEFAULT 0, said_counted INTEGER NOT NULL DEFAULT 0, said_reset INTEGER NOT NULL DEFAULT 0, said_restart INTEGER NOT NULL DEFAULT 0, said_clock INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE enrollment ( hash TEXT PRIMARY KEY, resource_id TEXT NOT NULL, resource_key TEXT NOT NULL, job_id TEXT, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX enrollment_resource ON enrollment (resource_key);
CREATE TABLE log ( vm_key TEXT NOT NULL, digest TEXT NOT NULL, last_used_at INTEGER NOT NULL, PRIMARY KEY (vm_key, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX log_used ON log (last_used_at);
CREATE TABLE log_body ( vm_key TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (vm_key, digest), FOREIGN KEY (vm_key, digest) REFERENCES log (vm_key, digest) ON DELETE CASCADE) STRICT;
CREATE TABLE api_key ( id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, role TEXT NOT NULL, scope TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX vm_certificates ON vm (certificates_state, resource_key);
CREATE TABLE report ( seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vm_key TEXT NOT NULL, n INTEGER NOT NULL, received_at INTEGER NOT NULL, verdict TEXT NOT NULL, evidence_hash TEXT, reset_count INTEGER NOT NULL, restart_count INTEGER NOT NULL, clock_ms INTEGER NOT NULL, hour_verdicts TEXT, kept INTEGER NOT NULL DEFAULT 0, audit_id INTEGER NOT NULL DEFAULT 0, content BLOB, vm_id TEXT, resource_id TEXT, checks TEXT, claims TEXT, log_digest TEXT, ak_spki TEXT, proof TEXT, policy TEXT) STRICT;
CREATE INDEX report_vm ON report (vm_key, n);
CREATE INDEX report_content ON report (vm_key, n) WHERE checks IS NOT NULL;
CREATE TABLE challenge_used ( expires_at INTEGER NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (expires_at, hash)) STRICT, WITHOUT ROWID;
CREATE TABLE policy ( name_key TEXT PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, etag TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE policy_version ( name_key TEXT NOT NULL REFERENCES policy (name_key) ON DELETE CASCADE, version INTEGER NOT NULL, document TEXT NOT NULL, created_at INTEGER NOT NULL, created_by TEXT NOT NULL, PRIMARY KEY (name_key, version)) STRICT;
CREATE TABLE policy_scope ( scope_key TEXT PRIMARY KEY, name_key TEXT NOT NULL REFERENCES policy (name_key) ON DELETE CASCADE) STRICT, WITHOUT ROWID;
CREATE INDEX policy_scope_name ON policy_scope (name_key);
CREATE TABLE baseline ( id TEXT PRIMARY KEY, image TEXT NOT NULL, image_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, revision INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE baseline_set ( baseline_id TEXT NOT NULL REFERENCES baseline (id) ON DELETE CASCADE, digest TEXT NOT NULL, bank TEXT NOT NULL, pcrs TEXT NOT NULL, events TEXT NOT NULL, report_id TEXT NOT NULL, added_at INTEGER NOT NULL, added_by TEXT NOT NULL, PRIMARY KEY (baseline_id, digest)) STRICT;
CREATE TABLE baseline_vm ( baseline_id TEXT NOT NULL REFERENCES baseline (id) ON DELETE CASCADE, vm_key TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (baseline_id, vm_key)) STRICT, WITHOUT ROWID;
CREATE INDEX vm_status ON vm (status, resource_key, last_report_at, stale_at);
CREATE INDEX vm_policy ON vm (resource_key) WHERE policy IS NOT NULL;
CREATE TABLE vm_echo ( echo_key TEXT PRIMARY KEY REFERENCES vm (vm_key) ON DELETE CASCADE, echo_n INTEGER NOT NULL, echo_report_id TEXT NOT NULL, echo_at INTEGER NOT NULL, echo_reset INTEGER NOT NULL, echo_restart INTEGER NOT NULL, echo_clock INTEGER NOT NULL, echo_stale_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX vm_ek ON vm (ek_spki) WHERE ek_spki IS NOT NULL;
CREATE TABLE poll ( job_id TEXT PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE, lease_until INTEGER NOT NULL, not_before INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX job_busy ON job (lower(resource_id)) WHERE terminal = 0 AND shared = 0;
CREATE INDEX job_resource ON job (lower(resource_id), id);

INSERT INTO meta VALUES ('probe', '0'), ('policy_version', '0');
INSERT INTO vm (resource_key, resource_id, vm_id, vm_key, created_at, updated_at, etag, status, reasons,
 last_report_id, last_report_at, ak_spki, certificates, certificates_state, spec) VALUES
 ('/subscriptions/s/first', '/subscriptions/S/First', 'ID', 'id', 1, 10, 'e', 'healthy', '[]', '0190-1', 10, 'aa', 5,
 'ready', '{"a":1}'),
 ('/subscriptions/s/second', '/subscriptions/S/Second', NULL, NULL, 2, 2, 'f', 'unknown', '[]', NULL, 0, NULL, 0,
 'unknown', NULL);
INSERT INTO vm_echo VALUES ('id', 3, '0190-4', 40, 7, 8, 9, 0);
INSERT INTO job (id, kind, state, terminal, shared, resource_id, subscription_id, subscription_key, created_at,
 updated_at, ended_at, due_at, deadline_at, cancel_requested_at, created_by_id, created_by, body_hash, spec, vars, wakes,
 wakes_seen, undoing, current_step, attempt, lease_until, epoch, last_event, steps) VALUES
 ('0190-a', 'vm.put', 'queued', 0, 0, '/subscriptions/S/Second', '', 's', 1, 1, 0, 1, 9000, 0, 'p', 'P', 'h', '{}', '{}',
 0, 0, 0, 0, 0, 0, 0, 1, 'group,vm');
INSERT INTO idempotency VALUES ('key1', 'put', 'later', 'print', '0190-b', 9000000000001),
 ('key1', 'put', 'sooner', 'print', '0190-a', 9000000000000);
INSERT INTO audit (at, action) VALUES (1, 'one'), (2, 'two'), (3, 'gone');
DELETE FROM audit WHERE id = 3;
PRAGMA user_version = 9;
