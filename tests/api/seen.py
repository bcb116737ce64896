"""Every (operation, status) that the contract declares must have been seen by the API and end-to-end
tests, and none that it does not declare. One pair is one test."""
import json
import sys

from contract import SEEN, Contract


def main():
    declared = Contract().declared()
    seen = {(row["operation"], row["status"])
            for row in map(json.loads, SEEN.read_text().splitlines())} if SEEN.exists() else set()
    for name, status in sorted(declared - seen):
        print(f"never seen: {name} {status}")
    for name, status in sorted(seen - declared):
        print(f"not declared: {name} {status}")
    failed = len(declared ^ seen)
    print(f"{len(declared & seen)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
