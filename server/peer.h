/* A client's address, and whom limits count it as. */
#ifndef SERVER_PEER_H
#define SERVER_PEER_H

#include <netinet/in.h>

struct sockaddr;

/* `source` is the address, or the /64 of one of IPv6: whoever has one address of it has all (RFC 4291 2.5.4). */
struct peer {
    char address[INET6_ADDRSTRLEN]; /* without port; "unix" where it has none */
    char source[INET6_ADDRSTRLEN];
};

/* An IPv4 address that an IPv6 socket shows (RFC 4291 2.5.5.2) is one of IPv4. `at` may be NULL. */
void peer_of(const struct sockaddr *at, struct peer *out);

#endif
