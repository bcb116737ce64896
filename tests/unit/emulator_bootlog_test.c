/* The boot log: read back by a parser of its own, replayed, and held against what was extended. */
#include "core/attr.h"
#include "emulator/bootlog.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/evp.h>

#define PCRS   24
#define EVENTS 64

#define VM_A "11111111-1111-4111-8111-111111111111"
#define VM_B "22222222-2222-4222-8222-222222222222"

static const uint16_t all_banks[] = {0x0004, 0x000b, 0x000c, 0x000d};

/* A software TPM's PCRs: what the sink was given, extended. */
struct pcrs {
    uint8_t value[BOOTLOG_BANKS_MAX][PCRS][BOOTLOG_DIGEST_MAX];
    int calls;
    int fail_at; /* 0: never */
};

static const EVP_MD *md_of(uint16_t alg)
{
    switch (alg) {
    case 0x0004:
        return EVP_sha1();
    case 0x000b:
        return EVP_sha256();
    case 0x000c:
        return EVP_sha384();
    default:
        return EVP_sha512();
    }
}

static void extend_one(uint8_t *pcr, uint16_t alg, const uint8_t *digest, size_t size)
{
    uint8_t both[2 * BOOTLOG_DIGEST_MAX];
    memcpy(both, pcr, size);
    memcpy(both + size, digest, size);
    assert_true(EVP_Digest(both, 2 * size, pcr, NULL, md_of(alg), NULL));
}

static enum err sink(void *ctx, uint32_t pcr, const struct bootlog_digests *d, struct err_info *e)
{
    struct pcrs *p = ctx;
    p->calls++;
    if (p->calls == p->fail_at)
        return err_set(e, ERR_UNAVAILABLE, "the TPM is gone");
    assert_true(pcr < PCRS);
    for (size_t i = 0; i < d->n; i++)
        extend_one(p->value[i][pcr], d->bank[i].alg, d->bank[i].value, d->bank[i].size);
    return OK;
}

struct event {
    uint32_t pcr;
    uint32_t type;
    uint8_t digest[BOOTLOG_BANKS_MAX][BOOTLOG_DIGEST_MAX];
    struct bytes data;
};

struct log {
    struct buf raw;
    struct pcrs sink;
    uint16_t alg[BOOTLOG_BANKS_MAX];
    uint16_t size[BOOTLOG_BANKS_MAX];
    size_t n_banks;
    struct event events[EVENTS];
    size_t n;
};

static void parse(struct log *l)
{
    struct cursor c = cursor_of(buf_bytes(&l->raw));
    assert_int_equal(cursor_u32le(&c), 0);
    assert_int_equal(cursor_u32le(&c), 3); /* EV_NO_ACTION */
    (void)cursor_take(&c, 20);
    struct cursor id = cursor_of(cursor_take(&c, cursor_u32le(&c)));
    assert_memory_equal(cursor_take(&id, 16).data, "Spec ID Event03", 16);
    (void)cursor_take(&id, 8);
    l->n_banks = cursor_u32le(&id);
    assert_true(l->n_banks <= BOOTLOG_BANKS_MAX);
    for (size_t i = 0; i < l->n_banks; i++) {
        l->alg[i] = cursor_u16le(&id);
        l->size[i] = cursor_u16le(&id);
    }
    assert_int_equal(cursor_u8(&id), 0);
    assert_true(cursor_done(&id));
    while (c.left && !c.bad) {
        assert_true(l->n < EVENTS);
        struct event *ev = &l->events[l->n++];
        ev->pcr = cursor_u32le(&c);
        ev->type = cursor_u32le(&c);
        assert_int_equal(cursor_u32le(&c), l->n_banks);
        for (size_t i = 0; i < l->n_banks; i++) {
            assert_int_equal(cursor_u16le(&c), l->alg[i]);
            struct bytes d = cursor_take(&c, l->size[i]);
            memcpy(ev->digest[i], d.data, d.len);
        }
        ev->data = cursor_take(&c, cursor_u32le(&c));
    }
    assert_true(cursor_done(&c));
}

static const struct bootlog_keys *some_keys(void)
{
    static uint8_t der[5][300];
    static struct bootlog_keys keys;
    for (size_t i = 0; i < 5; i++)
        memset(der[i], (int)(0x30 + i), sizeof(der[i]));
    keys = (struct bootlog_keys){BYTES_OF(der[0]), BYTES_OF(der[1]), BYTES_OF(der[2]),
                                 BYTES_OF(der[3]), BYTES_OF(der[4])};
    return &keys;
}

static struct log *boot(const char *vm, bool secure, bool windows, unsigned boots)
{
    struct log *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    const struct bootlog_boot b = {vm, secure, windows, boots, some_keys()};
    assert_int_equal(
        bootlog_write(&b, all_banks, ARRAY_LEN(all_banks), sink, &l->sink, &l->raw, NULL), OK);
    parse(l);
    return l;
}

static void drop(struct log *l)
{
    buf_free(&l->raw);
    free(l);
}

static bool digest_is_of(const struct log *l, const struct event *ev, struct bytes content)
{
    for (size_t i = 0; i < l->n_banks; i++) {
        uint8_t d[BOOTLOG_DIGEST_MAX];
        assert_true(EVP_Digest(content.data, content.len, d, NULL, md_of(l->alg[i]), NULL));
        if (memcmp(d, ev->digest[i], l->size[i]) != 0)
            return false;
    }
    return true;
}

