#!/usr/bin/python3
"""From openapi.yaml, the registry of operations, to what the C side is built of:

  routes.def            one ROUTE(...) row an operation (read with openapi/route.h)
  schemas.h, schemas.c  structs and core/json.h tables of request bodies and queries
  openapi.json          the document that is served

Whatever it does not understand is an error: an unknown schema keyword, an operation without an
operationId, a role, a decision about security or the problem statuses that its row implies.

  generate.py          writes the files
  generate.py --check  exits 1 where they are stale
"""
import json
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
METHODS = ("get", "put", "post", "delete", "patch")
ROLES = ("none", "reader", "provisioner", "admin")
BODY_MEDIA = {"application/json": "ROUTE_BODY_JSON", "application/cbor": "ROUTE_BODY_CBOR"}
OPERATION_KEYS = {
    "operationId", "summary", "description", "tags", "parameters", "requestBody", "responses",
    "security", "x-role", "x-max-body", "x-idempotent", "x-raw-body",
}  # fmt: skip
NOTES = {"description", "examples", "title", "x-name"}
KEYWORDS = {
    "string": {"format", "pattern", "minLength", "maxLength", "enum", "default", "writeOnly",
               "contentEncoding"},
    "integer": {"minimum", "maximum", "default"},
    "boolean": {"default"},
    "array": {"items", "minItems", "maxItems", "uniqueItems"},
    "object": {"properties", "required", "additionalProperties", "propertyNames", "oneOf", "not",
               "dependentRequired", "maxProperties", "default"},
}  # fmt: skip
PLAIN_FORMATS = {"date-time", "password"}
C_WORDS = set(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while".split()
)


class Fault(Exception):
    pass


def load(path):
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as why:
        raise Fault(f"{path.name}: {why}") from why


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def c_text(text):
    return json.dumps(text, ensure_ascii=True)


def resolve(doc, node):
    """Follow $ref; what stands beside it wins."""
    seen = set()
    while "$ref" in node:
        ref = node["$ref"]
        if ref in seen or not ref.startswith("#/"):
            raise Fault(f"bad reference {ref}")
        seen.add(ref)
        target = doc
        for part in ref[2:].split("/"):
            if part not in target:
                raise Fault(f"{ref} does not exist")
            target = target[part]
        beside = {k: v for k, v in node.items() if k != "$ref"}
        node = {**target, **beside, "x-ref": ref.rsplit("/", 1)[1]}
    return node


# ---- schemas: what every one of them must satisfy ----


def check_schema(doc, schema, where, request):
    schema = {k: v for k, v in resolve(doc, schema).items() if k != "x-ref"}
    kind = schema.get("type")
    if kind is None:
        extra = set(schema) - NOTES - {"enum"}
        if extra:
            raise Fault(f"{where}: no type beside {sorted(extra)}")
        return
    if not isinstance(kind, str) or kind not in KEYWORDS:
        raise Fault(f"{where}: type {kind!r} is not supported")
    unknown = set(schema) - KEYWORDS[kind] - NOTES - {"type"}
    if unknown:
        raise Fault(f"{where}: unknown keyword {sorted(unknown)[0]!r}")
    if kind == "array":
        check_schema(doc, schema["items"], f"{where}[]", request)
    if kind == "object":
        check_object(doc, schema, where, request)


def check_object(doc, schema, where, request):
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    if request and extra is None:
        raise Fault(f"{where}: a request object must decide additionalProperties")
    if not request and extra is False:
        raise Fault(f"{where}: an answer may grow; additionalProperties: false has no place there")
    if isinstance(extra, dict):
        check_schema(doc, extra, f"{where}/*", request)
    for name in schema.get("required", []):
        if properties and name not in properties:
            raise Fault(f"{where}: required {name!r} is no property")
    for name, sub in properties.items():
        check_schema(doc, sub, f"{where}/{name}", request)


# ---- schemas in C: request bodies and queries ----


