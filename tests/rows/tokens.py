"""Tokens of Azure Attestation and key sets, made in the tests so that every part can be wrong on
purpose. Written down from RFC 7515, 7517 and 7519 and from what the provider's tokens look like; it
shares no code with the verifier."""
import base64
import hashlib
import hmac
import json
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://sharedweu.weu.attest.azure.net"
KID = "kid+with/slashes="
HOURS = 3600


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(n):
    return b64url(n.to_bytes((n.bit_length() + 7) // 8, "big"))


def payload(vm_id, nonce, now=None, issuer=ISSUER):
    """The claims of an honest Trusted Launch token; the nonce in bytes."""
    now = int(now or time.time())
    return {
        "iss": issuer, "iat": now - 10, "nbf": now - 10, "exp": now - 10 + 8 * HOURS,
        "jti": hashlib.sha256(nonce).hexdigest(), "x-ms-ver": "1.0", "secureboot": True,
        "x-ms-attestation-type": "azurevm", "x-ms-azurevm-attestation-protocol-ver": "2.0",
        "x-ms-azurevm-attested-pcrs": [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13],
        "x-ms-azurevm-vmid": vm_id.upper(), "x-ms-azurevm-ostype": "Linux",
        "x-ms-azurevm-osdistro": "Ubuntu", "x-ms-azurevm-is-windows": False,
        "x-ms-azurevm-dbvalidated": True, "x-ms-azurevm-dbxvalidated": True,
        "x-ms-azurevm-debuggersdisabled": True, "x-ms-azurevm-bootdebug-enabled": False,
        "x-ms-azurevm-kerneldebug-enabled": False, "x-ms-azurevm-hypervisordebug-enabled": False,
        "x-ms-azurevm-testsigning-enabled": False, "x-ms-azurevm-flightsigning-enabled": False,
        "x-ms-policy-hash": "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs",
        "x-ms-runtime": {"client-payload": {"nonce": base64.b64encode(nonce).decode()}}}


class Provider:
    """One signing key and what is published of it."""

    def __init__(self, bits=2048, kid=KID, issuer=ISSUER):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.kid, self.issuer = kid, issuer

    def header(self):
        return {"alg": "RS256", "typ": "JWT", "kid": self.kid, "jku": self.issuer + "/certs"}

    def jwk(self):
        n = self.key.public_key().public_numbers()
        return {"kty": "RSA", "kid": self.kid, "n": number(n.n), "e": number(n.e)}

    def x5c(self):
        """A certificate signed by itself, as the provider sends it."""
        import datetime
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "https://attestation")])
        now = datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
                .public_key(self.key.public_key()).serial_number(1).not_valid_before(now)
                .not_valid_after(now + datetime.timedelta(days=1))
                .sign(self.key, hashes.SHA256()))
        return base64.b64encode(cert.public_bytes(serialization.Encoding.DER)).decode()

    def jwks(self):
        return {"keys": [self.jwk()]}

    def sign_texts(self, header, claims, hash_=None):
        text = b64url(header) + "." + b64url(claims)
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hash_ or hashes.SHA256())
        return text + "." + b64url(signature)

    def sign(self, claims, header=None):
        return self.sign_texts(json.dumps(header or self.header()).encode(),
                               json.dumps(claims).encode())

    def hmac_token(self, claims):
        """HS256 with the public key as the secret."""
        secret = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        text = b64url(json.dumps({**self.header(), "alg": "HS256"}).encode()) + "." \
            + b64url(json.dumps(claims).encode())
        return text + "." + b64url(hmac.new(secret, text.encode(), "sha256").digest())
