"""Write a plugin of one's own to begin with: a distribution that installs, tests and runs as it is."""

from __future__ import annotations

import builtins
import json
import keyword
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path

from inmf_flow._version import __version__
from inmf_flow.errors import ArgumentError, OutputError
from inmf_flow.files import temporary_name
from inmf_flow.registry import transforms

# The files of `template`, which is itself a plugin named my-transform. Named one by one, since installers put compiled
# files beside them; names that begin with a dot would rule over our own repository.
_FILES = (
    "LICENSE",
    "README.md",
    "dot_github/workflows/tests.yml",
    "dot_gitignore",
    "my_transform/__init__.py",
    "my_transform/transform.py",
    "pipeline.yaml",
    "pyproject.toml",
    "tests/test_conformance.py",
)
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_NAME_RULE = "a letter, then letters, digits, '-' and '_', a letter or digit last, at most 60 in all"
_LONGEST_NAME = 60
# Folders that lie beside the package, or that its .gitignore leaves out.
_OTHER_FOLDERS = {"audio", "build", "dist", "runs", "test", "tests"}


@dataclass(frozen=True)
class NewPlugin:
    """A plugin that was written.

    Attributes
    ----------
    folder
        What holds it.
    distribution, package, transform, class_name
        What pip, Python's ``import``, pipelines and the code call it.
    files
        Names below ``folder``.
    """

    folder: Path
    distribution: str
    package: str
    transform: str
    class_name: str
    files: tuple[str, ...]


def new_plugin(name: str, output: Path | str = ".", author: str | None = None) -> NewPlugin:
    """Write the folder ``output/name`` with a plugin to begin with; it is whole or not there.

    The package and the transform are called like it, in lower case and with underscores: ``my-transform`` gives the
    transform ``my_transform`` of the class ``MyTransform``.

    Parameters
    ----------
    name
        Of the distribution.
    output
        The folder to write into; made where it is missing.
    author
        Who holds the copyright; ``"The NAME developers"`` by default.

    Raises
    ------
    ArgumentError
        When the name cannot be used, or something of that name is there or installed already.
    OutputError
        When the folder cannot be written.
    """
    package, class_name = _derived_names(name)
    _refuse_taken_names(name, package, class_name)
    author = _checked_author(author or f"The {name} developers")
    target = Path(output) / name
    if os.path.lexists(target):
        raise ArgumentError(
            "there is something of that name already", where=target, expected="another NAME or --output"
        )
    words = {
        "The my-transform developers": author,
        "inmf-flow>=0.0": f"inmf-flow>={__version__}",
        "YEAR": str(time.localtime().tm_year),
        "my-transform": name,
        "my_transform": package,
        "MyTransform": class_name,
    }
    files = {_replaced(_as_written(path), words): path for path in _FILES}
    try:
        _write(target, files, words)
    except OSError as error:
        raise OutputError("the plugin cannot be written", where=target, got=error.strerror or str(error)) from error
    return NewPlugin(target, name, package, package, class_name, tuple(sorted(files)))


def _derived_names(name: str) -> tuple[str, str]:
    """Return the names of the package and of the class."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ArgumentError("this is no name for a plugin", where="NAME", got=repr(name), expected=_NAME_RULE)
    parts = [part for part in re.split(r"[-_]+", name) if part]
    return "_".join(parts).lower(), "".join(part[0].upper() + part[1:] for part in parts)


def _refuse_taken_names(name: str, package: str, class_name: str) -> None:
    """Raise `ArgumentError` where the plugin would hide something, or be hidden by it."""
    reason = None
    if keyword.iskeyword(package) or keyword.iskeyword(class_name) or hasattr(builtins, class_name):
        reason = "it is a word of Python's own"
    elif package in sys.stdlib_module_names or package in _OTHER_FOLDERS:
        reason = f"the package {package!r} would be in the way of another one"
    elif class_name.startswith("Test"):
        reason = f"pytest would take the class {class_name!r} for tests"
    elif class_name != "MyTransform" and not _template_words().isdisjoint({class_name, f"Test{class_name}"}):
        reason = f"a class {class_name!r} would be in the way of another one"
    elif package in transforms:
        reason = f"a transform {package!r} is installed"
    elif _is_installed(name):
        reason = "a distribution of that name is installed"
    elif _is_importable(package):
        reason = f"a package {package!r} is installed"
    if reason is not None:
        raise ArgumentError(f"the name cannot be used: {reason}", where="NAME", got=repr(name), expected="another one")


def _template_words() -> set[str]:
    """Return every word of the template's Python files: a class of such a name would hide another one."""
    files = ("my_transform/transform.py", "tests/test_conformance.py")
    return {word for path in files for word in re.findall(r"\w+", _template(path))}


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _is_importable(package: str) -> bool:
    try:
        spec = util.find_spec(package)
    except (ImportError, ValueError):
        return False
    # Without an origin it is any folder of that name, such as the current one's.
    return spec is not None and spec.origin is not None


def _checked_author(author: str) -> str:
    if not author.strip() or not author.isprintable():
        raise ArgumentError("the author is not one line of text", where="--author", got=repr(author))
    return author.strip()


def _as_written(path: str) -> str:
    return re.sub(r"(^|/)dot_", r"\1.", path)


def _template(path: str) -> str:
    return resources.files("inmf_flow.plugins").joinpath("template", path).read_text(encoding="utf-8")


def _replaced(text: str, words: Mapping[str, str]) -> str:
    # In one pass, so that nothing is replaced in what was put in; longer words first.
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(pattern, lambda found: words[found[0]], text)


def _write(target: Path, files: Mapping[str, str], words: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        for name, path in files.items():
            text = {word: _quoted(new) if path.endswith(".toml") else new for word, new in words.items()}
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(_replaced(_template(path), text), encoding="utf-8")
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(temporary)
        raise


def _quoted(text: str) -> str:
    """Return text as it stands between double quotes in TOML."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