class Emitter:
    """Structs and tables in the order of their dependency."""

    def __init__(self, doc, predicates):
        self.doc = doc
        self.predicates = predicates
        self.structs = []
        self.tables = []
        self.made = set()

    def match(self, schema, where):
        form = schema.get("format")
        if form is None or form in PLAIN_FORMATS:
            if "pattern" in schema:
                raise Fault(f"{where}: a pattern needs a format that openapi/match.c knows")
            return None
        name = "match_" + form.replace("-", "_")
        if name not in self.predicates:
            raise Fault(f"{where}: openapi/match.h has no {name}")
        return name

    def text_limits(self, schema, where, prefix=""):
        """minLength, maxLength and enum as members of a field, or of its items."""
        row = {}
        if prefix:
            row["item_min"] = schema.get("minLength", 0)
            row["item_max"] = schema.get("maxLength", 0)
        else:
            row["min"] = schema.get("minLength", 0)
            row["max"] = schema.get("maxLength", 0)
        match = self.match(schema, where)
        if match:
            row["match"] = match
        if "enum" in schema:
            names = "".join(c_text(v) + ", " for v in schema["enum"])
            row["allowed"] = f"(const char *const[]){{{names}NULL}}"
        return row

    def string(self, schema, where):
        if schema.get("format") == "password":
            return "struct secret %s;", {"kind": "FIELD_SECRET", **self.text_limits(schema, where)}
        row = {"kind": "FIELD_STR", **self.text_limits(schema, where)}
        if "default" in schema:
            row["dflt_str"] = c_text(schema["default"])
        return "const char *%s;", row

    def integer(self, schema, where):
        row = {
            "kind": "FIELD_INT",
            "min": schema.get("minimum", "INT64_MIN + 1"),
            "max": schema.get("maximum", "INT64_MAX"),
        }
        if "default" in schema:
            row.update(dflt_int=schema["default"], has_dflt="true")
        return "int64_t %s;", row

    def boolean(self, schema, where):
        if "default" not in schema:
            return "enum tri %s;", {"kind": "FIELD_TRI"}
        row = {"kind": "FIELD_BOOL", "has_dflt": "true", "dflt_int": int(schema["default"])}
        return "bool %s;", row

    def array(self, schema, where):
        row = {"min": schema.get("minItems", 0), "max": schema.get("maxItems", 0)}
        if not row["max"]:
            raise Fault(f"{where}: a list in a request needs maxItems")
        if schema.get("uniqueItems"):
            row["unique"] = "true"
        items = resolve(self.doc, schema["items"])
        if items["type"] == "string":
            row.update(self.text_limits(items, where, "item_"))
            return "struct str_list %s;", {"kind": "FIELD_STR_LIST", **row}
        if items["type"] == "integer":
            row["item_min"] = items.get("minimum", "INT64_MIN + 1")
            row["item_max"] = items.get("maximum", "INT64_MAX")
            return "struct int_list %s;", {"kind": "FIELD_INT_LIST", **row}
        if items["type"] == "object" and "x-ref" in items:
            name = self.object_schema(items["x-ref"], items)
            row["object"] = f"&{name}_schema"
            return f"struct obj_list %s; /* of struct {name} */", {"kind": "FIELD_OBJ_LIST", **row}
        raise Fault(f"{where}: a list of {items['type']} has no C form")

    def object(self, schema, where):
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            values = resolve(self.doc, extra)
            if values["type"] != "string" or "properties" in schema:
                raise Fault(f"{where}: only a map of strings has a C form")
            row = {"kind": "FIELD_STR_MAP", "min": 0, "max": schema.get("maxProperties", 0)}
            row.update(self.text_limits(values, where, "item_"))
            key = self.match(resolve(self.doc, schema.get("propertyNames", {})), where)
            if key:
                row["match_key"] = key
            return "struct str_map %s;", row
        if "x-ref" not in schema:
            raise Fault(f"{where}: an object in a request needs a name (a $ref)")
        name = self.object_schema(schema["x-ref"], schema)
        row = {"kind": "FIELD_OBJ", "object": f"&{name}_schema"}
        if "default" in schema:
            if schema["default"] != {} or schema.get("required") or schema.get("oneOf"):
                raise Fault(f"{where}: the default of an object can only be a {{}} that is valid")
            row["has_dflt"] = "true"
        return f"const struct {name} *%s;", row

    def field(self, owner, name, schema, required):
        where = f"{owner}/{name}"
        schema = resolve(self.doc, schema)
        member = schema.get("x-name") or snake(name)
        if member in C_WORDS:
            raise Fault(f"{where}: {member} is a word of C; give it an x-name")
        kind = schema.get("type")
        if kind not in KEYWORDS:
            raise Fault(f"{where}: needs one type")
        declaration, row = getattr(self, kind)(schema, where)
        if kind == "boolean" and required and "default" not in schema:
            declaration, row = "bool %s;", {"kind": "FIELD_BOOL"}
        cells = [f".name = {c_text(name)}", f".kind = {row.pop('kind')}"]
        if required:
            cells.append(".required = true")
        cells.append(f".offset = offsetof(struct {snake(owner)}, {member})")
        cells += [f".{k} = {v}" for k, v in row.items() if v not in (0, None)]
        return declaration % member, "    {" + ", ".join(cells) + "},"

    def rules(self, schema, where):
        properties = schema["properties"]
        found = []
        if "oneOf" in schema:
            found.append(("RULE_ONE_OF", [self.needs(b, where) for b in schema["oneOf"]]))
        if "not" in schema:
            found.append(("RULE_NOT_ALL", [self.needs(schema["not"], where)]))
        for first, others in schema.get("dependentRequired", {}).items():
            found.append(("RULE_REQUIRES", [[first, *others]]))
        for _, sets in found:
            for name in (n for s in sets for n in s):
                if name not in properties:
                    raise Fault(f"{where}: a rule names {name!r}, which is no property")
        return found

    @staticmethod
    def needs(branch, where):
        if set(branch) != {"required"}:
            raise Fault(f"{where}: oneOf and not may only hold required")
        return branch["required"]

    def object_schema(self, title, schema):
        name = snake(title)
        if name in self.made:
            return name
        self.made.add(name)
        if schema.get("additionalProperties") is not False or not schema.get("properties"):
            raise Fault(f"{title}: a request object lists its properties and allows no others")
        needed = schema.get("required", [])
        rows = [self.field(title, n, s, n in needed) for n, s in schema["properties"].items()]
        self.structs.append(
            f"struct {name} {{\n" + "".join(f"    {d}\n" for d, _ in rows) + "};\n"
            f"extern const struct schema {name}_schema;\n"
        )
        table = f"static const struct field {name}_fields[] = {{\n"
        table += "".join(f"{row}\n" for _, row in rows) + "};\n"
        rules = self.rules(schema, title)
        if rules:
            table += f"static const struct rule {name}_rules[] = {{\n"
            table += "".join(self.rule_row(*r) for r in rules) + "};\n"
        table += f"const struct schema {name}_schema = {{\n"
        table += f"    .name = {c_text(title)}, .size = sizeof(struct {name}),\n"
        table += f"    .fields = {name}_fields, .n_fields = ARRAY_LEN({name}_fields),\n"
        if rules:
            table += f"    .rules = {name}_rules, .n_rules = ARRAY_LEN({name}_rules),\n"
        self.tables.append(table + "};\n")
        return name

    @staticmethod
    def rule_row(kind, sets):
        lists = "".join(
            "(const char *const[]){" + "".join(c_text(n) + ", " for n in names) + "NULL}, "
            for names in sets
        )
        return f"    {{{kind}, (const char *const *const[]){{{lists}NULL}}}},\n"


