"""Looks for secrets in bytes: the secret itself and what it looks like after the usual encodings."""
import base64
import json
import urllib.parse


def _base64s(raw):
    """As it stands in base64 text, wherever in the encoded bytes it began."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        # The characters at both ends hold bits of what is beside it.
        core = text[(0, 2, 3)[before]:].rstrip(b"=")[:-1]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


def spellings(secret):
    raw = secret.encode()
    yield raw
    yield from _base64s(raw)
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield raw.decode().encode("utf-16-le")
    yield urllib.parse.quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()


def token_spellings(token):
    """Of a token that is base64url itself: also the bytes it stands for."""
    yield from spellings(token)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    yield raw
    yield raw.hex().encode()


def needles_of(secrets, tokens=()):
    """{bytes to look for: the secret}"""
    return {**{text: secret for secret in secrets for text in spellings(secret)},
            **{text: token for token in tokens for text in token_spellings(token)}}


def assert_absent(needles, name, data):
    for text, secret in needles.items():
        assert text not in data, f"{name} holds a secret ({secret[:6]}...)"
