#!/usr/bin/env python3
"""Checks documents against docs/schemas: schema.py FOLDER. Each line of stdin is a schema's name, a blank, and a document; the
answer is one line, `good`, or what is wrong. The schemas are checked first, and that every object in them is closed.
"""
import json
import pathlib
import sys

import jsonschema

OPEN = {("details", "cause"), ("details", "reply"), ("details", "writeConcernError")}  # as others wrote them


def check_closed(name, schema, path=()):
    if isinstance(schema, list):
        for item in schema:
            check_closed(name, item, path)
    elif isinstance(schema, dict):
        is_object = schema.get("type") == "object" and not isinstance(schema.get("oneOf"), list)
        if is_object and schema.get("additionalProperties") is not False and path[-2:] not in OPEN:
            sys.exit(f"{name}.json: the object at {'/'.join(path) or 'the top'} is not closed")
        for key, value in schema.items():
            check_closed(name, value, path + (key,) if key not in ("properties", "anyOf", "items", "$defs") else path)


def load(folder):
    validators = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        check_closed(path.stem, schema)
        validators[path.stem] = jsonschema.Draft202012Validator(schema)
    return validators


def main():
    validators = load(sys.argv[1])
    print("ready", ", ".join(validators), flush=True)
    for line in sys.stdin:
        name, document = line.split(" ", 1)
        problem = jsonschema.exceptions.best_match(validators[name].iter_errors(json.loads(document)))
        print(f"{problem.json_path}: {problem.message}"[:500].replace("\n", " ") if problem else "good", flush=True)


main()
