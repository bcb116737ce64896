/* Addresses of clients, and which of them limits count as one. */
#include "server/peer.h"

#include "core/attr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct {
    const char *in, *address, *source;
} rows[] = {
    {"192.0.2.1", "192.0.2.1", "192.0.2.1"},
    {"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"},
    {"::1", "::1", "::"},
    {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
    {"2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"},
    {"2001:db8:1:3::6", "2001:db8:1:3::6", "2001:db8:1:3::"},
};

static void addresses_and_their_sources(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        int is_v4 = inet_pton(AF_INET, rows[i].in, &v4.sin_addr) == 1;
        assert_true(is_v4 || inet_pton(AF_INET6, rows[i].in, &v6.sin6_addr) == 1);
        struct peer peer;
        peer_of(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, &peer);
        assert_string_equal(peer.address, rows[i].address);
        assert_string_equal(peer.source, rows[i].source);
    }
}

static void who_has_no_address(void **state)
{
    struct peer peer;
    peer_of(NULL, &peer);
    assert_string_equal(peer.address, "unix");
    assert_string_equal(peer.source, "unix");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_their_sources),
        cmocka_unit_test(who_has_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
