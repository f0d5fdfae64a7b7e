"""What a suite reported: how many tests passed and were skipped, which failed."""

import dataclasses
import json
import re
import unittest
import xml.etree.ElementTree


@dataclasses.dataclass
class Failure:
    test: str
    output: str


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    skipped: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)

    def fail(self, test, output):
        self.failures.append(Failure(test, output))

    def save(self, path):
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path):
        fields = json.loads(path.read_text())
        fields["failures"] = [Failure(**failure) for failure in fields["failures"]]
        return cls(**fields)


def of_junit(report, output):
    """Reads pytest's --junitxml; without one, what it printed must tell why."""
    outcome = Outcome()
    if not report.exists():
        outcome.fail("the run itself", output)
        return outcome
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        problems = case.findall("failure") + case.findall("error")
        if problems:
            name = f"{case.get('classname')}::{case.get('name')}"
            outcome.fail(name, "\n".join(problem.text or "" for problem in problems))
        elif case.find("skipped") is not None:
            outcome.skipped += 1
        else:
            outcome.passed += 1
    return outcome


def of_unittest_output(output):
    """Reads what unittest's text runner prints; a test counts once, however many of its subtests fail."""
    outcome = Outcome()
    failed = {}
    for header, body in re.findall(
        r"^={70}\n(?:FAIL|ERROR): (.+)\n((?:.*\n)*?)(?=^={70}$|^-{70}\nRan )", output, re.MULTILINE
    ):
        test = re.match(r"\S+ \([^)]*\)|\S+", header).group()
        failed.setdefault(test, []).append(f"{header}\n{body}")
    for test, outputs in failed.items():
        outcome.fail(test, "\n".join(outputs))
    ran = re.search(r"^Ran (\d+) tests? in ", output, re.MULTILINE)
    if not ran:
        outcome.fail("the run itself", output)
        return outcome
    skipped = re.search(r"^(?:OK|FAILED) \(.*\bskipped=(\d+)", output, re.MULTILINE)
    outcome.skipped = int(skipped.group(1)) if skipped else 0
    outcome.passed = max(0, int(ran.group(1)) - len(failed) - outcome.skipped)
    return outcome


def of_checks(checks, room):
    """Runs checks of our own, a unittest.TestCase whose methods find the room in `self.room`."""
    checks.room = room
    outcome = Outcome()

    class Recorder(unittest.TestResult):
        def addSuccess(self, _):
            outcome.passed += 1

    recorder = Recorder()
    unittest.defaultTestLoader.loadTestsFromTestCase(checks).run(recorder)
    for test, output in recorder.failures + recorder.errors:
        outcome.fail(test.id().rpartition(".")[2], output)
    return outcome
