"""JSON by schema."""

import json

from hamlet.providers.embedded.structured import SchemaFiller


def test_schemas_are_filled_from_the_text() -> None:
    schema = {
        "properties": {
            "size": {"enum": ["small", "large"]},
            "count": {"type": "integer", "minimum": 3},
            "ratio": {"type": ["null", "number"], "maximum": 1},
            "note": {"type": "string", "maxLength": 10},
            "tags": {"type": "array", "items": {"const": "x"}, "minItems": 2},
            "nested": {"$ref": "#/$defs/n"},
            "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "nothing": {"type": "null"},
        },
        "$defs": {
            "n": {"type": "object", "properties": {"low": {"type": "number", "minimum": 50}}}
        },
    }
    filled = SchemaFiller("Send a large box. There are 12 of them, 0.5 each.", schema).fill()
    assert filled == {
        "size": "large",
        "count": 12,
        "ratio": 0.5,
        "note": filled["note"],
        "tags": ["x", "x"],
        "nested": {"low": 50.0},
        "either": False,
        "nothing": None,
    }
    assert 0 < len(filled["note"]) <= 10
    assert SchemaFiller("", {"$ref": "#"}).fill() == ""


def test_recursive_schema_is_cut_off() -> None:
    endless = {"type": "object", "properties": {"again": {"$ref": "#"}}}
    assert json.dumps(SchemaFiller("x", endless).fill()).count("again") < 50