static void replays_to_what_was_extended(void **state)
{
    static const struct {
        bool secure, windows;
    } kinds[] = {{true, false}, {false, false}, {true, true}, {false, true}};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct log *l = boot(VM_A, kinds[k].secure, kinds[k].windows, 1);
        assert_int_equal(l->n_banks, 4);
        assert_int_equal((int)l->n, l->sink.calls);
        struct pcrs replay = {0};
        for (size_t i = 0; i < l->n; i++) {
            for (size_t b = 0; b < l->n_banks; b++)
                extend_one(replay.value[b][l->events[i].pcr], l->alg[b], l->events[i].digest[b],
                           l->size[b]);
        }
        assert_memory_equal(replay.value, l->sink.value, sizeof(replay.value));
        drop(l);
    }
}

/* PFP table 14: what the digest of each type is of. */
static void digests_are_of_their_data(void **state)
{
    struct log *l = boot(VM_A, true, false, 1);
    int checked = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct event *ev = &l->events[i];
        struct bytes content = ev->data;
        switch (ev->type) {
        case 0x80000002: { /* EV_EFI_VARIABLE_BOOT: the value only */
            struct cursor c = cursor_of(ev->data);
            (void)cursor_take(&c, 16);
            uint64_t name = cursor_u64le(&c), value = cursor_u64le(&c);
            (void)cursor_take(&c, (size_t)name * 2);
            content = cursor_take(&c, (size_t)value);
            assert_true(cursor_done(&c));
            break;
        }
        case 0x80000003: /* images, blobs and files: of what they name */
        case 0x80000008:
        case 0x0000000d:
            continue;
        default:
            break;
        }
        assert_true(digest_is_of(l, ev, content));
        checked++;
    }
    assert_true(checked >= 20);
    drop(l);
}

static size_t count(const struct log *l, uint32_t pcr, uint32_t type)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->events[i].pcr == pcr && l->events[i].type == type;
    return n;
}

/* The value of SecureBoot is the event's last byte. */
static int secure_boot_value(const struct log *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct event *ev = &l->events[i];
        if (ev->type == 0x80000001 && ev->data.len == 16 + 16 + 2 * 10 + 1)
            return ev->data.data[ev->data.len - 1];
    }
    return -1;
}

static void secure_boot_shows_in_pcr7_only(void **state)
{
    struct log *on = boot(VM_A, true, false, 1), *off = boot(VM_A, false, false, 1);
    assert_int_equal(secure_boot_value(on), 1);
    assert_int_equal(secure_boot_value(off), 0);
    assert_int_equal(count(on, 7, 0x80000001), 5);
    assert_int_equal(count(off, 7, 0x80000001), 5);
    assert_int_equal(count(on, 7, 0x800000e0), 3);
    assert_int_equal(count(off, 7, 0x800000e0), 0);
    for (size_t p = 0; p < PCRS; p++) {
        bool same = !memcmp(on->sink.value[1][p], off->sink.value[1][p], 32);
        assert_int_equal(same, p != 7);
    }
    drop(on);
    drop(off);
}

static void one_separator_in_each_of_pcrs_0_to_7(void **state)
{
    struct log *l = boot(VM_A, true, false, 1);
    for (uint32_t p = 0; p < PCRS; p++)
        assert_int_equal(count(l, p, 4), p < 8 ? 1 : 0);
    drop(l);
}

static void every_vm_has_its_own_log(void **state)
{
    struct log *a = boot(VM_A, true, false, 1), *b = boot(VM_B, true, false, 1);
    static const bool own[PCRS] = {[1] = true, [5] = true, [8] = true};
    for (size_t p = 0; p < PCRS; p++) {
        bool same = !memcmp(a->sink.value[1][p], b->sink.value[1][p], 32);
        assert_int_equal(same, !own[p]);
    }
    drop(a);
    drop(b);
}

static void a_reboot_changes_the_log_but_no_pcr(void **state)
{
    struct log *first = boot(VM_A, true, false, 1), *second = boot(VM_A, true, false, 2);
    assert_false(bytes_equal(buf_bytes(&first->raw), buf_bytes(&second->raw)));
    assert_memory_equal(first->sink.value, second->sink.value, sizeof(first->sink.value));
    drop(first);
    drop(second);
}

static void a_sink_that_fails_ends_the_boot(void **state)
{
    const struct bootlog_boot b = {VM_A, true, false, 1, some_keys()};
    struct pcrs p = {.fail_at = 5};
    struct buf log = {0};
    struct err_info e = {0};
    assert_int_equal(bootlog_write(&b, all_banks, 2, sink, &p, &log, &e), ERR_UNAVAILABLE);
    assert_int_equal(p.calls, 5);
    assert_string_equal(e.detail, "the TPM is gone");
    buf_free(&log);
}

static void banks_without_a_hash_are_refused(void **state)
{
    static const struct {
        uint16_t banks[5];
        size_t n;
    } bad[] = {{{0}, 0}, {{0x0012}, 1}, {{0x000b, 0x0027}, 2}, {{4, 11, 12, 13, 11}, 5}};
    const struct bootlog_boot b = {VM_A, true, false, 1, some_keys()};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct pcrs p = {0};
        struct buf log = {0};
        assert_int_equal(bootlog_write(&b, bad[i].banks, bad[i].n, sink, &p, &log, NULL),
                         ERR_INTERNAL);
        assert_int_equal(p.calls, 0);
        buf_free(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_to_what_was_extended),
        cmocka_unit_test(digests_are_of_their_data),
        cmocka_unit_test(secure_boot_shows_in_pcr7_only),
        cmocka_unit_test(one_separator_in_each_of_pcrs_0_to_7),
        cmocka_unit_test(every_vm_has_its_own_log),
        cmocka_unit_test(a_reboot_changes_the_log_but_no_pcr),
        cmocka_unit_test(a_sink_that_fails_ends_the_boot),
        cmocka_unit_test(banks_without_a_hash_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