# ---- operations ----


def implied(method, operation, parameters):
    """The problem statuses that follow from what the row says."""
    # An unknown query parameter is refused everywhere, and so is an Accept nothing satisfies.
    wanted = {"400", "406"}
    scoped = any(p["name"] == "subscriptionId" for p in parameters)
    if operation["security"]:
        wanted |= {"401", "429"}
    if operation["x-role"] in ROLES[2:] or operation["x-role"] == "reader" and scoped:
        wanted.add("403")
    if any(p["in"] == "path" and p["name"] not in ("subscriptionId", "resourceGroup")
           for p in parameters) and method != "put":
        wanted.add("404")  # only a PUT may name what is not there
    if "requestBody" in operation:
        wanted |= {"413", "415"}
    if operation.get("x-idempotent"):
        wanted |= {"409", "422"}
    # With another method it only says that nothing may be there ("*").
    if method == "get" and any(p["name"] == "If-None-Match" for p in parameters):
        wanted |= {"304"}
    return wanted


def check_operation(doc, method, operation, where, parameters):
    unknown = set(operation) - OPERATION_KEYS
    if unknown:
        raise Fault(f"{where}: unknown key {sorted(unknown)[0]!r}")
    for key in ("operationId", "summary", "security", "x-role", "x-max-body", "responses"):
        if key not in operation:
            raise Fault(f"{where}: has no {key}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", operation["operationId"]):
        raise Fault(f"{where}: operationId must be a C name")
    if operation["x-role"] not in ROLES:
        raise Fault(f"{where}: x-role must be one of {', '.join(ROLES)}")
    if (operation["x-role"] == "none") != (operation["security"] == []):
        raise Fault(f"{where}: security and x-role disagree")
    if ("requestBody" in operation) != (operation["x-max-body"] > 0):
        raise Fault(f"{where}: x-max-body and requestBody disagree")
    keyed = any(p["in"] == "header" and p["name"] == "Idempotency-Key" for p in parameters)
    if keyed != bool(operation.get("x-idempotent")):
        raise Fault(f"{where}: x-idempotent and the Idempotency-Key parameter disagree")
    check_responses(doc, method, operation, where, parameters)


