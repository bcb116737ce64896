#include "core/fault.h"
#include "db/sqlite.h"

int store_schema_newest(void)
{
    int n = 0;
    while (db_migrations[n])
        n++;
    return n;
}

static enum err read_version(struct conn *c, int *version, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(c, "PRAGMA user_version");
    if (q_step(&q))
        *version = (int)q_get_int(&q);
    return q_end(&q, e);
}

static enum err apply(struct conn *c, int number, struct err_info *e)
{
    char set_version[48];
    snprintf(set_version, sizeof set_version, "PRAGMA user_version = %d", number);
    enum err err = conn_exec(c, "BEGIN IMMEDIATE", e);
    if (err)
        return err;
    if ((err = conn_exec(c, db_migrations[number - 1], e)) ||
        (err = conn_exec(c, set_version, e)) ||
        (FAULT_POINT("store.migrate") ? (err = err_set(e, ERR_UNAVAILABLE, "I/O error")) : OK) ||
        (err = conn_exec(c, "COMMIT", e)))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

enum err db_schema_ensure(struct conn *c, bool migrate, int *version, struct err_info *e)
{
    int newest = store_schema_newest();
    enum err err = read_version(c, version, e);
    if (err)
        return err;
    if (*version > newest)
        return err_set(e, ERR_CONFIG, "the database has schema %d, this program knows up to %d",
                       *version, newest);
    /* A fresh database is not an older one: nothing in it could be lost. */
    if (*version && *version < newest && !migrate)
        return err_set(e, ERR_CONFIG, "the database has schema %d and needs %d: run tlgate migrate",
                       *version, newest);
    for (; *version < newest && !err; *version += !err)
        err = apply(c, *version + 1, e);
    return err;
}
