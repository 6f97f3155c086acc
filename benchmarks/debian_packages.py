"""Debian packages in a folder of their own: downloaded by apt-get, unpacked by dpkg, never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


class MissingToolError(RuntimeError):
    """Something that this machine lacks; the message says how to get it."""


class Packages:
    """A folder of unpacked packages: ``FOLDER/NAME/usr/share/...``.

    A package appears under its name when it is whole, so an interrupted call is taken up where it stopped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def root(self, name: str) -> Path:
        """Return the folder that one package is unpacked in, downloading it first where it is not there yet."""
        return self._unpacked(name, lambda: [name])

    def tool(self, name: str) -> tuple[Path, dict[str, str]]:
        """Return a program and the environment that it needs: the machine's own, else one of an unpacked package.

        The package must have the program's name; libraries that the machine lacks are unpacked beside it.
        """
        installed = shutil.which(name)
        if installed:
            return Path(installed), dict(os.environ)
        try:
            root = self._unpacked(f"{name}-with-libraries", lambda: needed_packages(name))
        except MissingToolError as error:
            raise MissingToolError(f"{name} is missing, and so is its package: {error}\nInstall {name}.") from error
        libraries = sorted({str(path.parent) for path in root.rglob("*.so.*")})
        known = os.environ.get("LD_LIBRARY_PATH")
        joined = os.pathsep.join([*libraries, *([known] if known else [])])
        return root / "usr/bin" / name, {**os.environ, "LD_LIBRARY_PATH": joined}

    def _unpacked(self, label: str, names: Callable[[], list[str]]) -> Path:
        root = self.folder / label
        if root.is_dir():
            return root
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".partial-") as partial:
            wanted = names()
            print(f"downloading {label} ({len(wanted)} package{'s' if len(wanted) > 1 else ''})", flush=True)
            debs, tree = Path(partial, "debs"), Path(partial, "tree")
            debs.mkdir()
            tree.mkdir()
            # Without a sandbox user, who could not write into this folder.
            _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *wanted], debs)
            for deb in sorted(debs.glob("*.deb")):
                _run(["dpkg", "-x", str(deb), str(tree)], debs)
            tree.rename(root)
        return root


@cache
def needed_packages(name: str) -> list[str]:
    """Return a package and those of its dependencies that this machine lacks, as apt-get would install them."""
    plan = _run(["apt-get", "install", "--simulate", "--no-install-recommends", name], Path.cwd())
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    if not names:
        raise MissingToolError(f"the package {name} is installed, but the program is not on the PATH")
    return names


def _run(command: list[str], folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise MissingToolError(
            f"{command[0]} is missing: the audio comes from Debian packages, so this needs Debian or a relative of it."
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise MissingToolError(
            f"`{' '.join(command[:6])}` failed: {words[-1] if words else done.returncode}\n"
            "If packages are not found, run `apt-get update` once (as root)."
        )
    return done.stdout
