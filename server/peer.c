#include "server/peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define NETWORK_BYTES 8 /* a /64 */

static void name_v4(const void *in, struct peer *out)
{
    inet_ntop(AF_INET, in, out->address, sizeof out->address);
    memcpy(out->source, out->address, sizeof out->source);
}

static void name_v6(const struct in6_addr *in, struct peer *out)
{
    struct in6_addr network = *in;
    if (IN6_IS_ADDR_V4MAPPED(in)) {
        name_v4(in->s6_addr + 12, out);
        return;
    }
    memset(network.s6_addr + NETWORK_BYTES, 0, sizeof network.s6_addr - NETWORK_BYTES);
    inet_ntop(AF_INET6, in, out->address, sizeof out->address);
    inet_ntop(AF_INET6, &network, out->source, sizeof out->source);
}

void peer_of(const struct sockaddr *at, struct peer *out)
{
    if (at && at->sa_family == AF_INET) {
        name_v4(&((const struct sockaddr_in *)(const void *)at)->sin_addr, out);
    } else if (at && at->sa_family == AF_INET6) {
        name_v6(&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr, out);
    } else {
        snprintf(out->address, sizeof out->address, "unix");
        snprintf(out->source, sizeof out->source, "unix");
    }
}
