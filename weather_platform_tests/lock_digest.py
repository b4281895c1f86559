"""The first line of requirements.lock: a digest of the dependencies it was made from.

`make lock` writes it, a test reads it.
"""

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digest_line(pyproject: str) -> str:
    """The line for these project settings; it changes when a dependency is added, removed or bounded anew."""
    project = tomllib.loads(pyproject)
    sets = [project["project"]["requires-python"], project["project"]["dependencies"], project["dependency-groups"]]
    digest = hashlib.sha256(json.dumps(sets, sort_keys=True).encode()).hexdigest()
    return f"# Made by `make lock` from the dependencies in pyproject.toml, sha256 {digest}."


if __name__ == "__main__":
    lock = ROOT / "requirements.lock"
    pins = lock.read_text(encoding="utf-8")
    lock.write_text(f"{digest_line((ROOT / 'pyproject.toml').read_text())}\n{pins}", encoding="utf-8")
    sys.stdout.write(f"{pins.count('==')} pins\n")
