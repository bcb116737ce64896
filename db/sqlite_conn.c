#include "db/sqlite.h"

enum err conn_err(struct conn *c, int rc, struct err_info *e)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return OK;
    case SQLITE_NOMEM:
        abort();
    case SQLITE_FULL:
        return err_set(e, ERR_UNAVAILABLE, "the store has no space left");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return err_set(e, ERR_UNAVAILABLE, "the store is busy");
    default:
        break;
    }
    if (conn_rc_fatal(rc))
        return err_set(e, ERR_UNAVAILABLE, "the store cannot be used: %s", sqlite3_errstr(rc));
    return err_set(e, ERR_INTERNAL, "store: %s", sqlite3_errmsg(c->db));
}

bool conn_rc_fatal(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PROTOCOL:
    case SQLITE_PERM:
        return true;
    default:
        return false;
    }
}

enum err conn_exec(struct conn *c, const char *sql, struct err_info *e)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK && c->rc == SQLITE_OK)
        c->rc = rc;
    return conn_err(c, rc, e);
}

enum err conn_run(struct conn *c, const char *sql, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(c, sql);
    return q_run(&q, e);
}

/* journal_mode is the writer's: the readers find what it set. A larger cache costs each commit time: SQLite
 * walks through all of it where a tree was rearranged. Options as SQLite's security and
 * "how to corrupt" pages advise; secure_delete zeroes what was wiped. */
static const char writer_pragmas[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
    "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF;"
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;"
    "PRAGMA cache_size=-4096; PRAGMA journal_size_limit=67108864;";
static const char reader_pragmas[] =
    "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF;"
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;"
    "PRAGMA cache_size=-2048;";

/* Room for a record that is being made: most fit into 2 KiB, the default has 1,200 bytes. */
#define LOOKASIDE_SIZE  2400
#define LOOKASIDE_SLOTS 40

static void configure(sqlite3 *db)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, 1000);
    sqlite3_db_config(db, SQLITE_DBCONFIG_LOOKASIDE, NULL, LOOKASIDE_SIZE, LOOKASIDE_SLOTS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

enum err conn_open(const char *file, bool writer, struct conn **out, struct err_info *e)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    db_wal_setup();
    int rc = sqlite3_open_v2(file, &c->db, flags, writer ? WRITER_VFS : NULL);
    enum err err = conn_err(c, rc, e);
    if (!err) {
        configure(c->db);
        err = conn_exec(c, writer ? writer_pragmas : reader_pragmas, e);
    }
    if (err) {
        conn_close(c);
        return err;
    }
    *out = c;
    return OK;
}

void conn_close(struct conn *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ARRAY_LEN(c->statements); i++)
        sqlite3_finalize(c->statements[i].st);
    for (unsigned i = 0; i < c->n_interned; i++)
        free(c->interned[i]);
    sqlite3_close(c->db);
    free(c);
}

static struct statement *slot_of(struct conn *c, const char *sql)
{
    size_t i = ((uintptr_t)sql * 0x9e3779b97f4a7c15u) >> 40;
    for (;; i++) {
        struct statement *s = &c->statements[i % STATEMENTS_MAX];
        if (!s->sql || s->sql == sql)
            return s;
    }
}

/* SQLite numbers $n by first appearance, PostgreSQL by n: the texts must mean the same to both. */
static void check_parameters(sqlite3_stmt *st)
{
    for (int i = 1; i <= sqlite3_bind_parameter_count(st); i++) {
        char name[16];
        snprintf(name, sizeof name, "$%d", i);
        if (strcmp(name, sqlite3_bind_parameter_name(st, i)) != 0)
            abort();
    }
}

static int prepare(struct conn *c, const char *sql, unsigned flags, sqlite3_stmt **st)
{
    int rc = sqlite3_prepare_v3(c->db, sql, -1, flags, st, NULL);
    if (rc == SQLITE_OK)
        check_parameters(*st);
    return rc;
}

