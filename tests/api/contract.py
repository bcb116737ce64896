"""Holds every HTTP exchange of the tests against openapi/openapi.json.

Contract.check() finds the operation, fails where the status is not declared for it, where the media
type or the body does not match, where a declared required header is missing, and writes what was seen
to build/test-logs/exchanges.jsonl; tests/api/seen.py fails on a declared answer that nobody saw.
"""
import functools
import json
import os
import pathlib
import re
import urllib.parse

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEN = ROOT / "build/test-logs/exchanges.jsonl"


# Answers of the HTTP layer, given before any operation is chosen.
TRANSPORT = {414, 431}


class Mismatch(AssertionError):
    """An answer that the contract does not allow."""


class Contract:
    def __init__(self, path=ROOT / "openapi/openapi.json"):
        self.document = json.loads(path.read_text())
        self.routes = [
            (re.compile(self._pattern(template), re.I), method.upper(), operation)
            for template, item in self.document["paths"].items()
            for method, operation in item.items()
            if method in ("get", "put", "post", "patch", "delete", "head")
        ]
        # The most literal template wins: "/summary" before "/{id}".
        self.routes.sort(key=lambda route: route[0].pattern.count("[^/]"))

    @staticmethod
    def _pattern(template):
        return "^" + re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)) + "$"

    def operation(self, method, target):
        path = urllib.parse.urlsplit(target).path
        for pattern, verb, operation in self.routes:
            if verb == method.upper() and pattern.match(path):
                return operation
        return None

    def declared(self):
        """Every (operationId, status) of the document."""
        return {(operation["operationId"], int(status))
                for _, _, operation in self.routes for status in operation["responses"]}

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    @functools.lru_cache(maxsize=None)
    def _validator(self, schema_json):
        schema = json.loads(schema_json)
        schema["components"] = self.document.get("components", {})
        return jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)

    def check(self, method, target, status, headers, body):
        operation = self.operation(method, target)
        if operation is None or status in TRANSPORT:
            return self._check_unrouted(method, target, status, headers, body)
        name = operation["operationId"]
        response = self.resolve(operation["responses"].get(str(status)))
        self._record(name, status)
        if response is None:
            raise Mismatch(f"{name} answered {status}, which is not declared: {body[:400]!r}")
        lower = {k.lower(): v for k, v in headers}
        for header, spec in response.get("headers", {}).items():
            if self.resolve(spec).get("required") and header.lower() not in lower:
                raise Mismatch(f"{name} {status} lacks the header {header}")
        self._check_body(name, status, response, lower.get("content-type"), body)

    def _check_body(self, name, status, response, content_type, body):
        content = response.get("content")
        if not content:
            if body:
                raise Mismatch(f"{name} {status} has a body and declares none: {body[:200]!r}")
            return
        media = (content_type or "").split(";")[0].strip()
        if media not in content:
            raise Mismatch(f"{name} {status} is {content_type!r}, declared: {sorted(content)}")
        schema = content[media].get("schema")
        if schema is None or "json" not in media:
            return
        value = json.loads(body)
        errors = sorted(self._validator(json.dumps(schema)).iter_errors(value), key=str)
        if errors:
            raise Mismatch(f"{name} {status}: " + "; ".join(
                f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors[:5]))

    def _check_unrouted(self, method, target, status, headers, body):
        """No operation: 404 or 405 (or a refusal of the request itself), always as a problem."""
        media = {k.lower(): v for k, v in headers}.get("content-type", "").split(";")[0]
        if status < 400:
            raise Mismatch(f"{method} {target} is not in the contract and answered {status}")
        if method != "HEAD" and media != "application/problem+json":
            raise Mismatch(f"{method} {target} answered {status} as {media!r}")
        if method != "HEAD":
            self._check_body("(no operation)", status, {"content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
                media, body)

    @staticmethod
    def _record(name, status):
        SEEN.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"operation": name, "status": status}) + "\n"
        fd = os.open(SEEN, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
