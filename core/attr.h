/* Attributes that make contracts checkable by the compiler. */
#ifndef CORE_ATTR_H
#define CORE_ATTR_H

#define MUST_CHECK      __attribute__((warn_unused_result))
#define PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))
#define COLD            __attribute__((cold))
/* A large local variable of which no more is read than was written: the hardened build need not clear it. */
#define UNCLEARED __attribute__((uninitialized))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that holds member `m` at address `p`. */
#define CONTAINER_OF(p, type, m) ((type *)(void *)((char *)(p)-offsetof(type, m)))

#endif
