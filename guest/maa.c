#include "guest/maa.h"

#include "core/cleanup.h"
#include "core/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define STEP_MS   100
#define NONCE_MAX 64

extern char **environ;

/* Its own signals, whatever the agent blocks; standard input is empty, errors go to the agent's log. */
static pid_t start(const char *program, char *nonce, int out)
{
    char *argv[] = {(char *)(uintptr_t)program, nonce, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid = -1;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(&pid, program, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    errno = rc;
    return rc == 0 ? pid : -1;
}

/* What it prints, until it closes its output. */
static enum err collect(int fd, bool (*stop)(void), struct buf *out, struct err_info *e)
{
    int64_t until = clock_mono(&clock_system) + GUEST_MAA_MS;
    while (out->len <= EVIDENCE_TOKEN_MAX) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (stop())
            return err_set(e, ERR_CANCELED, "stopped");
        if (clock_mono(&clock_system) >= until)
            return err_set(e, ERR_UNAVAILABLE, "it took too long");
        if (poll(&wait, 1, STEP_MS) <= 0)
            continue;
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n == 0)
            return OK;
        if (n < 0)
            return err_set(e, ERR_UNAVAILABLE, "its output cannot be read");
        out->len += (size_t)n;
    }
    return err_set(e, ERR_UNAVAILABLE, "it printed more than a token");
}

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

static enum err take_token(const struct buf *printed, struct arena *a, struct bytes *out,
                           struct err_info *e)
{
    const char *p = printed->data;
    size_t n = printed->len;
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    while (n && isspace((unsigned char)*p)) {
        p++;
        n--;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_token_char(p[i]))
            return err_set(e, ERR_UNAVAILABLE, "it printed something else than a token");
    if (n == 0)
        return err_set(e, ERR_UNAVAILABLE, "it printed nothing");
    *out = arena_copy(a, BYTES(p, n));
    return OK;
}

/* The end of the program, and of what it has started. */
static enum err reap(pid_t pid, bool kill_first, struct err_info *e)
{
    int status = 0;
    if (kill_first)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!kill_first && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return err_set(e, ERR_UNAVAILABLE, "it ended with status %d", status);
    return OK;
}

enum err guest_maa_token(const char *program, struct bytes nonce, bool (*stop)(void),
                         struct arena *a, struct bytes *out, struct err_info *e)
{
    char text[BASE64_SIZE(NONCE_MAX)];
    int pipes[2];
    if (nonce.len > NONCE_MAX)
        return err_set(e, ERR_UNAVAILABLE, "the nonce is too long");
    base64_encode(nonce, text);
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return err_set(e, ERR_UNAVAILABLE, "no pipe: %s", strerrordesc_np(errno));
    pid_t pid = start(program, text, pipes[1]);
    int why = errno;
    close(pipes[1]);
    struct buf printed = {0};
    enum err err = pid < 0 ? err_set(e, ERR_UNAVAILABLE, "%s: %s", program, strerrordesc_np(why))
                           : collect(pipes[0], stop, &printed, e);
    close(pipes[0]);
    if (pid >= 0) {
        enum err end = reap(pid, err != OK, e);
        err = err ? err : end;
    }
    if (!err)
        err = take_token(&printed, a, out, e);
    buf_free(&printed);
    return err;
}
