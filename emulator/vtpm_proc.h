/*
 * Child processes that die with the emulator.
 *
 * PR_SET_PDEATHSIG fires when the *thread* that forked ends, so all children are forked by one
 * thread that lives as long as the spawner. Thread-safe; a pid belongs to whoever spawned it until
 * it was stopped or found to have ended.
 */
#ifndef EMULATOR_VTPM_PROC_H
#define EMULATOR_VTPM_PROC_H

#include "core/err.h"

#include <sys/types.h>

struct vtpm_spawner;

enum err vtpm_spawner_new(struct vtpm_spawner **out, struct err_info *e) MUST_CHECK;
/* Ends the thread and with it every child that still runs. NULL is fine. */
void vtpm_spawner_free(struct vtpm_spawner *s);

/* Runs argv[0] (an absolute path) in a session of its own with standard streams at /dev/null. */
enum err vtpm_spawn(struct vtpm_spawner *s, const char *const *argv, pid_t *out,
                    struct err_info *e) MUST_CHECK;

/* False where the child has ended; it is then reaped and the pid is void. */
bool vtpm_proc_alive(pid_t pid);
/* SIGTERM, after two seconds SIGKILL; reaps. */
void vtpm_proc_stop(pid_t pid);
/* Kills what a pid file of an earlier run names, if its command line holds `mark`. */
void vtpm_proc_kill_stale(const char *pid_file, const char *mark);
/* Absolute path of an executable in PATH; false where there is none. */
bool vtpm_proc_find(const char *name, char *out, size_t size);

#endif
