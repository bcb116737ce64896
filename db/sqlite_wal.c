/*
 * The writer's WAL file. SQLite writes each frame in two calls, its head and its page, and a commit has
 * some hundred of them: here they are gathered and written at once, when SQLite syncs them at the
 * latest. Nobody else looks at a frame before that, since the WAL index tells of a commit only after
 * its sync (synchronous=FULL); a failure is SQLite's to see at the sync instead of at the write.
 */
#include "db/sqlite.h"

/* SQLite's own VFS for Unix takes less than 128 KiB at once (it masks the length), and a page has at most
 * half of that. */
#define GATHER_MAX ((size_t)120 * 1024)

struct wal_file {
    sqlite3_file head; /* what SQLite sees; the real file follows this struct */
    unsigned char *data;
    size_t n;
    sqlite3_int64 at;          /* where in the file data begins */
    void (*synced)(void *ctx); /* NULL: nobody wants to know */
    void *ctx;
};

static sqlite3_vfs *system_vfs;

static struct wal_file *wal_of(sqlite3_file *f)
{
    return CONTAINER_OF(f, struct wal_file, head);
}

static sqlite3_file *real_of(sqlite3_file *f)
{
    return (sqlite3_file *)(void *)(wal_of(f) + 1);
}

static int write_real(sqlite3_file *f, const void *data, size_t n, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xWrite(real_of(f), data, (int)n, at);
}

/* What could not be written is dropped: the transaction that it belongs to fails. */
static int flush(sqlite3_file *f)
{
    struct wal_file *w = wal_of(f);
    size_t n = w->n;
    w->n = 0;
    return n ? write_real(f, w->data, n, w->at) : SQLITE_OK;
}

static int wal_write(sqlite3_file *f, const void *data, int amount, sqlite3_int64 at)
{
    struct wal_file *w = wal_of(f);
    size_t n = (size_t)amount;
    bool follows = at == w->at + (sqlite3_int64)w->n && w->n + n <= GATHER_MAX;
    int rc = w->n && !follows ? flush(f) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return rc;
    if (n > GATHER_MAX)
        return SQLITE_IOERR_WRITE;
    if (!w->n)
        w->at = at;
    memcpy(w->data + w->n, data, n);
    w->n += n;
    return SQLITE_OK;
}

static int wal_read(sqlite3_file *f, void *to, int amount, sqlite3_int64 at)
{
    int rc = flush(f);
    return rc ? rc : real_of(f)->pMethods->xRead(real_of(f), to, amount, at);
}

static int wal_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = flush(f);
    return rc ? rc : real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int wal_sync(sqlite3_file *f, int flags)
{
    int rc = flush(f);
    if (!rc)
        rc = real_of(f)->pMethods->xSync(real_of(f), flags);
    if (wal_of(f)->synced)
        wal_of(f)->synced(wal_of(f)->ctx);
    return rc;
}

static int wal_size(sqlite3_file *f, sqlite3_int64 *size)
{
    int rc = flush(f);
    return rc ? rc : real_of(f)->pMethods->xFileSize(real_of(f), size);
}

/* What was not synced belongs to no commit. */
static int wal_close(sqlite3_file *f)
{
    free(wal_of(f)->data);
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int wal_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int wal_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int wal_check_lock(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int wal_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int wal_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int wal_device(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static const sqlite3_io_methods wal_methods = {.iVersion = 1,
                                               .xClose = wal_close,
                                               .xRead = wal_read,
                                               .xWrite = wal_write,
                                               .xTruncate = wal_truncate,
                                               .xSync = wal_sync,
                                               .xFileSize = wal_size,
                                               .xLock = wal_lock,
                                               .xUnlock = wal_unlock,
                                               .xCheckReservedLock = wal_check_lock,
                                               .xFileControl = wal_control,
                                               .xSectorSize = wal_sector,
                                               .xDeviceCharacteristics = wal_device};

/* All files but the WAL are the system's own. */
static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    if (!(flags & SQLITE_OPEN_WAL))
        return system_vfs->xOpen(system_vfs, name, f, flags, out);
    *wal_of(f) = (struct wal_file){0};
    real_of(f)->pMethods = NULL;
    int rc = system_vfs->xOpen(system_vfs, name, real_of(f), flags, out);
    if (!real_of(f)->pMethods)
        return rc;
    wal_of(f)->data = malloc(GATHER_MAX);
    if (!wal_of(f)->data)
        abort();
    f->pMethods = &wal_methods;
    return rc;
}

static void make(void)
{
    static sqlite3_vfs vfs;
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* nobody asks, and each malloc would take a lock */
    system_vfs = sqlite3_vfs_find(NULL);
    if (!system_vfs)
        abort();
    vfs = *system_vfs;
    vfs.pNext = NULL;
    vfs.zName = WRITER_VFS;
    vfs.szOsFile = system_vfs->szOsFile + (int)sizeof(struct wal_file);
    vfs.xOpen = open_file;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        abort();
}

void db_wal_watch(sqlite3 *db, void (*synced)(void *ctx), void *ctx)
{
    sqlite3_file *f = NULL;
    if (sqlite3_file_control(db, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &f) != SQLITE_OK || !f ||
        f->pMethods != &wal_methods)
        abort(); /* it is open since the schema was read */
    wal_of(f)->synced = synced;
    wal_of(f)->ctx = ctx;
}

void db_wal_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
}
