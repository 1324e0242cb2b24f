"""The readme and the project URLs of the wheel, made from README.md and the repository's address in pyproject.toml."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n*")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


def wheel_readme(text: str, repository: str) -> str:
    """Pictures and links get the repository's address. Without one, pictures are left out and links are plain text."""
    if not repository:
        return LINK.sub(r"\1", PICTURE.sub("", text))
    return LINK.sub(rf"[\1]({repository}/blob/main/\2)", PICTURE.sub(rf"![\1]({repository}/raw/main/\2)\n\n", text))


def project_urls(repository: str) -> dict[str, str]:
    """What an index shows beside the readme."""
    return {"Repository": repository, "Changelog": f"{repository}/blob/main/CHANGELOG.md"} if repository else {}


class CustomMetadataHook(MetadataHookInterface):
    """Called by hatchling for the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme` and `urls`."""
        repository = self.config["repository"]
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": wheel_readme(text, repository)}
        metadata["urls"] = project_urls(repository)
