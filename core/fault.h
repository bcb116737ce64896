/*
 * Fault points: places where a test preset kills, fails or delays the process on purpose.
 *
 *     if (FAULT_POINT("store.commit.before"))
 *         ... behave as after an I/O error ...
 *
 * Without TLGATE_FAULTS the macro is the constant 0 and nothing of this is in the binary. With it,
 * the environment rules, read once:
 *
 *     TLGATE_FAULT="name:n:action[:ms],..."
 *         act at the n-th pass (1 is the first; 0: at every pass):
 *         kill     SIGKILL to the own process
 *         eio      the macro yields EIO
 *         delay    sleep ms (default 200)
 *         stop     SIGSTOP to the own process
 *     TLGATE_FAULT_COUNT=FILE
 *         one line "name passes" for each point, kept up to date
 *
 * A malformed variable or an unknown name ends the process: a test must not pass because of a typo.
 * Any thread may pass a point.
 */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

#ifdef TLGATE_FAULTS
#define FAULT_POINT(name) fault_pass(name)
/* 0, or an errno to behave as. */
int fault_pass(const char *name);
#else
#define FAULT_POINT(name) 0
#endif

#endif