def check_responses(doc, method, operation, where, parameters):
    statuses = {str(s) for s in operation["responses"]}
    for status in statuses:
        if not re.fullmatch(r"[2-5][0-9]{2}", status):
            raise Fault(f"{where}: response {status!r}; every status is declared by its number")
    if not any(s.startswith("2") for s in statuses):
        raise Fault(f"{where}: has no 2xx response")
    wanted = implied(method, operation, parameters)
    missing = wanted - statuses
    if missing:
        raise Fault(f"{where}: its row implies {', '.join(sorted(missing))}")
    if "304" in statuses and "304" not in wanted:
        raise Fault(f"{where}: 304 without If-None-Match")
    for status, response in operation["responses"].items():
        response = resolve(doc, response)
        content = response.get("content", {})
        if status.startswith("2") and not content:
            raise Fault(f"{where}: {status} has no content")
        if status[0] in "45" and list(content) != ["application/problem+json"]:
            raise Fault(f"{where}: {status} must be a problem+json")
        for media, entry in content.items():
            check_schema(doc, entry["schema"], f"{where} {status}", request=False)
        if status == "200" and "304" in statuses and "ETag" not in response.get("headers", {}):
            raise Fault(f"{where}: 304 without an ETag in its 200")


def check_path(path, parameters, where):
    named = re.findall(r"{([^}]+)}", path)
    declared = [p["name"] for p in parameters if p["in"] == "path"]
    if named != declared:
        raise Fault(f"{where}: path parameters {declared} are not those of the path {named}")


def path_parameters(emitter, parameters, where):
    rows = []
    for parameter in (p for p in parameters if p["in"] == "path"):
        schema = resolve(emitter.doc, parameter["schema"])
        match = emitter.match(schema, where)
        if not match:
            raise Fault(f"{where}: path parameter {parameter['name']} needs a format")
        low, high = schema.get("minLength", 1), schema.get("maxLength", 64)
        rows.append(f"PARAM({c_text(parameter['name'])}, {match}, {low}, {high})")
    return rows


def query_schema(emitter, operation, parameters):
    found = [p for p in parameters if p["in"] == "query"]
    if not found:
        return "NULL"
    schema = {
        "properties": {p["name"]: p["schema"] for p in found},
        "required": [p["name"] for p in found if p.get("required")],
        "additionalProperties": False,
    }
    for name, sub in schema["properties"].items():
        check_schema(emitter.doc, sub, f"{operation['operationId']}?{name}", request=True)
    return f"&{emitter.object_schema(operation['operationId'] + '_query', schema)}_schema"


def body_schema(emitter, operation, where):
    content = resolve(emitter.doc, operation.get("requestBody", {})).get("content", {})
    accepts = []
    table = "NULL"
    for media, entry in content.items():
        if media not in BODY_MEDIA:
            raise Fault(f"{where}: media type {media} is not supported")
        accepts.append(BODY_MEDIA[media])
        check_schema(emitter.doc, entry["schema"], f"{where} body", request=True)
        if operation.get("x-raw-body"):
            continue
        schema = resolve(emitter.doc, entry["schema"])
        if media != "application/json" or "x-ref" not in schema:
            raise Fault(f"{where}: a decoded body is JSON of a named schema")
        if not schema.get("properties") and schema.get("additionalProperties") is False:
            table = "&json_nothing"
            continue
        table = f"&{emitter.object_schema(schema['x-ref'], schema)}_schema"
    return " | ".join(accepts) or "0", table


