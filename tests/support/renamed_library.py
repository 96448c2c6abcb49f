"""A version of aiortc and aioice that calls some of its parts otherwise, all through its own code.

    environment = renamed_parts(directory, "aiortc", ["_t1_start"])    # for processes of the real program

It is the installed version, its source read with those names changed: it works as ever for who uses its documented API.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# Python imports a module of this name by itself when it starts.
_HOOK = """
import re, sys
from importlib.machinery import PathFinder, SourceFileLoader

PACKAGE, NAMES = {package!r}, {names!r}
PATTERN = re.compile(r"\\b(?:" + "|".join(map(re.escape, NAMES)) + r")\\b")


class Renaming(SourceFileLoader):
    def get_code(self, fullname):
        source = self.get_data(self.path).decode()
        return compile(PATTERN.sub(lambda found: found[0] + "_otherwise", source), self.path, "exec")


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Renaming(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, Finder)
"""


def renamed_parts(directory: Path, package: str, names: Iterable[str]) -> dict[str, str]:
    """The environment in which Python sees `package` with `names` changed; `directory` gets what that takes."""
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(_HOOK.format(package=package, names=sorted(names)))
    paths = [str(directory), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
