#include "attest/reasons.h"

#include "core/bytes.h"

#include <stdlib.h>
#include <string.h>

enum remedy {
#define REMEDY(code, text) REMEDY_##code,
#include "attest/reasons.def"
};

static const struct attest_remedy remedies[] = {
#define REMEDY(code, text) {#code, text},
#include "attest/reasons.def"
};

static const struct attest_reason reasons[] = {
#define REASON(reason, remedy, text) {#reason, &remedies[REMEDY_##remedy], text},
#include "attest/reasons.def"
};

const struct attest_reason *attest_reason_list(size_t *n)
{
    *n = ARRAY_LEN(reasons);
    return reasons;
}

/* A hundred lines, read when somebody asks for an explanation. */
const struct attest_reason *attest_reason_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (strcmp(reasons[i].name, name) == 0)
            return &reasons[i];
    return NULL;
}
