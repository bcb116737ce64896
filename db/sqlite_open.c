#include "db/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* statfs(2) types on which SQLite's locks and shared memory cannot be relied on. */
static bool network_filesystem(const char *dir)
{
    static const unsigned long types[] = {
        0x6969,     /* NFS */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB2 */
        0x01021997, /* 9p */
    };
    struct statfs fs;
    if (statfs(dir, &fs))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (((unsigned long)fs.f_type & 0xffffffff) == types[i])
            return true;
    return false;
}

static char *path_in(const char *dir, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        abort();
    return path;
}

static enum err take_lock(const char *dir, int *fd, struct err_info *e)
{
    AUTO(free) char *path = path_in(dir, "tlgate.lock");
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
    if (!flock(*fd, LOCK_EX | LOCK_NB))
        return OK;
    if (errno == EWOULDBLOCK)
        return err_set(e, ERR_CONFIG, "another process holds the store (%s)", path);
    return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
}

/* Made by us, not by SQLite, for the mode; the WAL inherits it. */
static enum err make_file(const char *path, struct err_info *e)
{
    AUTO(fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
    return OK;
}

static enum err open_readers(struct store *s, int n, struct err_info *e)
{
    for (; s->n_readers < n; s->n_readers++, s->n_free++) {
        struct conn *c = NULL;
        enum err err = conn_open(s->file, false, &c, e);
        if (err)
            return err;
        c->next = s->pool;
        s->pool = c;
    }
    return OK;
}

static void store_free(struct store *s)
{
    while (s->pool) {
        struct conn *c = s->pool;
        s->pool = c->next;
        conn_close(c);
    }
    conn_close(s->conn);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    arena_free(s->scratch);
    vm_cache_free(s->vms);
    last_reports_free(s->last);
    pthread_mutex_destroy(&s->pool_lock);
    pthread_cond_destroy(&s->pool_free);
    pthread_mutex_destroy(&s->queue_lock);
    pthread_cond_destroy(&s->queue_filled);
    pthread_mutex_destroy(&s->watch_lock);
    free(s->claim_after);
    free(s->file);
    free(s);
}

static struct store *store_new(const char *dir)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->file = path_in(dir, "tlgate.db");
    s->lock_fd = -1;
    s->tail = &s->head;
    s->scratch = arena_new();
    s->vms = vm_cache_new();
    s->last = last_reports_new();
    pthread_mutex_init(&s->pool_lock, NULL);
    pthread_cond_init(&s->pool_free, NULL);
    pthread_mutex_init(&s->queue_lock, NULL);
    pthread_mutex_init(&s->watch_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->queue_filled, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

enum err store_open(const struct store_options *o, struct store **out, struct err_info *e)
{
    if (network_filesystem(o->dir))
        return err_set(e, ERR_CONFIG, "%s is on a network file system", o->dir);
    struct store *s = store_new(o->dir);
    s->reports_per_vm = o->reports_per_vm;
    enum err err;
    if ((err = take_lock(o->dir, &s->lock_fd, e)) || (err = make_file(s->file, e)) ||
        (err = conn_open(s->file, true, &s->conn, e)) ||
        (err = db_schema_ensure(s->conn, o->migrate, &s->schema, e)) ||
        (err = open_readers(s, o->readers ? o->readers : 4, e)) || (err = writer_start(s, e))) {
        store_free(s);
        return err;
    }
    *out = s;
    return OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    writer_stop(s);
    store_free(s);
}

int store_schema_version(struct store *s)
{
    return s->schema;
}

enum err store_health(struct store *s, struct err_info *e)
{
    switch ((enum store_state)atomic_load(&s->state)) {
    case STORE_GOOD:
        return OK;
    case STORE_FULL:
        return err_set(e, ERR_UNAVAILABLE, "the store has no space left");
    case STORE_FAILED:
        break;
    }
    return err_set(e, ERR_UNAVAILABLE, "the store had an I/O error: start the gateway again");
}

void store_watch(struct store *s, store_changed_fn *fn, void *ctx)
{
    pthread_mutex_lock(&s->watch_lock);
    s->watch = fn;
    s->watch_ctx = ctx;
    pthread_mutex_unlock(&s->watch_lock);
}

void store_stats_get(struct store *s, struct store_stats *out)
{
    struct stat st = {0};
    stat(s->file, &st);
    *out = (struct store_stats){
        .writes = atomic_load(&s->writes),
        .commits = atomic_load(&s->commits),
        .commit_failures = atomic_load(&s->commit_failures),
        .commit_us_total = atomic_load(&s->commit_us_total),
        .commit_us_max = atomic_load(&s->commit_us_max),
        .batch_max = atomic_load(&s->batch_max),
        .queued = atomic_load(&s->queued),
        .checkpoints = atomic_load(&s->checkpoints),
        .wal_bytes = atomic_load(&s->wal_bytes),
        .db_bytes = st.st_size,
    };
}

struct reader db_reader_take(struct store *s)
{
    pthread_mutex_lock(&s->pool_lock);
    while (!s->pool)
        pthread_cond_wait(&s->pool_free, &s->pool_lock);
    struct conn *c = s->pool;
    s->pool = c->next;
    s->n_free--;
    pthread_mutex_unlock(&s->pool_lock);
    c->rc = SQLITE_OK;
    conn_run(c, "BEGIN", NULL);
    return (struct reader){.store = s, .conn = c};
}

void auto_reader(struct reader *r)
{
    struct store *s = r->store;
    conn_run(r->conn, "COMMIT", NULL);
    pthread_mutex_lock(&s->pool_lock);
    r->conn->next = s->pool;
    s->pool = r->conn;
    s->n_free++;
    pthread_cond_signal(&s->pool_free);
    pthread_mutex_unlock(&s->pool_lock);
}

/* ---- backup ---- */

AUTO_DEFINE(database, sqlite3 *, sqlite3_close)

/* All pages in one step: one snapshot of the source, however busy the writer is. The copy is no WAL
 * database, so that it is one file. */
static enum err copy_database(struct conn *from, sqlite3 *to, struct err_info *e)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from->db, "main");
    int rc = SQLITE_ERROR;
    if (b) {
        rc = sqlite3_backup_step(b, -1);
        int end = sqlite3_backup_finish(b);
        rc = rc == SQLITE_DONE ? end : rc;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return OK;
    return err_set(e, ERR_UNAVAILABLE, "backup: %s", sqlite3_errstr(rc));
}

static enum err sync_path(const char *path, int flags, struct err_info *e)
{
    AUTO(fd) int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        return err_set(e, ERR_UNAVAILABLE, "backup: %s: %s", path, strerror(errno));
    return OK;
}

static enum err sync_folder_of(const char *file, struct err_info *e)
{
    const char *slash = strrchr(file, '/');
    AUTO(free) char *dir = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup(".");
    if (!dir)
        abort();
    return sync_path(dir, O_RDONLY | O_DIRECTORY, e);
}

static enum err write_backup(struct store *s, const char *part, struct err_info *e)
{
    struct conn *from = NULL; /* of its own: a long read must not hold one of the pool */
    enum err err = conn_open(s->file, false, &from, e);
    if (err)
        return err;
    AUTO(database) sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(part, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        err = copy_database(from, to, e);
    else
        err = err_set(e, ERR_UNAVAILABLE, "backup: %s: %s", part, sqlite3_errstr(rc));
    conn_close(from);
    return err;
}

enum err store_backup(struct store *s, const char *file, struct err_info *e)
{
    AUTO(free) char *part = NULL;
    if (asprintf(&part, "%s.part", file) < 0)
        abort();
    unlink(part);
    AUTO(fd) int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, ERR_UNAVAILABLE, "backup: %s: %s", part, strerror(errno));
    enum err err;
    if ((err = write_backup(s, part, e)) || (err = sync_path(part, O_RDWR, e)) ||
        (rename(part, file)
             ? (err = err_set(e, ERR_UNAVAILABLE, "backup: %s: %s", file, strerror(errno)))
             : OK) ||
        (err = sync_folder_of(file, e)))
        unlink(part);
    return err;
}
