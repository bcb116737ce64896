"""Where the vectors are, and the two offline commands that are run over them."""
import base64
import json
import os
import pathlib
import re
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("TLGATE_SHARED", ROOT.parent / "shared"))
VECTORS = SHARED / "vectors"
BIN = pathlib.Path(os.environ.get("TLGATE_BIN", ROOT / "build/dev/bin"))

needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}")

TPM_ALG = {"rsassa": 0x0014, "sha256": 0x000B}


def tlgate(*args):
    done = subprocess.run([BIN / "tlgate", *map(str, args)], capture_output=True, text=True,
                          timeout=60)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, done.stderr


def eventlog(path, *more):
    return tlgate("eventlog", path, *more)


def verify(folder, evidence, nonce, *more):
    path = folder / "evidence.json"
    path.write_text(json.dumps(evidence))
    return tlgate("verify", path, "--nonce", nonce, *more)


def failed(result):
    return {(c["name"], c.get("reason")) for c in result["checks"] if c["status"] == "fail"}


def status_of(result, name):
    return {c["status"] for c in result["checks"] if c["name"] == name}


def b64(data):
    return base64.b64encode(data).decode()


def tpmt_rsassa(raw):
    return struct.pack(">HHH", TPM_ALG["rsassa"], TPM_ALG["sha256"], len(raw)) + raw


def pem_to_der(path):
    body = re.search(r"-----BEGIN [^-]+-----(.*?)-----END", path.read_text(), re.S).group(1)
    return base64.b64decode("".join(body.split()))
