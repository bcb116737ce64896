"""HTTP as an attacker, a broken client or a stopping server sees it: request heads that two readers
could take differently, slow senders, TLS versions, SIGTERM. Against the running program, by raw
sockets; each row is a shape libmicrohttpd alone would let pass or answer in its own way."""
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time

import pytest

import raw
import stack
import tls

HOST = b"Host: localhost\r\n"


class Bare:
    """A gateway without an Azure: nothing here calls ARM."""

    def __init__(self, folder, plain=False, **env):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = tls.make_ca(self.folder)
        options = {
            "TLGATE_DATA_DIR": str(self.folder / "data"),
            "TLGATE_SERVER_LISTEN": "127.0.0.1:0",
            "TLGATE_ARM_ENDPOINT": "https://127.0.0.1:1", "TLGATE_ARM_AUTHORITY": "https://127.0.0.1:1",
            "TLGATE_ARM_TENANT_ID": "t", "TLGATE_ARM_CLIENT_ID": "c", "TLGATE_ARM_CLIENT_SECRET": "s",
        }
        if not plain:
            options["TLGATE_SERVER_TLS_CERT"] = str(self.folder / "gateway.pem")
            options["TLGATE_SERVER_TLS_KEY"] = str(self.folder / "gateway.key")
        self.env = stack.clean_env(**{**options, **env})
        self.program = stack.Program(self.folder, "tlgate", ["serve"], self.env)
        self.url = self.program.wait_line(r"^(https?://|unix:)\S+")

    def command(self, *arguments):
        return subprocess.run([stack.BIN / "tlgate", *arguments], capture_output=True, text=True,
                              env=self.env, timeout=60)

    def key(self, role="admin", scope="/"):
        run = self.command("key", "create", "--name", "n", "--role", role, "--scope", scope)
        assert run.returncode == 0, run
        return run.stdout.strip()

    def connect(self, timeout=10):
        host, port = self.url.split("//")[1].rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=timeout)
        if self.url.startswith("https"):
            context = ssl.create_default_context(cafile=self.ca)
            sock = context.wrap_socket(sock, server_hostname=host)
        return sock

    def log(self):
        return self.program.log_path.read_text()

    def close(self):
        status = self.program.stop()
        assert status == 0, self.log()[-4000:]


@pytest.fixture(scope="module")
def bare(folder):
    running = Bare(folder / "bare")
    yield running
    running.close()


@pytest.fixture(scope="module")
def hasty(folder):
    """Deadlines of a second, so that the tests need not wait for ten."""
    running = Bare(folder / "hasty", TLGATE_SERVER_HEADER_TIMEOUT="1s",
                   TLGATE_SERVER_IDLE_TIMEOUT="2s", TLGATE_SERVER_BODY_GRACE="1s",
                   TLGATE_SERVER_CONNECTIONS_PER_ADDRESS="20")
    yield running
    running.close()