static struct query prepare_once(struct conn *c, const char *sql)
{
    struct query q = {.conn = c, .single_use = true};
    q.rc = prepare(c, sql, 0, &q.st);
    return q;
}

struct query conn_query(struct conn *c, const char *sql)
{
    struct statement *s = slot_of(c, sql);
    if (s->sql)
        return (struct query){.conn = c, .st = s->st};
    if (c->n_statements >= STATEMENTS_MAX * 3 / 4)
        return prepare_once(c, sql);
    struct query q = {.conn = c};
    q.rc = prepare(c, sql, SQLITE_PREPARE_PERSISTENT, &q.st);
    if (q.rc == SQLITE_OK) {
        *s = (struct statement){.sql = sql, .st = q.st};
        c->n_statements++;
    }
    return q;
}

struct query conn_query_text(struct conn *c, const char *sql)
{
    for (unsigned i = 0; i < c->n_interned; i++)
        if (!strcmp(c->interned[i], sql))
            return conn_query(c, c->interned[i]);
    if (c->n_interned == ARRAY_LEN(c->interned))
        return prepare_once(c, sql);
    char *copy = strdup(sql);
    if (!copy)
        abort();
    c->interned[c->n_interned++] = copy;
    return conn_query(c, copy);
}

static void bound(struct query *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void q_text(struct query *q, const char *v)
{
    bound(q, sqlite3_bind_text(q->st, ++q->param, v, -1, SQLITE_STATIC));
}

void q_int(struct query *q, int64_t v)
{
    bound(q, sqlite3_bind_int64(q->st, ++q->param, v));
}

void q_blob(struct query *q, struct bytes v)
{
    const void *data = v.data ? (const void *)v.data : "";
    bound(q, sqlite3_bind_blob64(q->st, ++q->param, data, v.len, SQLITE_STATIC));
}

void q_set_text(struct query *q, bool set, const char *v)
{
    q_int(q, set);
    q_text(q, v);
}

void q_set_int(struct query *q, bool set, int64_t v)
{
    q_int(q, set);
    q_int(q, v);
}

bool q_step(struct query *q)
{
    if (q->rc != SQLITE_OK && q->rc != SQLITE_ROW)
        return false;
    q->column = 0;
    q->rc = sqlite3_step(q->st);
    return q->rc == SQLITE_ROW;
}

enum err q_end(struct query *q, struct err_info *e)
{
    if (q->rc == SQLITE_OK || q->rc == SQLITE_ROW || q->rc == SQLITE_DONE)
        return OK;
    if (q->conn->rc == SQLITE_OK)
        q->conn->rc = q->rc;
    return conn_err(q->conn, q->rc, e);
}

enum err q_run(struct query *q, struct err_info *e)
{
    while (q_step(q))
        ;
    return q_end(q, e);
}

void auto_query(struct query *q)
{
    if (!q->st)
        return;
    if (q->single_use) {
        sqlite3_finalize(q->st);
        return;
    }
    sqlite3_reset(q->st);
    sqlite3_clear_bindings(q->st);
}

const char *q_get_text(struct query *q, struct arena *a)
{
    int i = q->column++;
    const unsigned char *text = sqlite3_column_text(q->st, i);
    if (!text)
        return NULL;
    return arena_strndup(a, (const char *)text, (size_t)sqlite3_column_bytes(q->st, i));
}

int64_t q_get_int(struct query *q)
{
    return sqlite3_column_int64(q->st, q->column++);
}

struct bytes q_get_blob(struct query *q, struct arena *a)
{
    int i = q->column++;
    const void *data = sqlite3_column_blob(q->st, i);
    return arena_copy(a, BYTES(data, (size_t)sqlite3_column_bytes(q->st, i)));
}

const char *db_key_of(struct arena *a, const char *text)
{
    char *key = arena_strdup(a, text);
    for (char *p = key; p && *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
    return key;
}
