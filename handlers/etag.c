#include "handlers/etag.h"

#include "core/sha256.h"

void etag_of(struct bytes body, char out[ETAG_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    sha256(body, digest);
    hex_encode((struct bytes){digest, (ETAG_SIZE - 1) / 2}, out);
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

bool etag_listed(const char *if_none_match, const char *etag)
{
    if (!if_none_match)
        return false;
    size_t want = strlen(etag);
    const char *p = skip_blanks(if_none_match);
    if (*p == '*')
        return !*skip_blanks(p + 1);
    bool found = false;
    while (*p) {
        if (*p == ',') { /* empty list elements are allowed, section 5.6.1 */
            p = skip_blanks(p + 1);
            continue;
        }
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        if (*p++ != '"')
            return false;
        size_t n = strcspn(p, "\"");
        if (!p[n])
            return false;
        found = found || (n == want && memcmp(p, etag, n) == 0);
        p = skip_blanks(p + n + 1);
        if (*p && *p != ',')
            return false;
    }
    return found;
}
