#include "attest/tpm.h"

#include "attest/hash.h"

#define RSA_BYTES_MAX 512u
#define ECC_BYTES_MAX 66u

static struct bytes take_2b(struct cursor *c, size_t max)
{
    uint16_t n = cursor_u16be(c);
    if (n > max)
        c->bad = true;
    return cursor_take(c, n);
}

/* A TPM2B around the structure: its size is exactly what follows. A bare TPMT_PUBLIC starts with an
 * algorithm and a bare TPMS_ATTEST with a magic, neither of which can equal the rest's length. */
static struct bytes unwrap(struct bytes in)
{
    struct cursor c = cursor_of(in);
    uint16_t n = cursor_u16be(&c);
    if (!c.bad && n == c.left)
        return BYTES(c.at, c.left);
    return in;
}

static bool known_hash(uint16_t alg)
{
    return hash_of_tpm_alg(alg) != BANK_COUNT;
}

/* TPMT_ASYM_SCHEME reduced to signing schemes. */
static const char *read_scheme(struct cursor *c, struct tpm_public *out)
{
    uint16_t symmetric = cursor_u16be(c);
    if (symmetric != TPM2_ALG_NULL) {
        /* A storage key: TPMT_SYM_DEF_OBJECT of a block cipher has two more members. */
        cursor_u16be(c);
        cursor_u16be(c);
    }
    out->scheme = cursor_u16be(c);
    out->scheme_hash = TPM2_ALG_NULL;
    if (out->scheme == TPM2_ALG_NULL)
        return NULL;
    if (out->scheme != TPM2_ALG_RSASSA && out->scheme != TPM2_ALG_RSAPSS &&
        out->scheme != TPM2_ALG_ECDSA)
        return "the signing scheme is not RSASSA, RSAPSS or ECDSA";
    out->scheme_hash = cursor_u16be(c);
    return NULL;
}

static const char *read_rsa(struct cursor *c, struct tpm_public *out)
{
    out->bits = cursor_u16be(c);
    out->exponent = cursor_u32be(c);
    /* Part 2, 12.2.3.5: zero means 2^16 + 1 */
    if (out->exponent == 0)
        out->exponent = 65537;
    out->modulus = take_2b(c, RSA_BYTES_MAX);
    if (!c->bad && out->modulus.len * 8 != out->bits)
        return "the modulus has not the size that keyBits names";
    return NULL;
}

static const char *read_ecc(struct cursor *c, struct tpm_public *out)
{
    out->curve = cursor_u16be(c);
    if (cursor_u16be(c) != TPM2_ALG_NULL)
        return "the key has a key derivation scheme";
    out->x = take_2b(c, ECC_BYTES_MAX);
    out->y = take_2b(c, ECC_BYTES_MAX);
    return NULL;
}

const char *tpm_parse_public(struct bytes in, struct tpm_public *out)
{
    *out = (struct tpm_public){.area = unwrap(in)};
    struct cursor c = cursor_of(out->area);
    out->type = cursor_u16be(&c);
    if (out->type != TPM2_ALG_RSA && out->type != TPM2_ALG_ECC)
        return "not a TPMT_PUBLIC of an RSA or ECC key";
    out->name_alg = cursor_u16be(&c);
    out->attributes = cursor_u32be(&c);
    out->auth_policy = take_2b(&c, DIGEST_MAX);
    const char *why = read_scheme(&c, out);
    if (!why)
        why = out->type == TPM2_ALG_RSA ? read_rsa(&c, out) : read_ecc(&c, out);
    if (why)
        return why;
    if (c.bad)
        return "the TPMT_PUBLIC is truncated";
    if (c.left)
        return "bytes follow the TPMT_PUBLIC";
    if (!known_hash(out->name_alg))
        return "the nameAlg is not a known hash";
    return NULL;
}

size_t tpm_name(const struct tpm_public *p, uint8_t out[66])
{
    enum pcr_bank alg = hash_of_tpm_alg(p->name_alg);
    if (alg == BANK_COUNT)
        return 0;
    out[0] = (uint8_t)(p->name_alg >> 8);
    out[1] = (uint8_t)p->name_alg;
    hash_digest(alg, p->area, out + 2);
    return 2 + pcr_banks[alg].size;
}

void tpm_qualified_name(const struct tpm_public *p, const uint8_t name[66], uint8_t out[66])
{
    static const uint8_t endorsement[4] = {0x40, 0x00, 0x00, 0x0b};
    enum pcr_bank alg = hash_of_tpm_alg(p->name_alg);
    const struct bytes parts[] = {BYTES_OF(endorsement), {name, 2 + pcr_banks[alg].size}};
    memcpy(out, name, 2);
    hash_parts(alg, parts, ARRAY_LEN(parts), out + 2);
}

static const char *read_quote_info(struct cursor *c, struct tpm_attest *out)
{
    uint32_t n = cursor_u32be(c);
    if (n > TPM2_NUM_PCR_BANKS)
        return "the PCR selection names more banks than a TPM has";
    for (uint32_t i = 0; i < n; i++) {
        out->selections[i].alg = cursor_u16be(c);
        out->selections[i].bits = cursor_take(c, cursor_u8(c));
    }
    out->n_selections = n;
    out->pcr_digest = take_2b(c, DIGEST_MAX);
    if (c->bad)
        return "the quote is truncated";
    if (c->left)
        return "bytes follow the quote";
    return NULL;
}

const char *tpm_parse_attest(struct bytes in, struct tpm_attest *out)
{
    *out = (struct tpm_attest){.message = unwrap(in)};
    struct cursor c = cursor_of(out->message);
    out->magic = cursor_u32be(&c);
    out->type = cursor_u16be(&c);
    out->qualified_signer = take_2b(&c, 2 + DIGEST_MAX);
    out->extra_data = take_2b(&c, 2 + DIGEST_MAX);
    out->clock = cursor_u64be(&c);
    out->reset_count = cursor_u32be(&c);
    out->restart_count = cursor_u32be(&c);
    uint8_t safe = cursor_u8(&c);
    out->safe = safe == 1;
    out->firmware_version = cursor_u64be(&c);
    if (c.bad)
        return "the TPMS_ATTEST is truncated";
    if (safe > 1)
        return "clockInfo.safe is neither YES nor NO";
    if (out->type != TPM2_ST_ATTEST_QUOTE)
        return NULL; /* another kind of attestation: its body is nothing to us */
    return read_quote_info(&c, out);
}

const char *tpm_parse_signature(struct bytes in, struct tpm_signature *out)
{
    *out = (struct tpm_signature){0};
    struct cursor c = cursor_of(in);
    out->alg = cursor_u16be(&c);
    out->hash = cursor_u16be(&c);
    if (c.bad)
        return "the TPMT_SIGNATURE is truncated";
    switch (out->alg) {
    case TPM2_ALG_RSASSA:
    case TPM2_ALG_RSAPSS:
        out->rsa = take_2b(&c, RSA_BYTES_MAX);
        break;
    case TPM2_ALG_ECDSA:
        out->r = take_2b(&c, ECC_BYTES_MAX);
        out->s = take_2b(&c, ECC_BYTES_MAX);
        break;
    default:
        return "not a TPMT_SIGNATURE of RSASSA, RSAPSS or ECDSA";
    }
    if (c.bad)
        return "the TPMT_SIGNATURE is truncated";
    if (c.left)
        return "bytes follow the TPMT_SIGNATURE";
    return NULL;
}
