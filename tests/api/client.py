"""An HTTPS client for the gateway that holds every answer against the contract."""
import http.client
import json
import ssl
import time
import urllib.parse

from contract import Contract

CONTRACT = Contract()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json.get("code")

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Api:
    """One keep-alive connection. `key` None sends no credential."""

    def __init__(self, url, ca, key=None):
        self.url, self.ca, self.key = url, ca, key
        self.parts = urllib.parse.urlsplit(url)
        self.context = ssl.create_default_context(cafile=ca) if self.parts.scheme == "https" else None
        self.connection = None

    def as_key(self, key):
        return Api(self.url, self.ca, key)

    def _connect(self):
        if self.parts.scheme == "https":
            return http.client.HTTPSConnection(self.parts.hostname, self.parts.port, timeout=60,
                                               context=self.context)
        return http.client.HTTPConnection(self.parts.hostname, self.parts.port, timeout=60)

    def _exchange(self, method, target, body, headers):
        for last in (False, True):
            if self.connection is None:
                self.connection = self._connect()
            try:
                self.connection.request(method, target, body=body, headers=headers)
                response = self.connection.getresponse()
                return response, response.read()
            except (OSError, http.client.HTTPException) as e:
                self.connection.close()
                self.connection = None
                # A kept connection may have been closed meanwhile; anything else is news.
                gone = isinstance(e, (http.client.RemoteDisconnected, ConnectionResetError,
                                      BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError))
                if last or not gone:
                    raise

    def request(self, method, target, body=None, headers=None, check=True):
        """body: bytes as they are, anything else as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        response, data = self._exchange(method, target, body, headers)
        if response.will_close:
            self.connection.close()
            self.connection = None
        answer = Answer(response.status, response.getheaders(), data)
        if check:
            CONTRACT.check(method, target, answer.status, answer.headers, answer.body)
        return answer

    def get(self, target, **more):
        return self.request("GET", target, **more)

    def put(self, target, body, **more):
        return self.request("PUT", target, body, **more)

    def post(self, target, body=None, **more):
        return self.request("POST", target, body, **more)

    def delete(self, target, **more):
        return self.request("DELETE", target, **more)

    def wait_job(self, job_id, states=("succeeded", "failed", "canceled"), seconds=60):
        end = time.monotonic() + seconds
        while True:
            job = self.get(f"/v1/jobs/{job_id}").json
            if job["state"] in states:
                return job
            assert time.monotonic() < end, f"job still {job['state']}: {json.dumps(job)}"
            time.sleep(0.05)
