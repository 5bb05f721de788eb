"""The house stands as it is drawn: packaging, links, imports that point one way."""

import ast
import configparser
import graphlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the top floor down: a module may import from its own floor and from those below.
FLOORS = (
    "cli",
    "pipelines",
    "annotate",
    "report",
    "evaluation",
    "training",
    "formats",
    "automask",
    "detection",
    "model",
    "dataset",
    "masks",
)
LIBRARY_FOLDERS = [ROOT / "sa_engine", ROOT / "cli", ROOT / "pipelines"]


def source_files() -> list[Path]:
    return sorted(
        path
        for folder in LIBRARY_FOLDERS
        for path in folder.rglob("*.py")
        if "__pycache__" not in path.parts
        and not any(parent.is_symlink() for parent in path.parents)
    )


def module_name(path: Path) -> str:
    """The name that a file has when it is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "sa_engine":
        parts = ("sa_engine", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(path: Path) -> str | None:
    parts = path.relative_to(ROOT).parts
    name = parts[1] if parts[0] == "sa_engine" and len(parts) > 2 else parts[0]
    return name if name in FLOORS else None


def imported_modules(path: Path, known: Collection[str] | None = None) -> list[str]:
    """What a file imports; with `known`, only those, and modules imported from their package."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [part if known and part in known else node.module for part in parts]
    return [name for name in names if known is None or name in known]


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {module_name(path): path for path in source_files()}
    graph = {
        name: {module for module in imported_modules(path, modules) if module != name}
        for name, path in modules.items()
    }
    assert sum(map(len, graph.values())) > 500  # so that the search cannot pass by finding nothing
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


MOST_FILES = 20
MOST_LINES = 400


def test_no_folder_is_a_heap() -> None:
    folders = {path.parent for path in source_files()}
    for folder in folders:
        files = [path for path in folder.iterdir() if path.is_file()]
        assert len(files) <= MOST_FILES, f"{folder} holds {len(files)} files: give it sub-folders"


def test_no_module_outgrows_its_noun() -> None:
    for path in source_files():
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= MOST_LINES, f"{path} has {lines} lines: divide it"


def classes(path: Path) -> list[ast.ClassDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_errors_have_one_file() -> None:
    errors = {"Exception", "BaseException"}
    errors |= {each.name for each in classes(ROOT / "sa_engine" / "errors.py")}
    for path in source_files():
        if path.name == "errors.py":
            continue
        for each in classes(path):
            bases = {base.id for base in each.bases if isinstance(base, ast.Name)}
            assert not bases & errors, f"{path}: {each.name} belongs into errors.py"


def test_public_classes_have_one_meaning() -> None:
    places: dict[str, list[Path]] = defaultdict(list)
    for path in source_files():
        for each in ast.parse(path.read_text("utf-8")).body:
            if isinstance(each, ast.ClassDef) and not each.name.startswith("_"):
                places[each.name].append(path)
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_packages_listed_are_the_folders_on_disk() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    folders = {module_name(path) for path in source_files() if path.name == "__init__.py"}
    assert listed == sorted(listed)
    assert set(listed) == folders


def test_package_data_is_on_disk() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for package, patterns in config["options.package_data"].items():
        folder = ROOT / package.replace(".", "/")
        for pattern in patterns.split():
            assert list(folder.glob(pattern)), f"{package} lacks {pattern}"


@pytest.mark.parametrize("name", ["cli", "pipelines"])
def test_links_lead_to_the_folders_at_the_top(name: str) -> None:
    link = ROOT / "sa_engine" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_the_house(path: Path) -> None:
    own = floor_of(path)
    if own is None:
        return
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "sa_engine" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS.index(parts[1]) >= FLOORS.index(own), f"{path} imports {module}"


def test_the_library_knows_no_command_line() -> None:
    for path in source_files():
        if floor_of(path) != "cli":
            assert not {"click", "argparse"} & set(imported_modules(path)), path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from sa_engine.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "auto" in done.stdout


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sa_engine", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    version = (ROOT / "sa_engine" / "version.py").read_text("utf-8").split('"')[-2]
    assert done.stdout == f"sa-engine, version {version}\n"
