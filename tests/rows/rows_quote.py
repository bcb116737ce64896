"""Rows 23 to 41 and 44: quote, AK and its certificate (rows 32, 42 and 43 also in test_rows_gateway.py)."""
import made
from frame import row

MADE = ("made", "made-rsapss", "made-p256", "made-p384")


@row(23, bases=MADE, fails={("quote.magic", "not_generated_by_tpm")})
def bad_magic(e):
    """CVE-2024-29038: signed, but nothing that a TPM generated."""
    e.quote.magic ^= 1


@row(23, bases=MADE, fails={("quote.type", "not_a_quote")})
def certify_type(e):
    e.quote.type = 0x8017
