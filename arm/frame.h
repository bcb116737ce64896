/*
 * One HTTP/1.1 answer as it came off a connection: where it ends, and what it holds. Pure; inside arm/
 * only. Strict where two readers could disagree (RFC 9112 6.3, 11.2): what is not plainly framed by a
 * Content-Length or by chunks is broken.
 */
#ifndef ARM_FRAME_H
#define ARM_FRAME_H

#include "core/buf.h"

#define ARM_FRAME_HEAD_MAX (64u * 1024)

enum arm_frame_state {
    ARM_FRAME_MORE,   /* the answer goes on */
    ARM_FRAME_DONE,   /* it is complete: see *out */
    ARM_FRAME_BROKEN, /* it cannot be read: give the connection up */
    ARM_FRAME_LARGE,  /* the body is larger than `body_max` */
};

struct arm_frame {
    int status;
    struct bytes head; /* the header lines, each with its CRLF; a view into the input */
    struct bytes body; /* a view into the input, or into `joined` */
    bool keep;         /* the connection may be used again */
};

/* Interim answers (1xx) are passed over. `joined` takes the body where it comes in chunks; a body has at
 * most `body_max` bytes. */
enum arm_frame_state arm_frame_read(struct bytes in, size_t body_max, struct buf *joined,
                                    struct arm_frame *out);

/* The next line of a head, with its CRLF; false at its end. */
bool arm_frame_line(struct bytes *head, struct bytes *line);

#endif
