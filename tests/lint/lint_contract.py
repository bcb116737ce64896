"""The contract: what the generator must refuse, and what its tables cannot say about the document."""
import copy
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "openapi"))
import generate  # noqa: E402

DOC = generate.load(ROOT / "openapi/openapi.yaml")
PREDICATES = generate.known_predicates()
VM = "/v1/subscriptions/{subscriptionId}/resourceGroups/{resourceGroup}/virtualMachines/{name}"
REMOVE = object()

# what is done to the document, and a word of the complaint
MUTATIONS = [
    ("no operationId", "paths|/v1/jobs|get|operationId", REMOVE, "has no operationId"),
    ("no security", "paths|/v1/jobs|get|security", REMOVE, "has no security"),
    ("no role", "paths|/v1/jobs|get|x-role", REMOVE, "has no x-role"),
    ("no limit", "paths|/v1/jobs|get|x-max-body", REMOVE, "has no x-max-body"),
    ("an unknown role", "paths|/v1/jobs|get|x-role", "root", "x-role"),
    ("open, yet with a role", "paths|/v1/jobs|get|security", [], "disagree"),
    ("secured, yet without a role", "paths|/v1/jobs|get|x-role", "none", "disagree"),
    ("an unknown key", "paths|/v1/jobs|get|x-cache", 1, "unknown key"),
    ("an unknown method", "paths|/v1/jobs|trace", {}, "unknown key"),
    ("a name twice", "paths|/v1/jobs/{id}|get|operationId", "list_jobs", "is taken"),
    ("a name that is none in C", "paths|/v1/jobs|get|operationId", "listJobs", "C name"),
    ("default", "paths|/v1/jobs|get|responses|default", {"description": "x"}, "by its number"),
    ("a range", "paths|/v1/jobs|get|responses|4XX", {"description": "x"}, "by its number"),
    ("no success", "paths|/v1/jobs|get|responses|200", REMOVE, "no 2xx"),
    ("no 401", "paths|/v1/jobs|get|responses|401", REMOVE, "implies 401"),
    ("no 429", "paths|/v1/jobs|get|responses|429", REMOVE, "implies 429"),
    ("no 400", "paths|/livez|get|responses|400", REMOVE, "implies 400"),
    ("no 403", f"paths|{VM}|get|responses|403", REMOVE, "implies 403"),
    ("no 404", f"paths|{VM}|get|responses|404", REMOVE, "implies 404"),
    ("no 304", f"paths|{VM}|get|responses|304", REMOVE, "implies 304"),
    ("no 409", f"paths|{VM}|put|responses|409", REMOVE, "implies 409"),
    ("no 413", f"paths|{VM}|put|responses|413", REMOVE, "implies 413"),
    ("no 415", f"paths|{VM}|put|responses|415", REMOVE, "implies 415"),
    ("no 422", f"paths|{VM}|put|responses|422", REMOVE, "implies 422"),
    ("an error that is no problem", "paths|/livez|get|responses|400",
     {"description": "x", "content": {"text/plain": {"schema": {"type": "string"}}}},
     "problem+json"),
    ("a body without a limit", f"paths|{VM}|put|x-max-body", 0, "disagree"),
    ("a limit without a body", f"paths|{VM}|get|x-max-body", 9, "disagree"),
    ("idempotent without its header", f"paths|{VM}|get|x-idempotent", True, "disagree"),
    ("another media type", f"paths|{VM}|put|requestBody|content|text/xml",
     {"schema": {"type": "string"}}, "not supported"),
    ("a parameter that is not in the path", "paths|/v1/jobs/{other}",
     DOC["paths"]["/v1/jobs/{id}"], "path parameters"),
    ("an unknown schema keyword", "components|schemas|VmSpec|properties|size|multipleOf", 2,
     "unknown keyword"),
    ("an unknown keyword of an object", "components|schemas|VmSpec|patternProperties", {},
     "unknown keyword"),
    ("two types", "components|schemas|VmSpec|properties|createResourceGroup|type",
     ["boolean", "string"], "type"),
    ("a body that may grow", "components|schemas|VmSpec|additionalProperties", REMOVE,
     "additionalProperties"),
    ("an answer that may not grow", "components|schemas|Job|additionalProperties", False,
     "no place there"),
    ("a pattern without a predicate", "components|schemas|VmSize|format", REMOVE, "needs a format"),
    ("a format nobody checks", "components|schemas|VmSize|format", "colour", "match_colour"),
    ("a list without an end", "components|schemas|VmAdmin|properties|sshPublicKeys|maxItems",
     REMOVE, "maxItems"),
    ("a rule of other members", "components|schemas|VmImage|oneOf|0|required", ["nothing"],
     "no property"),
    ("a rule with more than names", "components|schemas|VmNetwork|not|properties", {}, "only hold"),
    ("a default that is not valid", "components|schemas|VmSpec|properties|admin|default", {},
     "default of an object"),
    ("a required member that is none", "components|schemas|VmSpec|required", ["colour"],
     "is no property"),
    ("a word of C", "components|schemas|VmNetwork|properties|default", {"type": "boolean"},
     "word of C"),
    ("a dangling reference", "components|schemas|VmSpec|properties|size|$ref",
     "#/components/schemas/Missing", "does not exist"),
    ("a schema that nobody uses", "components|schemas|Spare", {"type": "object"}, "is not used"),
]


def mutate(path, value):
    doc = copy.deepcopy(DOC)
    at = doc
    *parents, last = path.split("|")
    for part in parents:
        at = at[int(part) if isinstance(at, list) else part]
    if value is REMOVE:
        del at[last]
    else:
        at[last] = value
    return doc


def check_mutation(path, value, word):
    try:
        generate.build(mutate(path, value), PREDICATES)
    except generate.Fault as why:
        return None if word in str(why) else f"complains about something else: {why}"
    return "was not refused"


def schemas(node):
    if isinstance(node, dict):
        if "pattern" in node and node.get("type") == "string":
            yield node
        for sub in node.values():
            yield from schemas(sub)
    elif isinstance(node, list):
        for sub in node:
            yield from schemas(sub)


def check_examples():
    """A pattern of the document must not refuse what the document shows as an example."""
    for schema in schemas(DOC):
        if "format" in schema and not schema.get("examples"):
            yield f"{schema['format']}: has no example"
        for example in schema.get("examples", []):
            if not re.search(schema["pattern"], example):
                yield f"{schema.get('format')}: {example!r} is not of its own pattern"


def check_codes():
    """Each code that a problem response promises exists and has that status."""
    rows = re.findall(r'X\(\w+, (\d+), "([a-z_]+)"', (ROOT / "core/err.h").read_text())
    status_of = {code: status for status, code in rows}
    used = {r["$ref"].rsplit("/", 1)[1]: s for item in DOC["paths"].values()
            for o in item.values() if "responses" in o
            for s, r in o["responses"].items() if "$ref" in r}
    for name, status in used.items():
        if status[0] not in "45":
            continue
        for code in re.split(r",\s*", DOC["components"]["responses"][name]["description"]):
            if status_of.get(code) != status:
                yield f"responses/{name}: {code} is {status_of.get(code)}, not {status}"


def main():
    failures = [f"{what}: {why}" for what, *rest in MUTATIONS if (why := check_mutation(*rest))]
    failures += list(check_examples()) + list(check_codes())
    for failure in failures:
        print(failure)
    print(f"{len(MUTATIONS) + 2} checks, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
