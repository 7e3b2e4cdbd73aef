"""Names in the source tree: one meaning each, in the field's terms, numbers with their units."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from support.paths import ROOT
from support.source_code import (
    PACKAGE,
    defined_identifiers,
    parse,
    python_files,
    split_identifier,
)


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of the vocabulary that docs/glossary.md replaces. None may be part of an identifier.
RETIRED_WORDS = word_set(
    """
    beside bell crossing desk distress door drags halves heard hearing hunt hunts kin owes patience
    presence pursue pursuit purse straight tally tidings tide tides told verdict wish wishes
    """
)
# Former names of classes, attributes and locals whose words are in ordinary use elsewhere.
RETIRED_NAMES = word_set(
    """
    Ask Batch Beside Board Booking Choice Condition Crossing Cycle Demand Exchange Expectation Fleet
    Held Hits HotRoute HotRoutes Importance Kept Leases Ledger Levels Look Meter News OpenLedger
    Opening Pace Passage Pool QuotaLedger Reserved ReservedLedger Sharing Slowness Standing Tester
    Tidings Traffic VendorThrottle Watchdog Wheel Work ask held in_hand
    """
)
# Users of hamlet or a vendor's API fix these names.
EXEMPT_IDENTIFIERS = {
    "presence_penalty": "a field of the vendors' request bodies",
    "Watchdog": "an alias of hamlet.spi for a release",
    "beside": "a key of the load scenarios' files",
    "patience_s": "a key of the load scenarios' files",
    "VERDICT": "the metric label `verdict`",
    "COMPARISON_VERDICT_RATES": "values of the metric label `verdict`",
}
EXEMPT_FOLDERS = {
    "verdict": (
        (
            "src/hamlet/migration",
            "tests/unit/migration",
            "src/hamlet/routing/explain.py",
            "loadtest",
        ),
        "a label of hamlet_cutover_comparisons_total; a field of the migration's report, of "
        "/v1/admin/fleet and of the load tests' results",
    ),
}

# One of these words in a number's name says its unit, or that it is a plain count or index.
UNIT_WORDS = word_set(
    """
    s ms us ns seconds minutes hours days bytes mib tokens usd ratio share percent probability
    count total size max min limit index seed port version status score weight factor rpm tpm per
    rate level chars length width height px dimensions
    """
)
# Points in time, all in seconds, and ordinals.
TIME_WORDS = frozenset({"at", "until", "now", "hour"})
ORDINAL_WORDS = frozenset({"epoch", "generation", "number", "position", "tier"})
# A class says the unit of all its numbers in its docstring.
UNIT_IN_DOCSTRING = re.compile(r"\b(dollars|seconds|tokens|bytes|counts)\b", re.IGNORECASE)


def exempt(word: str, identifier: str, path: Path) -> bool:
    if identifier in EXEMPT_IDENTIFIERS:
        return True
    folders, _ = EXEMPT_FOLDERS.get(word, ((), ""))
    return any(path.is_relative_to(ROOT / folder) for folder in folders)


def test_no_two_public_classes_share_a_name() -> None:
    defined = defaultdict(list)
    for path in python_files("src/hamlet"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not {name: places for name, places in defined.items() if len(places) > 1}


def test_identifiers_use_no_retired_word() -> None:
    found = []
    for path in python_files("src", "tests", "loadtest"):
        for identifier, line in defined_identifiers(parse(path)):
            retired = [
                word
                for word in split_identifier(identifier)
                if word in RETIRED_WORDS and not exempt(word, identifier, path)
            ]
            if retired or identifier in RETIRED_NAMES - EXEMPT_IDENTIFIERS.keys():
                found.append(f"{path.relative_to(ROOT)}:{line} {identifier}")
    assert not found, "\n".join(found)


def test_modules_use_no_retired_word() -> None:
    for path in python_files("src", "tests", "loadtest"):
        for word in split_identifier(path.stem):
            assert word not in RETIRED_WORDS, path


def is_number(node: ast.expr | None) -> bool:
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return is_number(node.left) and is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def is_enum(node: ast.ClassDef) -> bool:
    """The values of its members are labels."""
    return any(ast.unparse(base).endswith("Enum") for base in node.bases)


def is_number_type(annotation: ast.expr) -> bool:
    words = set(re.findall(r"\w+", ast.unparse(annotation)))
    return bool(words & {"int", "float"}) and words <= {"int", "float", "None", "Final", "ClassVar"}


def public_numbers(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[str, ast.stmt, ast.ClassDef | None, ast.stmt | None]]:
    """Constants and fields that hold a number: name, statement, class, the statement after it."""
    for node, following in zip_longest(body, body[1:]):
        if isinstance(node, ast.ClassDef):
            if not node.name.startswith("_") and not is_enum(node):
                yield from public_numbers(node.body, node)
        elif isinstance(node, ast.Assign) and is_number(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield target.id, node, owner, following
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and is_number_type(node.annotation)
            and not node.target.id.startswith("_")
        ):
            yield node.target.id, node, owner, following


def names_its_unit(name: str) -> bool:
    """By a unit, as a point in time, as an ordinal, or by the plural of what it counts."""
    words = split_identifier(name)
    is_plural = words[-1].endswith("s") and not words[-1].endswith(("ss", "us"))
    return is_plural or bool(set(words) & (UNIT_WORDS | TIME_WORDS | ORDINAL_WORDS))


def is_documented(
    name: str,
    node: ast.stmt,
    owner: ast.ClassDef | None,
    following: ast.stmt | None,
    lines: list[str],
) -> bool:
    """By a comment on its line or the line before, a docstring after it, or its class's."""
    if "#" in lines[node.lineno - 1] or lines[node.lineno - 2].lstrip().startswith("#"):
        return True
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        return True
    docstring = (ast.get_docstring(owner) or "") if owner else ""
    named = re.search(rf"\b{re.escape(name)}\b", docstring)
    return bool(named or UNIT_IN_DOCSTRING.search(docstring))


def test_public_numbers_have_a_unit() -> None:
    missing = []
    for path in python_files("src/hamlet"):
        lines = path.read_text("utf-8").splitlines()
        for name, node, owner, following in public_numbers(parse(path).body):
            if not (names_its_unit(name) or is_documented(name, node, owner, following, lines)):
                scope = f"{owner.name}." if owner else ""
                missing.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {scope}{name}")
    assert not missing, "\n".join(missing)
