"""Everything in /openapi.json is complete, and its examples are what they are examples of."""

import jsonschema_rs
import pytest

from api.app import create_app
from api.config import ApiSettings

PICTURES = ("/generations/", "/temp/", "/uploads/")


@pytest.fixture(scope="module")
def document() -> dict:
    return create_app(ApiSettings()).openapi()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def answers(document):
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            found = answer
            if "$ref" in answer:
                found = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            yield f"{name} {status}", found


def fits(example, schema, document) -> bool:
    whole = schema | {"components": document["components"]}
    return jsonschema_rs.validator_for(whole).is_valid(example)


def test_every_answer_has_a_schema_and_an_example_that_fits(document):
    for name, answer in answers(document):
        assert answer.get("content") or name.endswith(" 204"), name
        for kind, media in answer.get("content", {}).items():
            shown = [each["value"] for each in media.get("examples", {}).values()]
            shown += [media["example"]] if "example" in media else []
            assert shown or kind.startswith("image/") or kind == "text/plain", name
            assert media.get("schema") or kind == "text/event-stream", name
            assert all(fits(example, media.get("schema", {}), document) for example in shown), name


def test_every_request_has_an_example_that_fits(document):
    for name, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert fits(media["example"], media["schema"], document), name


def test_the_examples_of_parameters_fit(document):
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            examples = parameter["schema"].get("examples", []) + parameter.get("examples", [])
            for example in examples:
                assert fits(example, parameter["schema"], document), (name, parameter["name"])


def test_every_operation_below_a_key_says_where_it_goes_and_how_it_is_refused(document):
    for name, operation in operations(document):
        if "/api/" in name or ("/v1/" in name and "/v1/errors/" not in name):
            assert operation["security"], name
            assert {"401", "403", "429", "500", "503"} <= operation["responses"].keys(), name
        assert "422" not in operation["responses"], name


def test_the_models_of_the_deployment_are_named(document):
    schema = document["components"]["schemas"]["img2img-v6"]

    assert schema["properties"]["model_id"]["anyOf"] == [{"enum": ["demo"]}]
    assert schema["properties"]["width"]["anyOf"][0]["maximum"] == 768


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_the_pools_of_the_deployment_are_named(document, name):
    (pool,) = document["paths"][f"/v1/admin/{name}"]["post"]["parameters"]

    assert pool["schema"]["enum"] == ["default"]
