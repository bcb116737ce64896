/*
 * The yardstick for submissions: SQLite committing one row at a time, durably (WAL,
 * synchronous=FULL, the gateway's page cache), from one thread that does nothing else.
 *
 *     sqlite_rows FILE ROW_BYTES SECONDS
 *
 * Prints JSON: rows, rows per second, CPU microseconds of one row.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sqlite3 *db;

static void check(int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE)
        return;
    fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void insert(sqlite3_stmt *st, long id, const char *data, int n)
{
    char key[40];
    snprintf(key, sizeof key, "%08lx-0000-7000-8000-000000000000", id);
    check(sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC));
    check(sqlite3_bind_text(st, 2, data, n, SQLITE_STATIC));
    check(sqlite3_step(st));
    check(sqlite3_reset(st));
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int n = (int)strtol(argv[2], NULL, 10);
    double limit = strtod(argv[3], NULL);
    char *data = malloc((size_t)n + 1);
    if (!data || n <= 0)
        return 2;
    memset(data, 'x', (size_t)n);
    check(sqlite3_open(argv[1], &db));
    check(sqlite3_exec(db,
                       "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                       "PRAGMA cache_size=-4096;"
                       "CREATE TABLE job (id TEXT PRIMARY KEY, data TEXT) WITHOUT ROWID",
                       NULL, NULL, NULL));
    sqlite3_stmt *st = NULL;
    check(sqlite3_prepare_v2(db, "INSERT INTO job VALUES (?,?)", -1, &st, NULL));
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), took;
    long rows = 0;
    do {
        insert(st, rows++, data, n);
        took = seconds(CLOCK_MONOTONIC) - start;
    } while (took < limit);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"rows\": %ld, \"per_second\": %.1f, \"cpu_us\": %.2f}\n", rows, (double)rows / took,
           cpu * 1e6 / (double)rows);
    sqlite3_finalize(st);
    sqlite3_close(db);
    free(data);
    return 0;
}
