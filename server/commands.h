/*
 * The commands of tlgate. Each takes what stands after its name and returns the exit status: 0 done,
 * 1 failed, 2 wrong usage (verify, eventlog and trust have their own, see there).
 */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

#include "server/settings.h"

typedef int command_fn(int argc, char **argv);

command_fn cmd_serve;
command_fn cmd_check_config;
command_fn cmd_migrate;
command_fn cmd_backup;
command_fn cmd_version;
command_fn cmd_key;
command_fn cmd_verify;
command_fn cmd_eventlog;
command_fn cmd_trust;

/* "tlgate: ..." with every bad field, on stderr. Returns the exit status. */
int command_fail(const struct err_info *why);
/* "usage: tlgate ..." on stderr. Returns the exit status. */
int command_usage(const char *usage);

/*
 * Takes the options "--name VALUE" that `names` lists (NULL-terminated) out of argv; values[i] is
 * that of names[i], or NULL. What is left are *argc arguments from argv[0] on. False on an unknown
 * option, a repeated one, or one without its value.
 */
bool command_options(int *argc, char **argv, const char *const *names, const char **values);

/* Settings from --config and the environment. */
enum err command_settings(const char *config, struct arena *arena, struct settings *out,
                          struct err_info *e) MUST_CHECK;

#endif
