"""What tlgate-agent meets in the tests: a TPM made with tpm2-tools, a gateway that answers what it is
told to, and a metadata service."""
import base64
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

VM_ID = "33333333-3333-4333-8333-333333333333"
TOKEN = "canary-enrolment-token-7c1f"
AK, NV = "0x81000003", "0x01C101D0"
PADDING = 200


class Tpm:
    """A swtpm with an AK where Azure puts it, if asked for."""

    def __init__(self, with_ak=True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agt-"))
        (self.folder / "state").mkdir()
        socket = self.folder / "sock"
        self.process = subprocess.Popen([
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/state",
            "--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl",
            "--flags", "not-need-init,startup-clear", "--log", f"file={self.folder}/log"])
        self.tcti = f"swtpm:path={socket}"
        end = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < end:
            time.sleep(0.01)
        self.event_log = self.folder / "log.bin"
        self.event_log.write_bytes(os.urandom(5000))
        if with_ak:
            self._make_ak()

    def tool(self, name, *arguments):
        env = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        done = subprocess.run([name, *map(str, arguments)], env=env, check=True,
                              capture_output=True, timeout=30)
        return done.stdout

    def _make_ak(self):
        self.tool("tpm2_createprimary", "-C", "e", "-c", self.folder / "ak.ctx",
                  "-G", "rsa2048:rsassa-sha256:null", "-a",
                  "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign")
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_evictcontrol", "-C", "o", "-c", self.folder / "ak.ctx", AK)
        self.tool("tpm2_flushcontext", "-t")
        self.ak_pem = self.folder / "ak.pem"
        self.tool("tpm2_readpublic", "-c", AK, "-f", "pem", "-o", self.ak_pem)
        self.tool("tpm2_readpublic", "-c", AK, "-f", "tss", "-o", self.folder / "ak.tss")
        self.ak_public = (self.folder / "ak.tss").read_bytes()
        self.certificate = self._certify() + bytes(PADDING)
        (self.folder / "nv").write_bytes(self.certificate)
        self.tool("tpm2_nvdefine", "-C", "o", "-s", len(self.certificate), "-a",
                  "ownerread|ownerwrite|authread|authwrite", NV)
        self.tool("tpm2_nvwrite", "-C", "o", "-i", self.folder / "nv", NV)
        for pcr in range(16):
            self.extend(pcr)

    def _certify(self):
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent test " + "x" * 40)])
        now = datetime.datetime.utcnow()
        public = serialization.load_pem_public_key(self.ak_pem.read_bytes())
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
                .serial_number(7).not_valid_before(now)
                .not_valid_after(now + datetime.timedelta(days=1)))
        # Longer than one NV read (1024 bytes), so that the agent has to read in parts.
        cert = cert.add_extension(x509.UnrecognizedExtension(
            x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x04\x82\x02\x58" + bytes(600)), False)
        der = cert.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        assert len(der) + PADDING > 1024
        return der

    def extend(self, pcr):
        digest = hashlib.sha256(os.urandom(8)).hexdigest()
        self.tool("tpm2_pcrextend", f"{pcr}:sha256={digest}")

    def pcrs(self, indices):
        selection = f"sha256:{','.join(map(str, indices))}"
        self.tool("tpm2_pcrread", selection, "-o", self.folder / "pcrs", "-F", "values")
        raw = (self.folder / "pcrs").read_bytes()
        return {i: raw[32 * n:32 * n + 32] for n, i in enumerate(indices)}

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder)


def problem(status, code, **headers):
    return status, {"type": f"/problems/{code}", "status": status, "code": code}, headers


def verdict(name):
    return 200, {"reportId": "r", "vmId": VM_ID, "verdict": name, "checks": [], "claims": {}}, {}


class Gateway:
    """Answers reports as told, in turn; the last answer stays. Challenges come by themselves."""

    def __init__(self, context, vm_id=VM_ID):
        self.vm_id = vm_id
        self.answers, self.challenge_answers = [verdict("trusted")], []
        self.challenges, self.reports, self.times, self.raw = [], [], [], []
        self.pcrs = [0, 1, 2, 3, 4, 5, 6, 7, 11, 14]
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer, headers = outer.answer(self.path, self.headers, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, headers, body):
        if path == "/v1/attestation/challenges":
            assert headers["Content-Type"] == "application/json"
            assert json.loads(body) == {"vmId": self.vm_id}
            if self.challenge_answers:
                return self.challenge_answers.pop(0)
            challenge = {"challengeId": f"c{len(self.challenges)}", "pcrBank": "sha256",
                         "nonce": base64.b64encode(os.urandom(32)).decode(),
                         "pcrs": self.pcrs, "expiresAt": "2030-01-01T00:00:00Z"}
            self.challenges.append(challenge)
            return 201, challenge, {}
        assert path == "/v1/attestation/reports"
        assert headers["Content-Type"] == "application/cbor"
        self.raw.append(body)
        self.reports.append(cbor2.loads(body))
        self.times.append(time.monotonic())
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def nonce_of(self, report):
        return next(base64.b64decode(c["nonce"]) for c in self.challenges
                    if c["challengeId"] == report["challengeId"])

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def tls_context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
    return context


class Imds:
    def __init__(self, document):
        self.requests = requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                requests.append((self.path, dict(self.headers)))
                data = json.dumps(document).encode()
                self.send_response(200 if self.headers["Metadata"] == "true" else 400)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
