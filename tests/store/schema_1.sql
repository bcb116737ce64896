-- The first published schema, with a few rows: what a database of that time holds.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('probe', '0');
CREATE TABLE job ( id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, terminal INTEGER NOT NULL, shared INTEGER NOT NULL, resource_id TEXT NOT NULL, resource_key TEXT NOT NULL, subscription_id TEXT NOT NULL, subscription_key TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, due_at INTEGER NOT NULL, deadline_at INTEGER NOT NULL, cancel_requested_at INTEGER NOT NULL, created_by_id TEXT NOT NULL, created_by TEXT NOT NULL, request_id TEXT, traceparent TEXT, body_hash TEXT, spec TEXT, vars TEXT, result TEXT, error TEXT, wake_key TEXT, wakes INTEGER NOT NULL, wakes_seen INTEGER NOT NULL, undoing INTEGER NOT NULL, current_step INTEGER NOT NULL, attempt INTEGER NOT NULL, lease_until INTEGER NOT NULL, epoch INTEGER NOT NULL, last_event INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX job_busy ON job (resource_key) WHERE terminal = 0 AND shared = 0;
CREATE INDEX job_due ON job (subscription_key, due_at) WHERE terminal = 0;
CREATE INDEX job_wake ON job (wake_key) WHERE wake_key IS NOT NULL AND terminal = 0;
CREATE INDEX job_resource ON job (resource_key, id);
CREATE INDEX job_subscription ON job (subscription_key, id);
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_ended ON job (ended_at) WHERE terminal = 1;
CREATE TABLE step ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, seq INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, started_at INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, detail TEXT, created INTEGER NOT NULL DEFAULT 0, intent_method TEXT, intent_url TEXT, intent_body_hash TEXT, intent_request_id TEXT, intent_at INTEGER NOT NULL DEFAULT 0, poll_url TEXT, poll_kind TEXT, poll_not_before INTEGER NOT NULL DEFAULT 0, last_status INTEGER NOT NULL DEFAULT 0, vars TEXT, PRIMARY KEY (job_id, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE event ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, id INTEGER NOT NULL, at INTEGER NOT NULL, type TEXT NOT NULL, data TEXT, PRIMARY KEY (job_id, id)) STRICT, WITHOUT ROWID;
CREATE TABLE job_secret ( job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, name TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (job_id, name)) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency ( principal_id TEXT NOT NULL, operation TEXT NOT NULL, idem_key TEXT NOT NULL, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL, expires_at INTEGER NOT NULL, PRIMARY KEY (principal_id, operation, idem_key)) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);
CREATE TABLE audit ( id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, principal_id TEXT, principal TEXT, action TEXT NOT NULL, resource_id TEXT, job_id TEXT, request_id TEXT, traceparent TEXT, peer TEXT, detail TEXT) STRICT;
CREATE TABLE vm ( resource_key TEXT PRIMARY KEY, resource_id TEXT NOT NULL, vm_id TEXT, vm_key TEXT UNIQUE, name TEXT, location TEXT, state TEXT, origin TEXT, job_id TEXT, spec TEXT, made TEXT, secure_boot INTEGER NOT NULL DEFAULT 0, vtpm INTEGER NOT NULL DEFAULT 0, monitoring INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'unknown', reasons TEXT, claims TEXT, last_report_id TEXT, last_verdict TEXT, last_report_at INTEGER NOT NULL DEFAULT 0, ak_spki TEXT UNIQUE, ak_name TEXT, enrolled_at INTEGER NOT NULL DEFAULT 0, reset_count INTEGER NOT NULL DEFAULT 0, restart_count INTEGER NOT NULL DEFAULT 0, clock_ms INTEGER NOT NULL DEFAULT 0, etag TEXT NOT NULL) STRICT;
CREATE INDEX vm_status ON vm (status, resource_key, last_report_at);
CREATE TABLE enrollment ( hash TEXT PRIMARY KEY, resource_id TEXT NOT NULL, resource_key TEXT NOT NULL, job_id TEXT, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX enrollment_resource ON enrollment (resource_key);
CREATE INDEX enrollment_expires ON enrollment (expires_at);
CREATE TABLE report ( id TEXT PRIMARY KEY, vm_id TEXT NOT NULL, vm_key TEXT NOT NULL, resource_id TEXT NOT NULL, received_at INTEGER NOT NULL, verdict TEXT NOT NULL, checks TEXT, claims TEXT, evidence_hash TEXT, log_digest TEXT, ak_spki TEXT, reset_count INTEGER NOT NULL, restart_count INTEGER NOT NULL, clock_ms INTEGER NOT NULL) STRICT;
CREATE INDEX report_vm ON report (vm_key, id);
CREATE TABLE log ( vm_key TEXT NOT NULL, digest TEXT NOT NULL, last_used_at INTEGER NOT NULL, PRIMARY KEY (vm_key, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX log_used ON log (last_used_at);
CREATE TABLE log_body ( vm_key TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (vm_key, digest), FOREIGN KEY (vm_key, digest) REFERENCES log (vm_key, digest) ON DELETE CASCADE) STRICT;
CREATE TABLE challenge_used ( hash TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX challenge_expires ON challenge_used (expires_at);
CREATE TABLE api_key ( id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, role TEXT NOT NULL, scope TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

INSERT INTO vm (resource_key, resource_id, vm_id, vm_key, created_at, updated_at, ak_spki, etag)
 VALUES ('/subscriptions/s/vm', '/subscriptions/S/vm', 'ID', 'id', 1, 1, 'aa', 'e');
INSERT INTO report VALUES ('0190-2', 'ID', 'id', '/subscriptions/S/vm', 20, 'trusted', '[2]',
 '{"secureBoot":true,"resetCount":3,"restartCount":1,"clock":70,"clockSafe":true}', 'eh', 'd1', 'aa', 3, 1, 70);
INSERT INTO report VALUES ('0190-1', 'ID', 'id', '/subscriptions/S/vm', 10, 'untrusted', '[1]', '{}', 'eh', NULL,
 NULL, 0, 0, 0);
INSERT INTO challenge_used VALUES ('used', 5000);
INSERT INTO job VALUES ('0190-j', 'vm.put', 'failed', 1, 0, '/subscriptions/S/vm', '/subscriptions/s/vm', 'S', 's',
 1, 2, 2, 0, 9000, 0, 'p', 'P', NULL, NULL, NULL, '{}', '{}', NULL, '{}', NULL, 0, 0, 0, 1, 0, 0, 1, 3);
INSERT INTO step (job_id, seq, name, state, attempts) VALUES ('0190-j', 0, 'group', 'succeeded', 1),
 ('0190-j', 1, 'vm', 'failed', 2), ('0190-j', 2, 'wait', 'pending', 0);
PRAGMA user_version = 1;
