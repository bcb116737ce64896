"""Fills a gateway's database with copies of one job, faster than they could be submitted.

A job that really waits for Azure is the template, so that the copies have whatever rows and texts
the gateway itself writes. The gateway must not run meanwhile: one process writes a database.
"""
import sqlite3
import time

from load import SUBSCRIPTIONS, vm_path
from stack import vm_spec

TEMPLATE = "tmpl0"  # name of the templates' VMs; each copy has its own instead
TABLES = {"job": "id", "step": "job_id", "event": "job_id", "vm": "job_id"}


def make_templates(gateway):
    """In each subscription a VM job that waits for an operation of Azure which takes longer than any
    test; their ids."""
    gateway.emulator.settings(lroSeconds=100000, retryAfter=3600)
    api = gateway.api(gateway.admin_key)
    ids = []
    for subscription in SUBSCRIPTIONS:
        answer = api.put(vm_path(subscription, TEMPLATE), vm_spec())
        assert answer.status == 202, answer
        ids.append(answer.json["id"])
    return [api.wait_job(job_id, states=("waiting",))["id"] for job_id in ids]


def _column(table, name, state, due_at):
    """SQL of a copy's column: i is the number of the copy, t the template's row."""
    if name == TABLES[table]:
        return f"substr(t.{name}, 1, 23) || printf('-%012x', i)"
    if table == "vm" and name in ("id", "vm_id", "vm_key"):
        return "NULL"
    if table == "job":
        ended = {"state": "'succeeded'", "terminal": "1", "ended_at": "t.updated_at",
                 "due_at": "0"}
        fixed = ended if state == "succeeded" else {"due_at": str(due_at)}
        if name in fixed:
            return fixed[name]
    # A poll URL stays: it is the template's operation that its copies wait for.
    if name == "name" or name.startswith(("resource_", "intent_url")):
        return f"replace(t.{name}, '{TEMPLATE}', 'vm' || i)"
    if name == "vars" and table == "job":
        return f"replace(t.vars, '{TEMPLATE}', 'vm' || i)"
    return f"t.{name}"


def fill(gateway, templates, first, n, state="waiting", due_at_ms=None):
    """n copies, numbered from `first`, in turn of each template, due at that time (default: in an
    hour). The gateway is down."""
    due_at = due_at_ms or int((time.time() + 3600) * 1000)
    db = sqlite3.connect(gateway.data_dir / "tlgate.db", isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("BEGIN")
    for table, key in TABLES.items():
        names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        columns = ", ".join(_column(table, name, state, due_at) for name in names)
        for k, template in enumerate(templates):
            db.execute(
                f"WITH RECURSIVE n (i) AS (SELECT {first + k} UNION ALL"
                f" SELECT i + {len(templates)} FROM n WHERE i + {len(templates)} < {first + n})"
                f" INSERT INTO {table} ({', '.join(names)})"
                f" SELECT {columns} FROM n, {table} AS t WHERE t.{key} = ?", (template,))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def make_due(gateway):
    """All that wait are due now. The gateway is down."""
    db = sqlite3.connect(gateway.data_dir / "tlgate.db", isolation_level=None)
    db.execute("UPDATE job SET due_at = ?, lease_until = 0 WHERE terminal = 0",
               (int(time.time() * 1000),))
    db.execute("UPDATE step SET poll_not_before = 0")
    db.close()


def spread_due(gateway, seconds):
    """Those that wait come due one after the other over that time, from two seconds on, in no order. The
    gateway is down."""
    start = int((time.time() + 2) * 1000)
    db = sqlite3.connect(gateway.data_dir / "tlgate.db", isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TEMP TABLE turn AS SELECT id, row_number() OVER (ORDER BY random()) AS n"
               " FROM job WHERE terminal = 0")
    db.execute("CREATE UNIQUE INDEX temp.turn_id ON turn (id)")
    db.execute("UPDATE job SET due_at = ? + (SELECT n FROM turn WHERE turn.id = job.id) * ?"
               " / (SELECT count(*) FROM turn) WHERE terminal = 0", (start, seconds * 1000))
    db.execute("UPDATE step SET poll_not_before = 0")
    db.close()
