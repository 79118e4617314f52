"""The house rules as tests (docs/decisions/0001): sizes, the light SDK, the contract and its generated files, names that are promises."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import driftwheel_schemas
from driftwheel.store.migrate import migrations, render, views
from driftwheel_schemas import EVENTS, topics

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted(path for root in ("services", "schemas", "dashboards") for path in (ROOT / root).rglob("*.py"))
BUDGET = 15_000
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
BROAD = {
    "bus/_segments.py": "a transaction is rolled back whatever breaks it, and the error goes on",
    "sdk": "the shield: an SDK never raises into its host",
    "collector": "the last resort of the HTTP server",
    "store/embedded": "every failure is a ClickHouse error with a code",
    "actions": "one action's bug does not stop the others",
}
"""Where a broad `except` may stand, and why."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings. A budget must not punish explaining."""
    documents: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documents |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documents)


def test_the_whole_product_fits_its_budget() -> None:
    """Elegance is what is left out."""
    assert sum(code_lines(path.read_text("utf-8")) for path in PRODUCT) <= BUDGET


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    """At most 300 lines a module, 45 a function, six parameters."""
    assert len(path.read_text("utf-8").splitlines()) <= 300
    for node in functions(path):
        named = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if one.arg not in ("self", "cls")]
        assert length(node) <= 45, f"{node.name} has {length(node)} lines"
        if "typer.Context" not in ast.unparse(node.args) and not _is_public_sdk(path):
            assert len(named) <= 6, f"{node.name} takes {named}: make a value object"


def _is_public_sdk(path: Path) -> bool:
    """`record(...)` takes the fields of an inference by name: that is what people write."""
    return "sdk" in path.parts


def test_nine_of_ten_functions_fit_thirty_lines() -> None:
    """A reader sees a function at one glance."""
    sizes = [length(node) for path in PRODUCT for node in functions(path)]

    assert sum(size <= 30 for size in sizes) >= 0.9 * len(sizes)


def test_broad_excepts_stand_only_at_the_named_boundaries() -> None:
    """No swallowed errors: who catches everything has a reason on this list."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")):
                where = str(path.relative_to(ROOT / "services/driftwheel"))
                assert any(where.startswith(allowed) for allowed in BROAD), f"{where}:{node.lineno} catches everything"


def test_any_is_rare() -> None:
    """At most 5 in 1,000 lines: typed events remove the reason for it."""
    lines = [line for path in PRODUCT for line in path.read_text("utf-8").splitlines()]
    used = [line for line in lines if re.search(r"\bAny\b", line) and not line.startswith(("from ", "import "))]

    assert len(used) <= 5 * len(lines) / 1000, f"{len(used)} in {len(lines)}"


def test_importing_the_sdk_costs_the_standard_library_only() -> None:
    """It runs in somebody else's process."""
    code = "import sys; before = set(sys.modules); import driftwheel; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {name for name in loaded if name not in sys.stdlib_module_names} <= {"driftwheel", "driftwheel_schemas"}


def test_the_base_install_has_no_dependency_and_the_lock_names_no_index() -> None:
    """What is pinned is a version, wherever it comes from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text("utf-8")

    assert project["dependencies"] == []
    assert "://" not in lock
    assert "index" not in re.sub(r"(?m)^[\w.-]+==", "", lock)


def test_topics_name_known_events_and_roles() -> None:
    """Who writes, who reads, and what: one file answers."""
    roles = {"collector", "signals", "feedback", "enrich", "detection", "triggers", "rules", "jobs", "cli"}
    for topic in topics().values():
        assert not topic.event or topic.event in EVENTS
        assert {*topic.writers, *topic.readers} <= roles


def test_every_public_name_of_the_contract_is_there() -> None:
    """`__all__` is true."""
    assert all(hasattr(driftwheel_schemas, name) for name in driftwheel_schemas.__all__)


def test_migrations_are_single_statements_in_order_that_render_for_a_cluster() -> None:
    """One set of files serves the embedded engine, a server and a cluster."""
    for migration in migrations():
        statement = "\n".join(line for line in migration.sql.splitlines() if not line.startswith("--"))
        assert migration.sql.startswith(f"-- {migration.number:04d}: "), "says why on its first line"
        assert ";" not in statement
        (alone,) = render(migration.sql)
        assert "{" not in alone
        clustered = render(migration.sql, "main")
        assert all("ON CLUSTER 'main'" in one for one in clustered)
        assert all("MergeTree" not in one or "ENGINE = Replicated" in one for one in clustered)
    assert all(sql.startswith("-- ") and "ON CLUSTER 'main'" in render(sql, "main")[0] for sql in views())


def test_no_text_names_a_path_of_somebodys_machine() -> None:
    """The project speaks of the project alone."""
    forbidden = re.compile(r"/(?:home|root|work|Users)/\w")
    named = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in named.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".sql", ".json", ".yml", ".jsonl"} and path != Path(__file__) and path.exists():
            assert not forbidden.search(path.read_text("utf-8")), name
