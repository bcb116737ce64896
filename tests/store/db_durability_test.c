/*
 * What an acknowledged write is worth: kills, a full disk, I/O errors, a second process, backups,
 * other schemas. These tests open the SQLite file beside the store, so they are this back end's own.
 */
#include "db_store.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP(why)                                                                                  \
    do {                                                                                           \
        print_message("SKIPPED: %s\n", why);                                                       \
        skip();                                                                                    \
    } while (0)

static int64_t query_int(const char *file, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static void assert_sound(const char *file)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), "ok");
    sqlite3_finalize(st);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_DONE);
    sqlite3_finalize(st);
    sqlite3_close(db);
}

static const char *db_file(struct fixture *f)
{
    return arena_printf(f->arena, "%s/tlgate.db", f->dir);
}

static void exec_sql(const char *file, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* ---- a second process, schemas, modes ---- */

/* Role: opens a store that another process holds. */
static int role_second(const char *dir)
{
    struct store *s = NULL;
    struct err_info e = {0};
    struct store_options o = {.dir = dir};
    enum err err = store_open(&o, &s, &e);
    return err == ERR_CONFIG && strstr(e.detail, "another process") ? 0 : 1;
}

/* A fresh run of this program: the parent has threads, so a mere fork could inherit a held lock. */
static void second_process_is_refused(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (!child) {
        execl("/proc/self/exe", "db_durability_test", "second", f->dir, (char *)NULL);
        _exit(9);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    submit_for(f, "still-usable");
}

static void files_are_private(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    static const char *const files[] = {"tlgate.db", "tlgate.db-wal", "tlgate.db-shm",
                                        "tlgate.lock"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct stat st;
        assert_int_equal(stat(arena_printf(f->arena, "%s/%s", f->dir, files[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void empty_file_is_migrated_from_zero(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    exec_sql(db_file(&f), "PRAGMA user_version = 0; VACUUM;");
    assert_int_equal(query_int(db_file(&f), "PRAGMA user_version"), 0);
    fixture_start(&f);
    assert_int_equal(store_schema_version(f.store), store_schema_newest());
    submit_for(&f, "web");
    fixture_stop(&f);
    assert_int_equal(query_int(db_file(&f), "PRAGMA user_version"), store_schema_newest());
    fixture_start(&f); /* opened again: nothing to migrate, all there */
    struct job_counts counts;
    MUST(&f, store_count_jobs(f.store, &counts, &f.err));
    assert_int_equal(counts.by_state[JOB_QUEUED], 1);
    fixture_remove(&f);
}

static char *read_text(struct arena *a, const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = arena_alloc(a, 65536);
    assert_in_range(fread(text, 1, 65535, file), 1, 65534);
    fclose(file);
    return text;
}

/* Its steps all have rows, which name them; those of a newer one have them once they are begun. */
static void job_of_the_first_schema_goes_on(struct fixture *f)
{
    struct job_request retry = {.job_id = "0190-j",
                                .now = T0,
                                .event = {.type = "state", .data = "{}"},
                                .audit = audit_of("job.retry", "/subscriptions/S/vm")};
    MUST(f, DO(f, store_retry_job, &retry, NULL));
    struct job j = claim_one(f, T0);
    assert_string_equal(j.id, "0190-j");
    assert_int_equal(j.current_step, 1);
    assert_int_equal(j.n_steps, 3);
    j.steps[1].state = STEP_RUNNING;
    struct job_advance in = advance_of(&j, T0 + 1);
    in.steps = &j.steps[1];
    in.n_steps = 1;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    j = get_job(f, "0190-j");
    static const char *const names[] = {"group", "vm", "wait"};
    static const enum step_state states[] = {STEP_SUCCEEDED, STEP_RUNNING, STEP_PENDING};
    assert_int_equal(j.n_steps, ARRAY_LEN(names));
    for (int i = 0; i < j.n_steps; i++) {
        assert_string_equal(j.steps[i].name, names[i]);
        assert_int_equal(j.steps[i].state, states[i]);
    }
}

/* Reports and used challenges of the first schema: their rows were written anew. */
static void rows_of_the_first_schema_are_kept(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    exec_sql(db_file(&f), read_text(f.arena, "tests/store/schema_1.sql"));
    struct store_options o = {.dir = f.dir};
    assert_int_equal(store_open(&o, &f.store, &f.err), ERR_CONFIG); /* not without being asked to */
    fixture_start(&f);
    struct report r;
    MUST(&f, store_get_report(f.store, f.arena, "0190-2", NULL, &r, &f.err));
    assert_string_equal(r.verdict, "trusted");
    assert_string_equal(r.checks, "[2]");
    assert_string_equal(r.claims, "{\"secureBoot\":true,\"clockSafe\":true}");
    assert_string_equal(r.resource_id, "/subscriptions/S/vm");
    assert_string_equal(r.log_digest, "d1");
    assert_int_equal(r.clock_ms, 70);
    MUST(&f, store_get_report(f.store, f.arena, "0190-1", NULL, &r, &f.err));
    assert_string_equal(r.checks, "[1]");
    assert_string_equal(r.claims, "{}");
    assert_null(r.log_digest);
    struct page page = {.limit = 5};
    struct report_list list;
    MUST(&f, store_list_reports(f.store, f.arena, "ID", &page, &list, &f.err));
    assert_int_equal(list.n, 2);
    assert_string_equal(list.items[0].id, "0190-2");
    job_of_the_first_schema_goes_on(&f);
    fixture_stop(&f);
    assert_int_equal(query_int(db_file(&f), "SELECT count(*) FROM challenge_used WHERE"
                                            " hash = 'used' AND expires_at = 5000"),
                     1);
    assert_sound(db_file(&f));
    fixture_remove(&f);
}

/* VMs, idempotency keys and audit rows of migration 9: their rows and indexes were made anew. */
static void rows_of_the_ninth_schema_are_kept(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    exec_sql(db_file(&f), read_text(f.arena, "tests/store/schema_9.sql"));
    fixture_start(&f);
    struct vm vm = get_vm(&f, "/subscriptions/S/FIRST");
    assert_string_equal(vm.resource_id, "/subscriptions/S/First");
    assert_string_equal(vm.etag, "e.3");
    assert_string_equal(vm.last_report_id, "0190-4");
    assert_int_equal(vm.last_report_at, 40);
    assert_int_equal(vm.clock_ms, 9);
    assert_int_equal(vm.status, VM_HEALTHY);
    assert_int_equal(vm.certificates, 5);
    assert_string_equal(vm.spec, "{\"a\":1}");
    MUST(&f, store_get_vm_by_id(f.store, f.arena, "id", &vm, &f.err));
    MUST(&f, store_get_vm_by_ak(f.store, f.arena, "AA", &vm, &f.err));
    assert_string_equal(vm.resource_id, "/subscriptions/S/First");
    assert_null(get_vm(&f, "/subscriptions/S/Second").spec);

    struct job_new in = job_for(&f, "web");
    struct idempotency key = {"key1", "put", "sooner", "print", 9000000000000};
    in.idempotency = &key;
    struct job_submitted out = {0};
    MUST(&f, DO(&f, store_submit_job, &in, &out));
    assert_int_equal(out.outcome, SUBMIT_REPLAYED);
    assert_string_equal(out.job_id, "0190-a");
    in.idempotency = NULL;
    in.resource_id = "/subscriptions/S/second";
    assert_int_equal(DO(&f, store_submit_job, &in, &out), ERR_OPERATION_IN_PROGRESS);

    /* Ids that somebody has seen are not given again, also where their rows are gone. */
    put_vm(&f, VM("next"), "next");
    struct audit_list audit;
    MUST(&f, store_list_audit(f.store, f.arena, 2, 10, &audit, &f.err));
    assert_int_equal(audit.n, 2);
    assert_string_equal(audit.items[0].a.action, "store.migrate");
    assert_int_equal(audit.items[0].id, 3);
    assert_int_equal(audit.items[1].id, 4);
    fixture_stop(&f);
    assert_sound(db_file(&f));
    fixture_remove(&f);
}

static void newer_schema_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    fixture_stop(f);
    exec_sql(db_file(f), "PRAGMA user_version = 999");
    struct store_options o = {.dir = f->dir, .migrate = true};
    assert_int_equal(store_open(&o, &f->store, &f->err), ERR_CONFIG);
    assert_int_equal(query_int(db_file(f), "PRAGMA user_version"), 999);
    exec_sql(db_file(f), arena_printf(f->arena, "PRAGMA user_version = %d", store_schema_newest()));
    fixture_start(f);
}

static void not_a_database_is_refused(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    FILE *out = fopen(db_file(&f), "w");
    for (int i = 0; i < 500; i++)
        fputs("this is not a database\n", out);
    fclose(out);
    struct store_options o = {.dir = f.dir};
    assert_int_equal(store_open(&o, &f.store, &f.err), ERR_UNAVAILABLE);
    f.store = NULL;
    fixture_remove(&f);
}

/* ---- backup ---- */

struct writing {
    struct fixture *f;
    atomic_bool *stop;
    int n;
};

static void *keep_writing(void *arg)
{
    struct writing *w = arg;
    struct fixture own = *w->f;
    own.arena = arena_new();
    for (; !*w->stop; w->n++) {
        struct job_new in = job_for(&own, arena_printf(own.arena, "busy%d", w->n));
        struct job_submitted out;
        struct store_waiter waiter;
        store_submit_job(own.store, &in, &out, store_waiter_init(&waiter));
        if (store_wait(&waiter, &own.err))
            break;
    }
    arena_free(own.arena);
    return NULL;
}

static void backup_is_consistent_while_written(void **state)
{
    struct fixture *f = *state;
    atomic_bool stop = false;
    struct writing w = {f, &stop, 0};
    const char *first = submit_for(f, "first");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &w), 0);
    const char *file = arena_printf(f->arena, "%s/copy.db", f->dir);
    for (int i = 0; i < 5; i++)
        MUST(f, store_backup(f->store, file, &f->err));
    stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(store_health(f->store, &f->err), OK);

    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_sound(file);
    assert_int_equal(query_int(file, "SELECT count(*) FROM job"),
                     query_int(file, "SELECT count(*) FROM audit"));
    assert_int_equal(query_int(file, "SELECT count(*) FROM job"),
                     query_int(file, "SELECT count(*) FROM job j JOIN audit a ON a.job_id = j.id"));

    /* The copy is a store. */
    struct fixture copy;
    fixture_folder(&copy);
    assert_int_equal(rename(file, db_file(&copy)), 0);
    fixture_start(&copy);
    assert_string_equal(get_job(&copy, first).resource_id, VM("first"));
    fixture_remove(&copy);

    assert_int_equal(store_backup(f->store, "/nonexistent/copy.db", &f->err), ERR_UNAVAILABLE);
}

/* ---- kills ---- */

/* The child submits jobs and, after each acknowledgement, writes the job's id to the pipe. */
_Noreturn static void write_until_killed(const char *dir, int fd)
{
    struct fixture f = {.arena = arena_new()};
    struct store_options o = {.dir = dir, .migrate = true};
    if (store_open(&o, &f.store, &f.err))
        _exit(3);
    enum { N = 16 };
    for (;;) {
        struct job_new in[N];
        struct job_submitted out[N];
        struct store_waiter w[N];
        for (int i = 0; i < N; i++) {
            char name[UUID_SIZE];
            uuid_v4(name);
            in[i] = job_for(&f, arena_strdup(f.arena, name));
        }
        for (int i = 0; i < N; i++)
            store_submit_job(f.store, &in[i], &out[i], store_waiter_init(&w[i]));
        for (int i = 0; i < N; i++) {
            if (store_wait(&w[i], &f.err))
                _exit(4);
            if (write(fd, out[i].job_id, UUID_SIZE) != UUID_SIZE)
                _exit(5);
        }
        arena_reset(f.arena);
    }
}

/* Returns how many acknowledged jobs were checked. `early`: killed while it may still be opening. */
static int kill_and_check(struct fixture *f, bool early)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (!child) {
        close(pipe_fds[0]);
        write_until_killed(f->dir, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    unsigned rnd = 0;
    random_bytes(&rnd, sizeof rnd);
    struct pollfd first_ack = {.fd = pipe_fds[0], .events = POLLIN};
    if (!early)
        assert_int_equal(poll(&first_ack, 1, 60000), 1);
    usleep(rnd % 50000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));

    fixture_start(f);
    char id[UUID_SIZE];
    int n = 0;
    while (read(pipe_fds[0], id, sizeof id) == sizeof id) {
        struct job j = get_job(f, id);
        assert_int_equal(j.n_steps, 3);
        assert_int_equal(j.last_event, 1);
        n++;
    }
    close(pipe_fds[0]);
    fixture_stop(f);
    arena_reset(f->arena);
    return n;
}

static void acknowledged_writes_survive_kills(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    int checked = 0;
    for (int i = 0; i < 50; i++)
        checked += kill_and_check(&f, i % 5 == 0);
    assert_true(checked >= 40); /* 40 of the 50 waited for one at least */
    assert_sound(db_file(&f));
    assert_int_equal(query_int(db_file(&f), "SELECT count(*) FROM job"),
                     query_int(db_file(&f), "SELECT max(id) FROM audit"));
    print_message("%d acknowledged jobs after 50 kills\n", checked);
    fixture_remove(&f);
}

/* ---- a full disk ---- */

static enum err try_submit(struct fixture *f, const char *name, size_t spec_size)
{
    struct job_new in = job_for(f, name);
    char *spec = arena_alloc(f->arena, spec_size + 1);
    memset(spec, 'x', spec_size);
    in.spec = spec;
    struct job_submitted out;
    return DO(f, store_submit_job, &in, &out);
}

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void wait_until_healthy(struct fixture *f)
{
    for (int i = 0; i < 500 && store_health(f->store, NULL); i++)
        usleep(20000);
    CHECK(store_health(f->store, NULL) == OK);
}

/* In a child with a mount namespace of its own: a tmpfs of 4 MiB that a ballast file fills. */
_Noreturn static void fill_a_disk(struct fixture *f)
{
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", f->dir, "tmpfs", 0, "size=4m"))
        _exit(77);
    f->arena = arena_new();
    struct store_options o = {.dir = f->dir, .migrate = true};
    CHECK(store_open(&o, &f->store, &f->err) == OK);
    CHECK(try_submit(f, "before", 100) == OK);
    const char *ballast = arena_printf(f->arena, "%s/ballast", f->dir);
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    static const char zeros[4096];
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    CHECK(errno == ENOSPC);
    close(fd);

    int refused = 0;
    for (int i = 0; i < 20 && !refused; i++)
        refused = try_submit(f, arena_printf(f->arena, "full%d", i), 100000) == ERR_UNAVAILABLE;
    CHECK(refused);
    CHECK(store_health(f->store, &f->err) == ERR_UNAVAILABLE);
    struct job_filter all = {.page = {.limit = 100}};
    struct job_list list;
    CHECK(store_list_jobs(f->store, f->arena, &all, &list, &f->err) == OK); /* reads go on */
    size_t stored = list.n;

    unlink(ballast);
    wait_until_healthy(f); /* by itself, without a write */
    CHECK(try_submit(f, "after", 100000) == OK);
    CHECK(store_list_jobs(f->store, f->arena, &all, &list, &f->err) == OK);
    CHECK(list.n == stored + 1);
    store_close(f->store);
    CHECK(store_open(&o, &f->store, &f->err) == OK);
    CHECK(store_list_jobs(f->store, f->arena, &all, &list, &f->err) == OK);
    CHECK(list.n == stored + 1);
    store_close(f->store);
    _exit(0);
}

static void full_disk_refuses_and_recovers(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    pid_t child = fork();
    if (!child)
        fill_a_disk(&f);
    int status = 0;
    waitpid(child, &status, 0);
    fixture_remove(&f);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no right to mount a tmpfs");
    assert_int_equal(status, 0);
}

/* ---- I/O errors (fault points) ---- */

#ifdef TLGATE_FAULTS

/* The child's TLGATE_FAULT is read at its first pass: the parent must not have passed a point yet, so
 * the child is a fresh run of this program. */
static int run_self(const char *fault, const char *role, const char *dir)
{
    pid_t child = fork();
    if (!child) {
        setenv("TLGATE_FAULT", fault, 1);
        execl("/proc/self/exe", "db_durability_test", role, dir, (char *)NULL);
        _exit(9);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

/* Role: the third commit fails; nothing is written from then on. */
static int role_eio(const char *dir)
{
    struct fixture f = {.arena = arena_new()};
    snprintf(f.dir, sizeof f.dir, "%s", dir);
    struct store_options o = {.dir = f.dir, .migrate = true};
    CHECK(store_open(&o, &f.store, &f.err) == OK);
    CHECK(try_submit(&f, "one", 10) == OK);
    CHECK(try_submit(&f, "two", 10) == OK);
    CHECK(store_health(f.store, &f.err) == OK);
    CHECK(try_submit(&f, "three", 10) == ERR_UNAVAILABLE);
    CHECK(store_health(f.store, &f.err) == ERR_UNAVAILABLE);
    CHECK(try_submit(&f, "four", 10) == ERR_UNAVAILABLE);
    struct job_filter all = {.page = {.limit = 100}};
    struct job_list list;
    CHECK(store_list_jobs(f.store, f.arena, &all, &list, &f.err) == OK);
    CHECK(list.n == 2);
    store_close(f.store);
    arena_free(f.arena);
    return 0;
}

static void io_error_at_commit_is_final_until_restart(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    assert_int_equal(run_self("store.commit.before:3:eio", "eio", f.dir), 0);
    fixture_start(&f);
    struct job_counts counts;
    MUST(&f, store_count_jobs(f.store, &counts, &f.err));
    assert_int_equal(counts.by_state[JOB_QUEUED], 2);
    assert_int_equal(store_health(f.store, &f.err), OK);
    submit_for(&f, "three");
    fixture_remove(&f);
}

/* Role: submits until it is killed by its fault point. */
static int role_submit(const char *dir)
{
    struct fixture f = {.arena = arena_new()};
    struct store_options o = {.dir = dir, .migrate = true};
    CHECK(store_open(&o, &f.store, &f.err) == OK);
    for (int i = 0; i < 3; i++)
        CHECK(try_submit(&f, arena_printf(f.arena, "vm%d", i), 10) == OK);
    return 1;
}

/* Killed at each point around the commits: what is there is whole, and what was acknowledged is there. */
static void kill_around_each_commit(void **state)
{
    static const struct {
        const char *fault;
        int jobs;
    } rows[] = {
        {"store.migrate:1:kill", 0},        {"store.batch.begin:1:kill", 0},
        {"store.commit.before:1:kill", 0},  {"store.commit.after:1:kill", 1},
        {"store.complete.after:1:kill", 1}, {"store.batch.begin:2:kill", 1},
        {"store.commit.before:3:kill", 2},  {"store.commit.after:3:kill", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        fixture_folder(&f);
        int status = run_self(rows[i].fault, "submit", f.dir);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_start(&f);
        struct job_counts counts;
        MUST(&f, store_count_jobs(f.store, &counts, &f.err));
        assert_int_equal(counts.by_state[JOB_QUEUED], rows[i].jobs);
        fixture_stop(&f);
        assert_sound(db_file(&f));
        fixture_remove(&f);
    }
}

/* Role: the migration fails. */
static int role_migrate(const char *dir)
{
    struct fixture f = {0};
    struct store_options o = {.dir = dir, .migrate = true};
    CHECK(store_open(&o, &f.store, &f.err) == ERR_UNAVAILABLE);
    return 0;
}

static void failed_migration_leaves_the_former_schema(void **state)
{
    struct fixture f;
    fixture_folder(&f);
    assert_int_equal(run_self("store.migrate:1:eio", "migrate", f.dir), 0);
    assert_int_equal(query_int(db_file(&f), "PRAGMA user_version"), 0);
    assert_int_equal(query_int(db_file(&f), "SELECT count(*) FROM sqlite_schema"), 0);
    fixture_start(&f);
    submit_for(&f, "web");
    fixture_remove(&f);
}

/* Role: closes the store, which checkpoints. */
static int role_close(const char *dir)
{
    struct fixture f = {.arena = arena_new()};
    struct store_options o = {.dir = dir, .migrate = true};
    CHECK(store_open(&o, &f.store, &f.err) == OK);
    for (int i = 0; i < 40; i++)
        CHECK(try_submit(&f, arena_printf(f.arena, "vm%d", i), 5000) == OK);
    store_close(f.store);
    return 1;
}

static void kill_around_the_checkpoint(void **state)
{
    static const char *const faults[] = {"store.checkpoint.before:1:kill",
                                         "store.checkpoint.after:1:kill"};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct fixture f;
        fixture_folder(&f);
        int status = run_self(faults[i], "close", f.dir);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_start(&f);
        struct job_counts counts;
        MUST(&f, store_count_jobs(f.store, &counts, &f.err));
        assert_int_equal(counts.by_state[JOB_QUEUED], 40);
        fixture_stop(&f);
        assert_sound(db_file(&f));
        fixture_remove(&f);
    }
}

#endif

/* ---- the writer ---- */

static void close_executes_what_is_queued(void **state)
{
    struct fixture *f = *state;
    enum { N = 300 };
    struct job_new *in = arena_array(f->arena, N, sizeof *in);
    struct job_submitted *out = arena_array(f->arena, N, sizeof *out);
    struct store_waiter *w = arena_array(f->arena, N, sizeof *w);
    for (int i = 0; i < N; i++) {
        in[i] = job_for(f, arena_printf(f->arena, "vm%d", i));
        store_submit_job(f->store, &in[i], &out[i], store_waiter_init(&w[i]));
    }
    store_close(f->store);
    for (int i = 0; i < N; i++)
        assert_int_equal(store_wait(&w[i], &f->err), OK);
    fixture_start(f);
    struct job_counts counts;
    MUST(f, store_count_jobs(f->store, &counts, &f->err));
    assert_int_equal(counts.by_state[JOB_QUEUED], N);
}

static void writes_are_grouped_and_wal_is_emptied(void **state)
{
    struct fixture *f = *state;
    enum { N = 400 };
    struct job_new *in = arena_array(f->arena, N, sizeof *in);
    struct job_submitted *out = arena_array(f->arena, N, sizeof *out);
    struct store_waiter *w = arena_array(f->arena, N, sizeof *w);
    for (int i = 0; i < N; i++)
        in[i] = job_for(f, arena_printf(f->arena, "vm%d", i));
    for (int i = 0; i < N; i++)
        store_submit_job(f->store, &in[i], &out[i], store_waiter_init(&w[i]));
    for (int i = 0; i < N; i++)
        assert_int_equal(store_wait(&w[i], &f->err), OK);
    struct store_stats st;
    store_stats_get(f->store, &st);
    assert_int_equal(st.writes, N);
    assert_true(st.commits < N);
    assert_true(st.batch_max > 1 && st.batch_max <= 256);
    assert_int_equal(st.commit_failures, 0);
    for (int i = 0; i < 500 && st.wal_bytes; i++) {
        usleep(20000);
        store_stats_get(f->store, &st);
    }
    assert_int_equal(st.wal_bytes, 0);
    assert_true(st.checkpoints > 0);
    struct stat file;
    assert_int_equal(stat(arena_printf(f->arena, "%s/tlgate.db-wal", f->dir), &file), 0);
    assert_int_equal(file.st_size, 0);
}

/* A writer that never rests checkpoints as well, and the WAL starts over instead of growing. */
static void wal_is_checkpointed_under_load(void **state)
{
    struct fixture *f = *state;
    struct store_stats st = {0};
    int64_t largest = 0, written = 0;
    for (int i = 0; i < 100; i++, written += 500000) {
        assert_int_equal(try_submit(f, arena_printf(f->arena, "vm%d", i), 500000), OK);
        store_stats_get(f->store, &st);
        largest = st.wal_bytes > largest ? st.wal_bytes : largest;
    }
    assert_true(st.checkpoints > 0);
    assert_true(largest < written / 2);
}

static bool file_holds(const char *path, const char *needle)
{
    FILE *in = fopen(path, "r");
    if (!in)
        return false;
    char *data = test_malloc(64 << 20);
    size_t n = fread(data, 1, 64 << 20, in);
    fclose(in);
    bool found = memmem(data, n, needle, strlen(needle)) != NULL;
    test_free(data);
    return found;
}

/* secure_delete: a wiped (sealed) secret is gone from the file once the WAL is checkpointed. */
static void wiped_secret_leaves_the_file(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    struct job_secret secret = {"adminPassword", BYTES_STR("CANARY-9f2b7c")};
    in.secrets = &secret;
    in.n_secrets = 1;
    submit(f, &in);
    fixture_stop(f);
    assert_true(file_holds(db_file(f), "CANARY-9f2b7c"));
    fixture_start(f);
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 1);
    fixture_stop(f);
    assert_false(file_holds(db_file(f), "CANARY-9f2b7c"));
    fixture_start(f);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "second"))
        return role_second(argv[2]);
#ifdef TLGATE_FAULTS
    if (argc == 3 && !strcmp(argv[1], "eio"))
        return role_eio(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "submit"))
        return role_submit(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "migrate"))
        return role_migrate(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "close"))
        return role_close(argv[2]);
#endif
    const struct CMUnitTest tests[] = {
        STORE_TEST(second_process_is_refused),
        STORE_TEST(files_are_private),
        cmocka_unit_test(empty_file_is_migrated_from_zero),
        cmocka_unit_test(rows_of_the_first_schema_are_kept),
        cmocka_unit_test(rows_of_the_ninth_schema_are_kept),
        STORE_TEST(newer_schema_is_refused_and_left_alone),
        cmocka_unit_test(not_a_database_is_refused),
        STORE_TEST(backup_is_consistent_while_written),
        cmocka_unit_test(acknowledged_writes_survive_kills),
        cmocka_unit_test(full_disk_refuses_and_recovers),
#ifdef TLGATE_FAULTS
        cmocka_unit_test(io_error_at_commit_is_final_until_restart),
        cmocka_unit_test(failed_migration_leaves_the_former_schema),
        cmocka_unit_test(kill_around_each_commit),
        cmocka_unit_test(kill_around_the_checkpoint),
#endif
        STORE_TEST(close_executes_what_is_queued),
        STORE_TEST(writes_are_grouped_and_wal_is_emptied),
        STORE_TEST(wal_is_checkpointed_under_load),
        STORE_TEST(wiped_secret_leaves_the_file),
    };
    return cmocka_run_group_tests_name("store: durability", tests, NULL, NULL);
}