def healthy(gateway):
    status, headers, _ = raw.exchange(gateway, b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    return status == 200


def problem_of(answer):
    assert answer is not None, "closed without an answer"
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json", answer
    problem = json.loads(body)
    assert problem["status"] == status and problem["type"] == "/problems/" + problem["code"]
    assert headers["x-request-id"] == problem["requestId"]
    return status, problem["code"], headers


# --- heads --------------------------------------------------------------------------------------

GET = b"GET /livez HTTP/1.1\r\n"
POST = b"POST /v1/attestation/challenges HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
BAD = (400, "bad_request")
HEADS = [
    # RFC 9112 section 2.2, 3: the request line
    ("a bare LF ends every line", b"GET /livez HTTP/1.1\nHost: localhost\n\n", BAD),
    ("a bare LF ends the request line", b"GET /livez HTTP/1.1\n" + HOST + b"\r\n", BAD),
    ("a bare CR in the request line", b"GET /livez\r HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a NUL in the target", b"GET /livez\0x HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a blank in the target", b"GET /livez x HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("two blanks after the method", b"GET  /livez HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a tab after the method", b"GET\t/livez HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a method that is no token", b"G(T /livez HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("no version", b"GET /livez\r\n\r\n", BAD),
    ("an 8-bit target", b"GET /liv\xe9z HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a target that is no path", b"GET livez HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a fragment", b"GET /livez#x HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("a backslash", b"GET /a\\b HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    ("overlong UTF-8 in the target", b"GET /%c0%af HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    # section 3.2: Host
    ("no Host", GET + b"\r\n", BAD),
    ("an empty Host", GET + b"Host: \r\n\r\n", BAD),
    ("two Hosts", GET + HOST + HOST + b"\r\n", BAD),
    ("a Host with a path", GET + b"Host: a/b\r\n\r\n", BAD),
    ("a Host with a user", GET + b"Host: u@a\r\n\r\n", BAD),
    # section 5: fields
    ("a bare LF ends a field", GET + HOST + b"X-A: b\nX-C: d\r\n\r\n", BAD),
    ("a bare CR in a value", GET + HOST + b"X-A: b\rX-C: d\r\n\r\n", BAD),
    ("a NUL in a value", GET + HOST + b"X-A: b\0c\r\n\r\n", BAD),
    ("a NUL in a name", GET + HOST + b"X\0A: b\r\n\r\n", BAD),
    ("a control byte in a value", GET + HOST + b"X-A: b\x01c\r\n\r\n", BAD),
    ("DEL in a value", GET + HOST + b"X-A: b\x7fc\r\n\r\n", BAD),
    ("a folded line", GET + HOST + b"X-A: b\r\n c\r\n\r\n", BAD),
    ("a line folded by a tab", GET + HOST + b"X-A: b\r\n\tc\r\n\r\n", BAD),
    ("a first line that is folded", GET + b" X-A: b\r\n" + HOST + b"\r\n", BAD),
    ("a blank before the colon", GET + HOST + b"X-A : b\r\n\r\n", BAD),
    ("an empty name", GET + HOST + b": b\r\n\r\n", BAD),
    ("a name that is no token", GET + HOST + b"X(A): b\r\n\r\n", BAD),
    ("no colon", GET + HOST + b"X-A\r\n\r\n", BAD),
    ("two Authorizations", GET + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n", BAD),
    ("two Content-Types", POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", BAD),
    # section 6: the body's length has one answer
    ("two Content-Lengths", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", BAD),
    ("different Content-Lengths", POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", BAD),
    ("a list of Content-Lengths", POST + b"Content-Length: 2, 2\r\n\r\n{}", BAD),
    ("a signed Content-Length", POST + b"Content-Length: +2\r\n\r\n{}", BAD),
    ("a negative Content-Length", POST + b"Content-Length: -2\r\n\r\n{}", BAD),
    ("a hexadecimal Content-Length", POST + b"Content-Length: 0x2\r\n\r\n{}", BAD),
    ("an empty Content-Length", POST + b"Content-Length:\r\n\r\n", BAD),
    ("both lengths", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("both, the other way", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
     BAD),
    ("chunked twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     BAD),
    ("chunked, chunked", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BAD),
    ("an unknown coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", BAD),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BAD),
    ("identity", POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", BAD),
    ("chunked hidden by a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", BAD),
    ("chunked in HTTP/1.0", POST.replace(b"/1.1", b"/1.0") +
     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("a chunk size that is none", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
     BAD),
    ("a body where none goes", b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", BAD),
    # sizes
    ("a target of 8,193 bytes", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
     (414, "uri_too_long")),
    ("a target beyond the parser", b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
     (414, "uri_too_long")),
    ("fields of 33 KiB", GET + HOST + b"X-A: " + b"a" * 33000 + b"\r\n\r\n", (431, "headers_too_large")),
    ("fields beyond the parser", GET + HOST + b"X-A: " + b"a" * 200000 + b"\r\n\r\n",
     (431, "headers_too_large")),
    ("65 fields", GET + HOST + b"".join(b"X-%d: a\r\n" % i for i in range(64)) + b"\r\n",
     (431, "headers_too_large")),
    ("a Content-Length beyond all", POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
     (413, "body_too_large")),
    ("a Content-Length beyond the limit", POST + b"Content-Length: 1000000000\r\n\r\n",
     (413, "body_too_large")),
]


@pytest.mark.parametrize("name, data, expected", HEADS, ids=[h[0] for h in HEADS])
def test_a_head_that_two_readers_could_take_differently(bare, name, data, expected):
    # What follows must never be taken for a request of its own.
    hidden = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"
    before = bare.log().count('"operation":"get_metrics"')
    status, code, headers = problem_of(raw.exchange(bare, data + hidden))
    assert (status, code) == expected
    assert headers.get("connection", "").lower() == "close"
    assert bare.log().count('"operation":"get_metrics"') == before
    assert healthy(bare)


FINE = [
    ("blanks around a value", GET + b"Host:  \t localhost \t \r\n\r\n"),
    ("no blank before a value", GET + b"Host:localhost\r\n\r\n"),
    ("an empty value", GET + HOST + b"X-A:\r\n\r\n"),
    ("an 8-bit value", GET + HOST + b"X-A: \xe9\r\n\r\n"),
    ("an empty line before the request", b"\r\n" + GET + HOST + b"\r\n"),
    ("the absolute form", b"GET http://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("HTTP/1.0 without Host", b"GET /livez HTTP/1.0\r\n\r\n"),
    ("an escaped letter", b"GET /%6Civez HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a target of 8 KiB", None),
    ("64 fields", GET + HOST + b"".join(b"X-%d: a\r\n" % i for i in range(63)) + b"\r\n"),
]


@pytest.mark.parametrize("name, data", FINE, ids=[f[0] for f in FINE])
def test_what_the_standard_allows_is_served(bare, name, data):
    if data is None:
        data = b"GET /v1/jobs?cursor=" + b"A" * 8172 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        assert problem_of(raw.exchange(bare, data))[0] == 401
        return
    answer = raw.exchange(bare, data)
    assert answer and answer[0] == 200, answer


def test_two_requests_on_one_connection(bare):
    with bare.connect() as sock:
        for _ in range(2):
            sock.sendall(GET + HOST + b"\r\n")
            assert raw.read_answer(sock)[0] == 200


def test_chunked_and_expect_100(bare):
    body = b'{"vmId":"01234567-89ab-4cde-8f01-23456789abcd"}'
    chunked = b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\nX-Trailer: a\r\n\r\n"
    answer = raw.exchange(bare, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
    assert answer[0] == 201, answer
    with bare.connect() as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert raw.read_answer(sock)[0] == 201
    # Refused before a byte of the body was asked for.
    with bare.connect() as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
        assert raw.read_answer(sock)[0] == 413


def test_a_long_chunked_body_is_refused_and_not_kept(bare):
    def resident():
        status = pathlib.Path(f"/proc/{bare.program.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    before = resident()
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = raw.exchange(bare, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 100 +
                          b"0\r\n\r\n", timeout=30)
    assert problem_of(answer)[:2] == (413, "body_too_large")
    if "libasan" not in pathlib.Path(f"/proc/{bare.program.pid}/maps").read_text():
        assert resident() - before < 4096  # the sanitizer keeps what was freed
    assert healthy(bare)


def test_a_client_that_sends_before_it_reads_sees_the_refusal(bare):
    """Refused by the head alone, yet the body is read to its end, and the connection stays."""
    body = b"x" * 300000
    with bare.connect(timeout=30) as sock:
        for head, expected in ((POST, 413), (b"POST /v1/nothing HTTP/1.1\r\n" + HOST, 404),
                               (b"POST /livez HTTP/1.1\r\n" + HOST, 405)):
            sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert problem_of(raw.read_answer(sock))[0] == expected
        sock.sendall(GET + HOST + b"\r\n")
        assert raw.read_answer(sock)[0] == 200


def test_options_answers_what_is_allowed(bare):
    """RFC 9110 9.3.7: no error, no credential, no body, and the connection stays."""
    with bare.connect() as sock:
        for path, allow in ((b"/livez", "GET, HEAD, OPTIONS"), (b"/v1/jobs", "GET, HEAD, OPTIONS"),
                            (b"/v1/attestation/reports", "POST, OPTIONS"),
                            (b"/v1/attestation/policies/a", "GET, HEAD, PUT, DELETE, OPTIONS")):
            for more in (b"", b"Access-Control-Request-Method: GET\r\n"):
                sock.sendall(b"OPTIONS " + path + b" HTTP/1.1\r\n" + HOST + more + b"\r\n")
                status, headers, _ = raw.read_answer(sock, True)
                assert status == 204 and sorted(headers["allow"].split(", ")) == sorted(allow.split(", "))
                assert "content-length" not in headers and "content-type" not in headers  # RFC 9110 8.6
        sock.sendall(b"OPTIONS /v1/nothing HTTP/1.1\r\n" + HOST + b"\r\n")
        assert raw.read_answer(sock)[0] == 404


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "BREW"])
def test_other_methods_are_told_what_is_allowed(bare, method):
    connection = http.client.HTTPSConnection(
        "127.0.0.1", int(bare.url.rsplit(":", 1)[1]),
        context=ssl.create_default_context(cafile=bare.ca))
    connection.request(method, "/livez")
    answer = connection.getresponse()
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.read())["code"] == "method_not_allowed"


def test_head_answers_what_get_would_without_its_body(bare):
    """RFC 9110 9.3.2, over one connection: a body that came all the same would be read as the next
    reply."""
    key = f"Authorization: Bearer {bare.key()}\r\n".encode()
    with bare.connect() as sock:
        def ask(method, path, headers=b"", bodyless=False):
            sock.sendall(method + b" " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n")
            return raw.read_answer(sock, bodyless)
        for path in (b"/livez", b"/openapi.json", b"/v1/bootIntegrity"):
            _, head, _ = ask(b"HEAD", path, key, bodyless=True)
            status, get, body = ask(b"GET", path, key)
            assert status == 200 and int(head["content-length"]) == len(body)
            changing = ("x-request-id", "traceparent", "date")
            assert ({k: v for k, v in head.items() if k not in changing} ==
                    {k: v for k, v in get.items() if k not in changing})
        if_none_match = b"If-None-Match: " + head["etag"].encode() + b"\r\n"
        assert ask(b"HEAD", path, key + if_none_match, bodyless=True)[0] == 304
        assert ask(b"GET", b"/livez")[0] == 200
    refused = raw.exchange(bare, b"HEAD /v1/bootIntegrity HTTP/1.1\r\n" + HOST + b"\r\n", bodyless=True)
    assert refused[0] == 401 and refused[2] == b""
    refused = raw.exchange(bare, b"HEAD /v1/attestation/reports HTTP/1.1\r\n" + HOST + b"\r\n",
                           bodyless=True)
    assert refused[0] == 405 and refused[1]["allow"] == "POST, OPTIONS"


def test_every_reply_carries_the_protecting_fields(bare):
    for data in (GET + HOST + b"\r\n", b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /\r\n\r\n"):
        _, headers, _ = raw.exchange(bare, data)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["strict-transport-security"].startswith("max-age=")
        assert "no-store" in headers["cache-control"]
        assert headers["x-request-id"]


# --- tracing and logs -----------------------------------------------------------------------------

TRACE = b"0af7651916cd43dd8448eb211c80319c"
TRACES = [
    (b"00-" + TRACE + b"-b7ad6b7169203331-01", True),
    (b"cc-" + TRACE + b"-b7ad6b7169203331-01-what-the-future-will-be-like", True),
    (b"00-" + TRACE + b"-b7ad6b7169203331-01-more", False),
    (b"ff-" + TRACE + b"-b7ad6b7169203331-01", False),
    (b"00-" + TRACE.upper() + b"-b7ad6b7169203331-01", False),
    (b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", False),
    (b"00-" + TRACE + b"-0000000000000000-01", False),
    (b"00-" + TRACE + b"-b7ad6b7169203331", False),
    (b"", False),
]


@pytest.mark.parametrize("value, taken", TRACES)
def test_the_callers_trace_is_continued(bare, value, taken):
    _, headers, _ = raw.exchange(bare, GET + HOST + b"traceparent: " + value + b"\r\n\r\n")
    version, trace, span, flags = headers["traceparent"].split("-")
    assert version == "00" and len(trace) == 32 and len(span) == 16
    assert (trace.encode() == TRACE) == taken and span != "b7ad6b7169203331"


def test_request_ids_are_taken_or_made(bare):
    for value, taken in ((b"order-17", True), (b"a b", False), (b'"x"', False), (b"a" * 65, False)):
        _, headers, _ = raw.exchange(bare, GET + HOST + b"X-Request-Id: " + value + b"\r\n\r\n")
        assert (headers["x-request-id"].encode() == value) == taken


def test_a_reply_that_is_used_again_has_the_ids_of_its_request(bare):
    key = b"Authorization: Bearer " + bare.key("reader").encode() + b"\r\n"
    seen = set()
    with bare.connect() as sock:
        def ask(path, head=b""):
            sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + key + head + b"\r\n")
            status, headers, body = raw.read_answer(sock)
            assert headers["x-request-id"] not in seen and headers["traceparent"] not in seen
            seen.update((headers["x-request-id"], headers["traceparent"]))
            same = {k: v for k, v in headers.items() if k not in ("x-request-id", "traceparent", "date")}
            return status, same, body

        first = ask(b"/v1/bootIntegrity")
        assert first[0] == 200 and first[2] == b'{"value":[]}'
        etag = b"If-None-Match: " + first[1]["etag"].encode() + b"\r\n"
        fresh = ask(b"/v1/bootIntegrity", etag)
        assert fresh[0] == 304 and not fresh[2] and fresh[1]["etag"] == first[1]["etag"]
        other = ask(b"/v1/bootIntegrity/summary")
        assert other[0] == 200 and b"total" in other[2] and other[1]["etag"] != first[1]["etag"]
        for path, head, answer in ((b"/v1/bootIntegrity", b"", first),
                                   (b"/v1/bootIntegrity", etag, fresh),
                                   (b"/v1/bootIntegrity/summary", b"", other)):
            for _ in range(3):
                assert ask(path, head) == answer
            own = b"caller-" + str(len(seen)).encode()
            sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + key + head +
                         b"X-Request-Id: " + own + b"\r\n\r\n")
            status, headers, body = raw.read_answer(sock)
            assert (status, body, headers["x-request-id"].encode()) == (answer[0], answer[2], own)


def test_the_log_is_json_lines_without_secrets(bare):
    key = bare.key("reader")
    secret = key.split(".")[1]
    raw.exchange(bare, b"GET /v1/jobs?cursor=canary-in-a-query HTTP/1.1\r\n" + HOST +
                 b"Authorization: Bearer " + key.encode() + b"\r\n\r\n")
    raw.exchange(bare, b"GET /%22%7B/canary-in-a-path HTTP/1.1\r\n" + HOST + b"\r\n")
    time.sleep(0.2)
    text = bare.log()
    for line in text.splitlines():
        assert {"ts", "level", "msg"} <= set(json.loads(line))
    assert "canary-in-a-path" in text and "canary-in-a-query" not in text and secret not in text


def test_metrics_count_by_route_and_need_a_credential(bare):
    assert raw.exchange(bare, b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n")[0] == 401
    head = b"Authorization: Bearer " + bare.key("reader").encode() + b"\r\n\r\n"
    raw.exchange(bare, b"GET /v1/jobs/01234567-89ab-7cde-8f01-23456789abcd HTTP/1.1\r\n" + HOST + head)
    _, headers, body = raw.exchange(bare, b"GET /metrics HTTP/1.1\r\n" + HOST + head)
    text = body.decode()
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'route="/v1/jobs/{id}",status="404"' in text and "01234567-89ab" not in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0, line


# --- time -----------------------------------------------------------------------------------------

def closed_after(sock, send=None, every=0.2, limit=10):
    """Seconds until the peer closes; `send` is dripped meanwhile."""
    start = time.monotonic()
    sock.settimeout(every)
    while time.monotonic() - start < limit:
        try:
            if send:
                sock.sendall(send)
            if sock.recv(4096) == b"":
                return time.monotonic() - start
        except (socket.timeout, ssl.SSLWantReadError):
            continue
        except (ConnectionError, ssl.SSLError):
            return time.monotonic() - start
    return None


def test_a_trickled_head_ends_at_its_deadline(hasty):
    with hasty.connect() as sock:
        sock.sendall(GET + HOST + b"X-A: ")
        after = closed_after(sock, b"a")
        assert after is not None and 0.5 < after < 3, after
    assert healthy(hasty)


def test_a_handshake_that_never_ends(hasty):
    host, port = hasty.url.split("//")[1].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as sock:
        after = closed_after(sock)
        assert after is not None and 0.5 < after < 3, after


def test_a_trickled_body_ends(hasty):
    with hasty.connect() as sock:
        sock.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        after = closed_after(sock, b"a")
        assert after is not None and 0.8 < after < 4, after
    assert healthy(hasty)


def test_a_slow_but_steady_body_is_served(hasty):
    body = b" " * 800 + b'{"vmId":"01234567-89ab-4cde-8f01-23456789abcd"}'
    with hasty.connect() as sock:
        sock.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        for part in (body[:400], body[400:]):
            time.sleep(0.4)
            sock.sendall(part)
        assert raw.read_answer(sock)[0] == 201


def test_an_idle_connection_is_closed(hasty):
    with hasty.connect() as sock:
        sock.sendall(GET + HOST + b"\r\n")
        assert raw.read_answer(sock)[0] == 200
        after = closed_after(sock)
        assert after is not None and 1.5 < after < 5, after


def test_one_address_cannot_take_all_connections(hasty):
    open_ones, refused = [], 0
    for _ in range(30):
        try:
            open_ones.append(hasty.connect(timeout=0.5))
        except (OSError, ssl.SSLError):
            refused += 1
    assert refused >= 5 and len(open_ones) <= 20
    for sock in open_ones:
        sock.close()
    time.sleep(0.5)
    assert healthy(hasty)


# --- TLS ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version, accepted", [("tls1", False), ("tls1_1", False), ("tls1_2", True),
                                               ("tls1_3", True)])
def test_tls_versions(bare, version, accepted):
    run = subprocess.run(["openssl", "s_client", "-connect", bare.url.split("//")[1], "-" + version,
                          "-cipher", "ALL:@SECLEVEL=0", "-CAfile", bare.ca, "-verify_return_error"],
                         input="", capture_output=True, text=True, timeout=20)
    assert (run.returncode == 0 and "Verify return code: 0 (ok)" in run.stdout) == accepted, run.stdout


def presented(gateway):
    """The certificate that a new connection is shown, with whose key it proves itself."""
    with gateway.connect() as sock:
        return sock.getpeercert(True)


def hang_up(gateway, text):
    """SIGHUP, and wait for one more line of the log with this text."""
    before, end = gateway.log().count(text), time.monotonic() + 10
    os.kill(gateway.program.pid, signal.SIGHUP)
    while gateway.log().count(text) == before:
        assert time.monotonic() < end, text
        time.sleep(0.02)


def test_a_renewed_certificate_counts_after_a_hangup(folder):
    gateway = Bare(folder / "renewed")
    file = gateway.folder / "gateway.pem"
    try:
        old, was = gateway.connect(), presented(gateway)
        for _ in range(3):
            former = file.read_bytes()
            tls.make_ca(gateway.folder)
            new = file.read_bytes()
            file.write_bytes(former)  # as if the key were there before its certificate
            hang_up(gateway, "certificate was not read again")
            file.write_bytes(new)
            hang_up(gateway, "certificate is another one now")
            assert presented(gateway) != was
            was = presented(gateway)
        old.sendall(GET + HOST + b"\r\n")  # what is open goes on
        assert raw.read_answer(old)[0] == 200 and healthy(gateway)
    finally:
        gateway.close()


def test_plain_http_stays_on_this_machine(folder):
    with_port = Bare(folder / "plain", plain=True)
    assert with_port.url.startswith("http://127.0.0.1:")
    status, headers, _ = raw.exchange(with_port, GET + HOST + b"\r\n")
    assert status == 200 and "strict-transport-security" not in headers
    with_port.close()
    for listen in ("0.0.0.0:0", "[::]:0"):
        with pytest.raises(AssertionError, match="plain HTTP is served on loopback"):
            Bare(folder / "open", plain=True, TLGATE_SERVER_LISTEN=listen)


def test_a_unix_socket(folder):
    path = folder / "u.sock"
    gateway = Bare(folder / "unix", plain=True, TLGATE_SERVER_LISTEN=f"unix:{path}",
                   TLGATE_SERVER_PUBLIC_URL="https://gateway.example")
    assert gateway.url == f"unix:{path}" and stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(GET + HOST + b"\r\n")
        assert raw.read_answer(sock)[0] == 200
    gateway.close()
    assert not path.exists()


# --- the process ----------------------------------------------------------------------------------

def test_no_core_and_not_dumpable(folder):
    """The kernel gives the /proc files of a process that is not dumpable to root, whoever runs it: so
    it has to be somebody else."""
    home = folder / "nobody"
    home.mkdir()
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        folder.chmod(0o711)
        os.chown(home, 65534, 65534)
        if subprocess.run([*prefix, stack.BIN / "tlgate", "version"], capture_output=True).returncode:
            pytest.skip("another user may not run the binary where it is")
    env = stack.clean_env(TLGATE_DATA_DIR=str(home / "data"), TLGATE_SERVER_LISTEN="127.0.0.1:0",
                          ASAN_OPTIONS="detect_leaks=0")
    process = subprocess.Popen([*prefix, stack.BIN / "tlgate", "serve"], stdout=subprocess.PIPE, env=env,
                               cwd=home)
    try:
        assert process.stdout.readline().startswith(b"http://")
        proc = pathlib.Path(f"/proc/{process.pid}")
        assert f"Uid:\t{65534 if prefix else os.geteuid()}\t" in proc.joinpath("status").read_text()
        assert proc.joinpath("environ").stat().st_uid == 0
        core = next(line for line in proc.joinpath("limits").read_text().splitlines()
                    if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"], core
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_files_are_private(bare):
    data = bare.folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in data.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_control_socket_speaks_json_lines(bare):
    def ask(line):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(bare.folder / "data/control.sock"))
            sock.sendall(line)
            return json.loads(sock.makefile("rb").readline())

    assert ask(b'{"command":"migrate"}\n')["ok"] is True
    for bad in (b"\n", b"hello\n", b"{}\n", b'{"command":"fly"}\n', b'{"command":"key.list","x":1}\n',
                b'{"command":"backup","file":"relative"}\n',
                b'{"command":"key.create","name":"n","role":"king","scope":"/"}\n',
                b'{"command":"key.create","name":"n","role":"admin","scope":"/x"}\n'):
        answer = ask(bad)
        assert answer["ok"] is False and answer["code"] and answer["detail"], (bad, answer)


def test_keys_through_the_command_line(bare, folder):
    key = bare.key("reader", f"/subscriptions/{stack.SUBSCRIPTION}")
    key_id = key.removeprefix("tlg_").split(".")[0]
    listed = bare.command("key", "list").stdout
    assert key_id in listed and key.split(".")[1] not in listed
    bearer = b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
    request = b"GET /v1/jobs HTTP/1.1\r\n" + HOST + bearer
    assert raw.exchange(bare, request)[0] == 200
    assert bare.command("key", "revoke", key_id).returncode == 0
    assert raw.exchange(bare, request)[0] == 401
    assert bare.command("key", "revoke", "0" * 16).returncode == 1
    for wrong in (["key"], ["key", "create", "--name", "x"], ["key", "fly"], ["key", "revoke"],
                  ["key", "list", "--colour", "red"], ["serve", "extra"], ["backup"], ["fly"], []):
        assert bare.command(*wrong).returncode == 2, wrong
    copy = folder / "copy.db"
    assert bare.command("backup", str(copy)).returncode == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert bare.command("backup", "/nonexistent/x.db").returncode == 1


def test_commands_open_the_database_where_no_server_runs(folder):
    gateway = Bare(folder / "offline")
    key = gateway.key()
    gateway.close()
    assert key.removeprefix("tlg_").split(".")[0] in gateway.command("key", "list").stdout
    assert gateway.command("migrate").stdout.startswith("schema ")
    assert gateway.command("backup", str(folder / "offline.db")).returncode == 0


def test_a_second_server_is_refused(bare):
    run = bare.command("serve")
    assert run.returncode == 1 and run.stdout == "", run


def test_check_config(bare, tmp_path):
    good = bare.command("check-config")
    assert good.returncode == 0 and "client_secret = ***" in good.stdout, good
    bad = tmp_path / "bad.ini"
    bad.write_text("[server]\nlisten = x\ncolour = red\n[attestation]\nmax_age = often\n")
    run = bare.command("check-config", "--config", str(bad))
    assert run.returncode == 1
    assert "colour" in run.stderr and "attestation.max_age" in run.stderr


@pytest.mark.parametrize("env, why", [
    ({"TLGATE_SERVER_LISTEN": "127.0.0.1:99999"}, "cannot listen"),
    ({"TLGATE_SERVER_LISTEN": "0.0.0.0:0", "TLGATE_SERVER_TLS_CERT": "",
      "TLGATE_SERVER_TLS_KEY": ""}, "plain HTTP"),
    ({"TLGATE_SERVER_LISTEN": "unix:/run/" + "x" * 120, "TLGATE_SERVER_PUBLIC_URL": "https://x"},
     "too long"),
    ({"TLGATE_SERVER_LISTEN": "unix:/run/tlgate.sock"}, "public_url"),
    ({"TLGATE_SERVER_TLS_CERT": "/nonexistent"}, "cannot read"),
    ({"TLGATE_SERVER_TLS_KEY": __file__}, "no certificate and key"),
    ({"TLGATE_ATTESTATION_TRUST_ANCHOR": "/nonexistent"}, "/nonexistent"),
])
def test_check_config_refuses_what_serve_would(bare, env, why):
    run = subprocess.run([stack.BIN / "tlgate", "check-config"], capture_output=True, text=True,
                         env={**bare.env, **env}, timeout=60)
    assert run.returncode == 1 and run.stdout == "" and why in run.stderr, run


STARTS = [
    ("a port beyond all", {"TLGATE_SERVER_LISTEN": "127.0.0.1:99999"}, "cannot listen"),
    ("no port", {"TLGATE_SERVER_LISTEN": "127.0.0.1"}, "cannot listen"),
    ("a port that is none", {"TLGATE_SERVER_LISTEN": "127.0.0.1:x"}, "cannot listen"),
    ("a host that is none", {"TLGATE_SERVER_LISTEN": "localhost.invalid:0"}, "cannot listen"),
    ("a certificate that is not there", {"TLGATE_SERVER_TLS_CERT": "/nonexistent"}, "cannot read"),
    ("another's key", {"TLGATE_SERVER_TLS_KEY": "other.key"}, "no certificate and key"),
    ("a key without its certificate", {"TLGATE_SERVER_TLS_CERT": ""}, "belong together"),
    ("an ARM that is no URL", {"TLGATE_ARM_ENDPOINT": "ftp://x"}, ""),
    ("an anchor that is not there", {"TLGATE_ATTESTATION_TRUST_ANCHOR": "/nonexistent"}, ""),
    ("a data_dir that cannot be made", {"TLGATE_DATA_DIR": "/proc/nothing/here"}, "cannot make"),
    ("a keyring that others can read", {"TLGATE_KEYRING_FILE": "open.keyring"}, "open to others"),
]


@pytest.mark.parametrize("name, env, why", STARTS, ids=[s[0] for s in STARTS])
def test_a_start_that_fails_says_why_and_leaves_nothing(folder, name, env, why):
    home = folder / "starts"
    home.mkdir(exist_ok=True)
    subprocess.run(["openssl", "genrsa", "-out", home / "other.key", "2048"], check=True,
                   capture_output=True)
    (home / "open.keyring").write_text("x")
    (home / "open.keyring").chmod(0o644)
    with pytest.raises(AssertionError) as failed:
        Bare(home, **env)
    text = str(failed.value)
    assert "tlgate: " in text and why in text and "Sanitizer" not in text, text
    assert not (home / "data/control.sock").exists()


# --- the end --------------------------------------------------------------------------------------

def test_sigterm_finishes_what_is_under_way(folder):
    gateway = Bare(folder / "drain", TLGATE_SERVER_DRAIN_DELAY="1s")
    body = b'{"vmId":"01234567-89ab-4cde-8f01-23456789abcd"}'
    idle, busy = gateway.connect(), gateway.connect()
    busy.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
    time.sleep(0.2)
    gateway.program.process.send_signal(signal.SIGTERM)
    time.sleep(0.4)
    # Still serving, and says that it will not for long.
    status, _, text = raw.exchange(gateway, b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 503 and json.loads(text)["code"] == "unavailable"
    assert healthy(gateway)
    time.sleep(1.2)
    with pytest.raises(OSError):
        gateway.connect(timeout=1)
    assert gateway.program.process.poll() is None
    busy.sendall(body[10:])
    status, headers, _ = raw.read_answer(busy)
    assert status == 201 and headers["connection"].lower() == "close"
    assert gateway.program.process.wait(10) == 0, gateway.log()
    idle.close()
    assert not (gateway.folder / "data/control.sock").exists()


def test_a_second_sigterm_stops_at_once(folder):
    gateway = Bare(folder / "twice")
    with gateway.connect() as sock:
        sock.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        gateway.program.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert gateway.program.process.poll() is None
        gateway.program.process.send_signal(signal.SIGTERM)
        assert gateway.program.process.wait(5) == 1


def test_systemd_is_told(folder):
    path = str(folder / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(30)
        gateway = Bare(folder / "notify", NOTIFY_SOCKET=path)
        assert sock.recv(100) == b"READY=1"
        gateway.program.process.send_signal(signal.SIGTERM)
        assert sock.recv(100) == b"STOPPING=1"
        assert gateway.program.process.wait(20) == 0


def test_many_clients_at_once(bare):
    """Suspended and ready connections beside each other: none is forgotten."""
    key = bare.key("reader").encode()
    failures = []

    def client(n):
        try:
            with bare.connect(timeout=20) as sock:
                for i in range(20):
                    path = b"/v1/jobs" if (i + n) % 2 else b"/livez"
                    sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " +
                                 key + b"\r\n\r\n")
                    if raw.read_answer(sock)[0] != 200:
                        failures.append("status")
        except OSError as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[:3]
