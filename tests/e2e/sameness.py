"""What two runs of the same work have in common: their answers without what differs from run to run.

Left out are times and etags, and by name: how often a step was tried (`attempts`), since a step that a
kill interrupted is tried once more. Ids are kept as far as they say who made what: the job's and the
VM's own, the scene's subscription and group; others are one as good as the other.
"""
import re

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I)
TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
MAC = re.compile(r"\b([0-9a-f]{2}-){5}[0-9a-f]{2}\b", re.I)
LEFT_OUT = ("attempts", "etag")


def _text(text, names):
    for name, word in names.items():
        text = re.sub(re.escape(name), word, text, flags=re.I)
    for pattern, word in ((UUID, "<id>"), (TIME, "<time>"), (MAC, "<mac>")):
        text = pattern.sub(word, text)
    return text


def plain(value, names):
    """The value with `names` {name: word} put in words, and without what differs."""
    if isinstance(value, dict):
        return {_text(k, names): plain(v, names) for k, v in value.items() if k not in LEFT_OUT}
    if isinstance(value, list):
        return [plain(v, names) for v in value]
    return _text(value, names) if isinstance(value, str) else value


def differences(a, b, at=""):
    """[(where, one, other)]: what a failed comparison shows."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted({*a, *b}) for d in differences(a.get(k), b.get(k), f"{at}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{at}/{i}")]
    return [] if a == b else [(at, a, b)]
