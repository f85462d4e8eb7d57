"""Validates objects strictly against the schemas of Kubernetes: it refuses unknown fields.

validate.py VERSION[,VERSION...] CRD.yaml... < OBJECTS.json

Reads a JSON list of objects. It checks built-in kinds against the schemas that come with kubernetes-validate, for each version, and other
kinds against the given CustomResourceDefinitions. Prints one line for each fault. The exit code is 1 if there is a fault.
"""

import copy
import json
import re
import sys
from importlib.resources import files

import jsonschema
import referencing
import yaml


def built_in(version):
    """Returns a function that gives the validator of an object, or None if this version does not know its kind."""
    directory = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    assert directory.is_dir(), f"kubernetes-validate does not know Kubernetes {version}"
    definitions = json.loads((directory / "_definitions.json").read_text())
    registry = referencing.Resource.from_contents(definitions) @ referencing.Registry()
    known = {}

    def validator(item):
        api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", item["apiVersion"])
        name = f"{item['kind'].lower()}-{api}.json"
        if name not in known:
            path = directory / name
            if not path.is_file():
                return None
            schema = json.loads(path.read_text())
            resource = referencing.Resource.from_contents(schema)
            known[name] = jsonschema.Draft202012Validator(schema, registry=resource @ registry)
        return known[name]

    return validator


def strict(schema):
    """Converts a structural schema to a JSON Schema that refuses fields that the API server would silently drop."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) if key != "properties" else {name: strict(inner) for name, inner in value.items()}
              for key, value in schema.items()}
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        # The parts of `oneOf` and similar keywords also have properties, but not all of them; these parts stay open.
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return schema


def custom(paths):
    """Returns the validators by (group/version, kind)."""
    known = {}
    for path in paths:
        with open(path) as file:
            definitions = [document for document in yaml.safe_load_all(file) if document]
        for definition in definitions:
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
                schema["properties"].update(apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"})
                api = f"{spec['group']}/{version['name']}"
                known[api, spec["names"]["kind"]] = jsonschema.Draft202012Validator(strict(schema))
    return known


def main():
    versions, crds = sys.argv[1].split(","), custom(sys.argv[2:])
    faults = 0
    items = json.load(sys.stdin)
    for version in versions:
        validator_of = built_in(version)
        for item in items:
            validator = crds.get((item["apiVersion"], item["kind"])) or validator_of(item)
            title = f"{item['kind']}/{item['metadata']['name']}"
            if validator is None:
                print(f"{title}: Kubernetes {version} and the given definitions do not know {item['apiVersion']} {item['kind']}")
                faults += 1
                continue
            for error in validator.iter_errors(item):
                print(f"{title}: {error.json_path}: {error.message} (Kubernetes {version})")
                faults += 1
    print(f"{len(items)} objects, {len(versions)} versions, {faults} faults", file=sys.stderr)
    return 1 if faults or not items else 0


sys.exit(main())
