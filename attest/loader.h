/*
 * What boot loaders log as EV_IPL: GRUB's commands and files (PCR 8 and 9), shim's MOK variables
 * (PCR 14), and systemd-stub's command line (PCR 12) and sections of the image (PCR 11).
 *
 * The text counts only where it is what was measured: loader_measured tells what the digest must be
 * of. The digest of a file, a section or a MOK variable is of something that the log does not hold;
 * for these it says nothing.
 */
#ifndef ATTEST_LOADER_H
#define ATTEST_LOADER_H

#include "attest/eventlog.h"

enum loader_kind {
    LOADER_NONE,
    LOADER_GRUB_COMMAND,
    LOADER_GRUB_MODULE,       /* command line of a multiboot module */
    LOADER_GRUB_COMMAND_LINE, /* of the kernel */
    LOADER_GRUB_FILE,         /* read by GRUB; the digest is of its content */
    LOADER_MOK,               /* MokList, MokListX, MokListTrusted: of the variable's content */
    LOADER_STUB_COMMAND_LINE, /* UTF-16LE */
    LOADER_STUB_SECTION,      /* UTF-16LE name of a section of a unified kernel image */
};

struct loader_event {
    enum loader_kind kind;
    struct bytes text; /* without prefix and terminator; ASCII or UTF-16LE as said above */
    /* The digest is of one of these; none: it is of what is not in the log. */
    struct bytes measured[2];
    size_t n_measured;
};

struct loader_event loader_read(const struct log_event *ev);

/* "grubCommand", ... NULL for LOADER_NONE. */
const char *loader_kind_name(enum loader_kind k);
/* Readable text of any kind. */
const char *loader_text(const struct loader_event *e, struct arena *a);

#endif
