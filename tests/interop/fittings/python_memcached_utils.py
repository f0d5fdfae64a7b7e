"""Stands in for tests/utils.py, which python-memcached's sdist leaves out."""

import contextlib
import io


@contextlib.contextmanager
def captured_stderr():
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        yield stderr
