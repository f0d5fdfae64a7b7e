"""The test suites of Python's memcached clients and of Django, from their sdists."""

from .outcome import of_junit, of_unittest_output

HOST, PORT = "127.0.0.1", 11211
TEST_SECS = 10


class Pytest:
    def __init__(self, sdist, tests, *arguments, plugins=None):
        self.sdist = sdist
        self.arguments = [tests, *arguments]
        self.plugins = plugins

    def run(self, room):
        room.serve(PORT)
        report = room.scratch / "report.xml"
        folder = room.cache.sdist(self.sdist)
        paths = [str(folder)] + ([str(self.plugins)] if self.plugins else [])
        _, output = room.run(
            [
                *(room.cache.python, "-m", "pytest", "-v", "-p", "no:cacheprovider"),
                *(f"--timeout={TEST_SECS}", f"--junitxml={report}"),
                # Whatever options and coverage the package sets for its own developers.
                *("-o", "addopts="),
                *self.arguments,
            ],
            cwd=folder,
            environment={"PYTHONPATH": ":".join(paths)},
        )
        return of_junit(report, output)


class Django:
    def __init__(self, tests, settings_folder):
        self.tests = tests
        self.settings_folder = settings_folder

    def run(self, room):
        room.serve(PORT)
        _, output = room.run(
            [
                *(room.cache.python, "runtests.py", "--parallel=1", "--verbosity=2"),
                *("--settings=django_settings", self.tests),
            ],
            cwd=room.cache.sdist("django") / "tests",
            environment={"PYTHONPATH": str(self.settings_folder)},
        )
        return of_unittest_output(output)
