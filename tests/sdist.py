"""The source archive carries the tests as well: ``cmdclass`` in pyproject.toml names this class.

setuptools packs the packages, and what else belongs into an archive it reads from a MANIFEST.in beside pyproject.toml.
"""

from __future__ import annotations

from setuptools.command.sdist import sdist


class Sdist(sdist):
    """The command with the folders that no package holds, so that both of README's commands work in the archive."""

    def make_distribution(self) -> None:
        """Add them before the archive is made."""
        for folder in ("tests", ".ci"):
            self.filelist.graft(folder)
        self.filelist.append(".gitignore")
        self.filelist.global_exclude("*.py[cod]")
        super().make_distribution()
