"""The folder outside the tree in which `install` keeps the sdists and the virtual environment."""

import os
import pathlib


class Cache:
    def __init__(self):
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        self.folder = pathlib.Path(base) / "larder-interop"
        self.python = self.folder / "venv/bin/python"

    def sdist(self, package):
        """The unpacked sdist of the one pinned version of a package."""
        pins = (pathlib.Path(__file__).parents[1] / "sdists.txt").read_text().split()
        (pin,) = (pin for pin in pins if pin.startswith(f"{package}=="))
        return self.folder / "sdists" / pin.replace("==", "-")

    def is_complete(self):
        return (self.folder / "complete").exists()
