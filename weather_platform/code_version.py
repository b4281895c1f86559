"""Which code this is: the package's version, the digest of the code that models come from, and the commit if any.

What belongs here: naming the running code, from its own files. What does not: comparing (``domain.reproduction``).
The digest is over the sources of ``weather_platform.domain``, which alone decides features, splits and training: it is
there for an installed package as well, and says of a changed checkout what no commit could.
"""

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from weather_platform.domain.reproduction import CodeVersion
from weather_platform.settings import PROJECT_DIR

DISTRIBUTION = "weather-platform"


@cache
def code_version() -> CodeVersion:
    """The version of the code that is running."""
    return CodeVersion(
        package=version(DISTRIBUTION),
        domain_sha256=digest_of_sources(Path(__file__).parent / "domain"),
        commit=commit_of(PROJECT_DIR),
    )


def digest_of_sources(folder: Path) -> str:
    """One SHA-256 over names and contents of all Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def commit_of(folder: Path) -> str | None:
    """The commit of a checkout, with `-dirty` when files were changed; None where git knows of none."""
    if not (folder / ".git").exists():
        return None
    asked = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # a remark beside the digest, which does not need git
    return answer.stdout.strip()