def route_row(doc, emitter, path, method, operation, shared):
    where = f"{method.upper()} {path}"
    parameters = [resolve(doc, p) for p in shared + operation.get("parameters", [])]
    check_operation(doc, method, operation, where, parameters)
    check_path(path, parameters, where)
    accepts, body = body_schema(emitter, operation, where)
    produced = []
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            produced += resolve(doc, response)["content"]
    produced = "".join(c_text(m) + ", " for m in dict.fromkeys(produced))
    flags = [
        name
        for key, name in (("x-idempotent", "ROUTE_IDEMPOTENT"), ("x-raw-body", "ROUTE_RAW_BODY"))
        if operation.get(key)
    ]
    if accepts != "0" and not resolve(doc, operation["requestBody"]).get("required"):
        flags.append("ROUTE_BODY_OPTIONAL")
    statuses = "".join(f"{s}, " for s in sorted(operation["responses"]))
    params = "".join(p + ", " for p in path_parameters(emitter, parameters, where))
    cells = [
        method.upper(), c_text(path), operation["operationId"],
        f"ROUTE_{operation['x-role'].upper()}", str(operation["x-max-body"]),
        " | ".join(flags) or "0", accepts, f"PRODUCES({produced}NULL)",
        query_schema(emitter, operation, parameters), body,
        f"PARAMS({params}PARAM_END)", f"STATUSES({statuses}0)",
    ]  # fmt: skip
    return "ROUTE(" + ",\n      ".join(cells) + ")\n"


def routes(doc, emitter):
    rows, names = [], set()
    for path, item in doc["paths"].items():
        unknown = set(item) - set(METHODS) - {"parameters"}
        if unknown:
            raise Fault(f"{path}: unknown key {sorted(unknown)[0]!r}")
        for method in (m for m in METHODS if m in item):
            operation = item[method]
            rows.append(route_row(doc, emitter, path, method, operation, item.get("parameters", [])))
            if operation["operationId"] in names:
                raise Fault(f"{path}: operationId {operation['operationId']} is taken")
            names.add(operation["operationId"])
    return rows


def unused(doc):
    """Components that nothing refers to are a promise nobody keeps."""
    text = json.dumps(doc)
    for kind, entries in doc["components"].items():
        for name in entries:
            if kind != "securitySchemes" and f'"#/components/{kind}/{name}"' not in text:
                raise Fault(f"components/{kind}/{name} is not used")


# ---- files ----

NOTICE = "/* Written by openapi/generate.py from openapi.yaml; changes go there. */\n"


def build(doc, predicates):
    """The files by name. Raises Fault."""
    emitter = Emitter(doc, predicates)
    rows = routes(doc, emitter)
    unused(doc)
    return {
        "routes.def": NOTICE + "\n" + "\n".join(rows),
        "schemas.h": NOTICE + "#ifndef OPENAPI_SCHEMAS_H\n#define OPENAPI_SCHEMAS_H\n\n"
        '#include "core/json.h"\n\n' + "\n".join(emitter.structs) + "\n#endif\n",
        "schemas.c": NOTICE + '#include "openapi/schemas.h"\n\n#include "openapi/match.h"\n\n'
        + "\n".join(emitter.tables),
        "openapi.json": json.dumps(doc, indent=1, ensure_ascii=False) + "\n",
    }


def known_predicates():
    return set(re.findall(r"\bmatch_[a-z0-9_]+", (HERE / "match.h").read_text()))


def main(arguments):
    check = "--check" in arguments
    try:
        files = build(load(HERE / "openapi.yaml"), known_predicates())
    except Fault as why:
        print(f"openapi.yaml: {why}", file=sys.stderr)
        return 1
    stale = [n for n, t in files.items() if not (HERE / n).exists() or (HERE / n).read_text() != t]
    for name in stale:
        if check:
            print(f"openapi/{name} is stale; run openapi/generate.py", file=sys.stderr)
        else:
            (HERE / name).write_text(files[name])
            print(f"openapi/{name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
