/* Making replies: inside arm/ only. */
#ifndef ARM_HEADER_H
#define ARM_HEADER_H

#include "arm/reply.h"

/* An empty reply in an arena of its own. */
struct arm_reply *arm_reply_new(void);
/* Takes one header line ("Name: value\r\n") into the reply where it is one that is kept. A value
 * with control bytes or non-ASCII, or longer than ARM_URL_MAX, counts as absent. */
void arm_header_add(struct arm_reply *r, struct bytes line, int64_t now_ms);
/* Forgets all headers: an interim or proxy response went before the final one. */
void arm_header_reset(struct arm_reply *r);

#endif
