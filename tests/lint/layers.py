#!/usr/bin/python3
"""The direction of the house: every #include "folder/..." must be an edge of this list, foreign
libraries stay in the folder that owns them, every header compiles alone, and no file grows past the
budget. Prints one line a finding; the last line counts the checks."""
import pathlib
import re
import subprocess
import sys
import concurrent.futures

ROOT = pathlib.Path(__file__).resolve().parents[2]

ALLOWED = {
    "core": {"core"},
    "openapi": {"core", "openapi"},
    "attest": {"core", "attest"},
    "arm": {"core", "arm"},
    "db": {"core", "db"},
    "jobs": {"core", "openapi", "attest", "arm", "db", "jobs"},
    "handlers": {"core", "openapi", "attest", "db", "jobs", "handlers"},
    "server": {"core", "openapi", "attest", "arm", "db", "jobs", "handlers", "server"},
    "guest": {"core", "guest"},
    "emulator": {"core", "emulator"},
}
# Single headers that may be included across an edge the list above does not have.
EXCEPTIONS = {("guest", "attest/wire.h")}
# Foreign headers and the only folders or files that may see them.
FOREIGN = {
    r"microhttpd\.h": ("server/http", "emulator/"),
    r"gnutls/.*": ("server/http",),
    r"sqlite3\.h": ("db/sqlite",),
    r"curl/curl\.h": ("arm/", "guest/", "server/trust_http"),
    r"tss2/tss2_(esys|tctildr|tcti).*\.h": ("guest/", "emulator/"),
    r"tss2/tss2_(mu|tpm2_types|common|rc).*\.h": ("attest/", "guest/", "emulator/"),
    r"cbor\.h": ("attest/",),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)
LINES_MAX = 600
GENERATED = {"openapi/schemas.c", "openapi/schemas.h"}


def sources():
    for folder in sorted(ALLOWED):
        yield from sorted((ROOT / folder).rglob("*.[ch]"))


def check_file(path):
    name = path.relative_to(ROOT).as_posix()
    folder = name.split("/")[0]
    text = path.read_text()
    for kind, target in INCLUDE.findall(text):
        if kind == '"':
            owner = target.split("/")[0]
            if "/" not in target:
                yield f'{name}: include "{target}" by its folder'
            elif owner not in ALLOWED[folder] and (folder, target) not in EXCEPTIONS:
                yield f"{name}: {folder} must not include {target}"
        else:
            for pattern, owners in FOREIGN.items():
                if re.fullmatch(pattern, target) and not name.startswith(owners):
                    yield f"{name}: <{target}> belongs to {', '.join(owners)}"
    lines = text.count("\n")
    if lines > LINES_MAX and name not in GENERATED:
        yield f"{name}: {lines} lines, the budget is {LINES_MAX}"


def flags():
    out = subprocess.run(
        ["pkg-config", "--cflags", "jansson", "libcrypto", "tss2-mu", "tss2-esys", "libmicrohttpd"],
        capture_output=True, text=True, check=True).stdout.split()
    return ["-std=gnu17", "-D_GNU_SOURCE", f"-I{ROOT}", "-Wall", "-Wextra", "-Werror",
            "-Wno-unused-parameter", "-include", str(ROOT / "core/banned.h"), *out]


def compile_alone(path, options):
    name = path.relative_to(ROOT).as_posix()
    run = subprocess.run(["gcc", "-fsyntax-only", *options, "-x", "c", "-"],
                         input=f'#include "{name}"\n', capture_output=True, text=True)
    return None if run.returncode == 0 else f"{name} does not compile alone:\n{run.stderr}"


def main():
    findings = []
    files = list(sources())
    for path in files:
        findings += list(check_file(path))
    headers = [p for p in files if p.suffix == ".h"]
    options = flags()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        findings += [f for f in pool.map(lambda p: compile_alone(p, options), headers) if f]
    for finding in findings:
        print(finding)
    print(f"layers: {len(files)} files, {len(headers)} headers, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
