#include "emulator/vtpm_proc.h"

#include "core/buf.h"
#include "emulator/vtpm.h"
#include "emulator/vtpm_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_POLLS   200
#define STOP_POLL_US 10000

struct vtpm_spawner {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    const char *const *argv; /* what to run; NULL: nothing is asked for */
    bool done;
    bool closing;
    pid_t pid;
    int error;
};

/* Between fork and exec of a threaded process: async-signal-safe calls only. */
static void run_child(const char *const *argv, pid_t parent, int report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
        dup2(null, 2) < 0)
        _exit(127);
    dup2(report, 3);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    close_range(4, ~0u, 0);
    union {
        const char *const *in;
        char *const *out;
    } args = {.in = argv}; /* execv does not write to them */
    execv(argv[0], args.out);
    int error = errno;
    ssize_t n = write(3, &error, sizeof(error));
    _exit(n == (ssize_t)sizeof(error) ? 126 : 127);
}

/* Returns 0 or errno; waits until the exec has succeeded or failed. */
static int fork_child(const char *const *argv, pid_t *out)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return errno;
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        run_child(argv, parent, report[1]);
    int error = pid < 0 ? errno : 0;
    close(report[1]);
    ssize_t n;
    do {
        n = pid < 0 ? 0 : read(report[0], &error, sizeof(error));
    } while (n < 0 && errno == EINTR);
    close(report[0]);
    if (pid > 0 && error)
        waitpid(pid, NULL, 0);
    *out = pid;
    return error;
}

static void *spawner_main(void *arg)
{
    struct vtpm_spawner *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        if (!s->argv || s->done) {
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        s->error = fork_child(s->argv, &s->pid);
        s->done = true;
        pthread_cond_broadcast(&s->change);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum err vtpm_spawner_new(struct vtpm_spawner **out, struct err_info *e)
{
    struct vtpm_spawner *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->change, NULL);
    int error = pthread_create(&s->thread, NULL, spawner_main, s);
    if (error) {
        free(s);
        return err_set(e, ERR_CONFIG, "starting a thread: %s", strerror(error));
    }
    *out = s;
    return OK;
}

void vtpm_spawner_free(struct vtpm_spawner *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->change);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

enum err vtpm_spawn(struct vtpm_spawner *s, const char *const *argv, pid_t *out, struct err_info *e)
{
    pthread_mutex_lock(&s->lock);
    while (s->argv)
        pthread_cond_wait(&s->change, &s->lock);
    s->argv = argv;
    s->done = false;
    pthread_cond_broadcast(&s->change);
    while (!s->done)
        pthread_cond_wait(&s->change, &s->lock);
    int error = s->error;
    *out = s->pid;
    s->argv = NULL;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    return error ? err_set(e, ERR_UNAVAILABLE, "starting %s: %s", argv[0], strerror(error)) : OK;
}

bool vtpm_proc_alive(pid_t pid)
{
    return pid > 0 && waitpid(pid, NULL, WNOHANG) == 0;
}

void vtpm_proc_stop(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int i = 0; i < STOP_POLLS; i++) {
        if (!vtpm_proc_alive(pid))
            return;
        usleep(STOP_POLL_US);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void vtpm_proc_kill_stale(const char *pid_file, const char *mark)
{
    struct buf text = {0}, cmdline = {0};
    if (vtpm_file_read(pid_file, &text, NULL) == OK && text.len) {
        long pid = strtol(text.data, NULL, 10);
        char path[VTPM_PATH_SIZE];
        vtpm_file_path(path, "/proc/%ld/cmdline", pid);
        if (pid > 1 && vtpm_file_read(path, &cmdline, NULL) == OK &&
            memmem(cmdline.data, cmdline.len, mark, strlen(mark)))
            kill((pid_t)pid, SIGKILL);
    }
    unlink(pid_file);
    buf_free(&cmdline);
    buf_free(&text);
}

bool vtpm_proc_find(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
        size_t len = strcspn(at, ":");
        int n = snprintf(out, size, "%.*s/%s", (int)len, at, name);
        if (*at == '/' && n > 0 && (size_t)n < size && access(out, X_OK) == 0)
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}
