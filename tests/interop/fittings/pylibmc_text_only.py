"""A pytest plugin: skips those of pylibmc's tests that speak the binary protocol.

They ask for it one by one where they make their client, so that is where
they are told apart; the tests themselves stay as they are.
"""

import pylibmc.test
import pytest

make_any_client = pylibmc.test.make_test_client


def make_text_client(*args, binary=False, **kwargs):
    if binary:
        pytest.skip("speaks the binary protocol")
    return make_any_client(*args, **kwargs)


pylibmc.test.make_test_client = make_text_client
