"""libmemcached's conformance test, and its command line tools over two servers."""

import re
import subprocess
import time
import unittest

from .outcome import Outcome, of_checks

PORTS = (11211, 11212)
FRESH_PORT = 11213
TOOL_SECS = 60


class Memccapable:
    """Run whole: what its `version` test finds decides what its `quit` test wants."""

    def __init__(self, protocol_flag):
        self.protocol_flag = protocol_flag

    def run(self, room):
        port = PORTS[0]
        room.serve(port)
        command = ["memccapable", self.protocol_flag, "-v", "-h", "127.0.0.1", "-p", str(port), "-t", "5"]
        # What it says on standard error would come in between at any place; what failed is told here.
        _, output = room.run(command, stderr=subprocess.DEVNULL)
        return of_memccapable(output)


def of_memccapable(output):
    """Each test's name is padded to 40 columns, and followed by [pass] or by what was wrong."""
    outcome = Outcome()
    _, *parts = re.split(r"((?:ascii|binary) [a-z]+(?: [a-z]+)*) {2,}", output)
    for name, verdict in zip(parts[::2], parts[1::2], strict=True):
        if verdict.startswith("[pass]"):
            outcome.passed += 1
        else:
            outcome.fail(name, verdict)
    return outcome


class Tools:
    def run(self, room):
        room.serve(*PORTS)
        return of_checks(ToolChecks, room)


class ToolChecks(unittest.TestCase):
    """Every tool that talks to a server, each spreading its keys over both."""

    # Beyond 30 days an expiry time is a moment, and this one is in 1970.
    LONG_AGO = "2678400"

    def setUp(self):
        self.servers = self.room.servers[: len(PORTS)]
        for server in self.servers:
            server.flush()
        self.folder = self.room.scratch / self.id()
        self.folder.mkdir()
        self.all_servers = ",".join(server.address for server in self.servers)

    def tool(self, name, *arguments, status=0, servers=None):
        command = [name, f"--servers={servers or self.all_servers}", *arguments]
        ended, output = self.room.run(command, cwd=self.folder, timeout=TOOL_SECS)
        self.assertEqual(ended, status, f"{command}\n{output}")
        return output

    def files(self, count):
        """Files to copy to the servers: name and content."""
        contents = {f"file{n}": f"content of file {n}" for n in range(count)}
        for name, content in contents.items():
            (self.folder / name).write_text(content)
        return contents

    def stats_of_both(self, name):
        return [server.stat(name) for server in self.servers]

    def test_memccp_spreads_and_memccat_finds(self):
        before = self.stats_of_both("cmd_set")
        files = self.files(40)
        self.tool("memccp", *files)
        sets = [now - then for now, then in zip(self.stats_of_both("cmd_set"), before, strict=True)]
        self.assertEqual(sum(sets), 40)
        self.assertGreater(min(sets), 0)
        self.assertEqual(self.tool("memccat", *files).split("\n")[:-1], list(files.values()))

    def test_memccp_and_memccat_by_another_hash(self):
        files = self.files(10)
        self.tool("memccp", "--hash=murmur", *files)
        self.assertEqual(self.tool("memccat", "--hash=murmur", *files).split("\n")[:-1], list(files.values()))

    def test_memccp_buffered_and_non_blocking(self):
        files = self.files(40)
        self.tool("memccp", "--buffer", "--non-blocking", *files)
        self.assertEqual(self.tool("memccat", "--non-blocking", *files).split("\n")[:-1], list(files.values()))

    def test_memccp_add(self):
        first, second = self.files(2)
        self.tool("memccp", "--add", first)
        self.assertIn("NOT STORED", self.tool("memccp", "--add", first, status=1))
        self.tool("memccp", "--add", second)

    def test_memccp_replace(self):
        (name,) = self.files(1)
        self.assertIn("NOT STORED", self.tool("memccp", "--replace", name, status=1))
        self.tool("memccp", "--set", name)
        self.tool("memccp", "--replace", name)

    def test_memccp_flags(self):
        (name,) = self.files(1)
        self.tool("memccp", "--flags=7", name)
        self.assertEqual(self.tool("memccat", "--flags", name), "7\ncontent of file 0\n")

    def test_memccp_already_expired(self):
        (name,) = self.files(1)
        self.tool("memccp", f"--expire={self.LONG_AGO}", name)
        self.tool("memccat", name, status=1)

    def test_memccat_writes_every_byte(self):
        content = bytes(range(256)) * 1024 + b"\r\nEND\r\n"
        (self.folder / "sent").write_bytes(content)
        self.tool("memccp", "sent")
        self.tool("memccat", "--file=received", "sent")
        self.assertEqual((self.folder / "received").read_bytes(), content)

    def test_memccat_misses(self):
        self.assertEqual(self.tool("memccat", "missing", status=1), "")

    def test_memcexist(self):
        files = self.files(4)
        self.tool("memccp", *files)
        self.tool("memcexist", *files)
        self.tool("memcexist", "file0", "missing", status=1)
        # It asks by adding an item that has already expired, which must not come into being.
        self.tool("memccat", "missing", status=1)
        self.tool("memcexist", "missing", status=1)

    def test_memctouch(self):
        kept, dropped = files = self.files(2)
        self.tool("memccp", *files)
        self.tool("memctouch", "--expire=100", kept)
        self.tool("memctouch", f"--expire={self.LONG_AGO}", dropped)
        self.tool("memccat", kept)
        self.tool("memccat", dropped, status=1)
        self.tool("memctouch", "--expire=100", "missing", status=1)

    def test_memcrm(self):
        first, second = files = self.files(2)
        self.tool("memccp", *files)
        self.tool("memcrm", first)
        self.tool("memccat", first, status=1)
        self.tool("memccat", second)
        self.tool("memcrm", first, status=1)

    def test_memcflush(self):
        files = self.files(10)
        self.tool("memccp", *files)
        self.tool("memcflush")
        for name in files:
            self.tool("memccat", name, status=1)

    def test_memcping(self):
        self.assertEqual(self.tool("memcping"), "")
        nobody = "127.0.0.1:9"
        self.assertIn(nobody, self.tool("memcping", servers=f"{self.all_servers},{nobody}", status=1))

    def test_memcstat(self):
        general = self.stats("memcstat")
        for server, stats in zip(self.servers, general, strict=True):
            self.assertEqual(stats["pid"], str(server.pid))
            self.assertLess(abs(int(stats["time"]) - time.time()), 60)
            self.assertRegex(stats["version"], r"^\d+\.\d+\.\d+")
            self.assertEqual(stats["pointer_size"], "64")
            self.assertEqual(stats["limit_maxbytes"], str(64 << 20))

    def test_memcstat_counts(self):
        before = self.stats("memcstat")
        files = self.files(20)
        self.tool("memccp", *files)
        self.tool("memccat", *files)
        self.tool("memccat", "missing", status=1)
        self.tool("memcrm", "file0")

        def grown(name):
            after = self.stats("memcstat")
            return sum(int(new[name]) - int(old[name]) for old, new in zip(before, after, strict=True))

        for name, by in {
            "cmd_set": 20,
            "cmd_get": 21,
            "get_hits": 20,
            "get_misses": 1,
            "delete_hits": 1,
            "total_items": 20,
        }.items():
            self.assertEqual(grown(name), by, name)

    def test_memcstat_settings(self):
        for server, stats in zip(self.servers, self.stats("memcstat", "settings"), strict=True):
            self.assertEqual(stats["tcpport"], str(server.port))
            self.assertEqual(stats["maxbytes"], str(64 << 20))
            self.assertEqual(stats["item_size_max"], str(1 << 20))
            self.assertEqual(stats["cas_enabled"], "yes")

    def test_memcstat_other_kinds_end(self):
        self.tool("memccp", *self.files(10))
        for kind in ("items", "slabs", "sizes", "conns", "reset"):
            with self.subTest(kind):
                self.tool("memcstat", kind)

    def test_memcstat_version(self):
        lines = self.tool("memcstat", "--server-version").splitlines()
        self.assertEqual([line.split()[0] for line in lines], [server.address for server in self.servers])
        for line in lines:
            self.assertRegex(line, r" \d+\.\d+\.\d+$")

    def test_memcstat_analyzes(self):
        files = self.files(10)
        self.tool("memccp", *files)
        self.tool("memccat", *files)
        report = self.tool("memcstat", "--analyze")
        self.assertRegex(report, r"Number of Servers Analyzed +: 2\n")
        self.assertRegex(report, r"Pool-wide Hit Ratio +: [1-9]\d*%")
        self.assertRegex(report, r"Node with most memory consumption +: 127.0.0.1:1121[12] \([1-9]\d* bytes\)")

    def test_memcstat_measures_latency(self):
        report = self.tool("memcstat", "--analyze=latency", "--iterations=100")
        self.assertEqual(report.count(" => "), 3)

    def test_memcdump(self):
        # It walks `stats items` and `stats cachedump`, which promise no complete list,
        # and may still name what was flushed: hence a server that has seen nothing else.
        (fresh,) = self.room.serve(FRESH_PORT)
        files = self.files(10)
        self.tool("memccp", *files, servers=fresh.address)
        self.assertLessEqual(set(self.tool("memcdump", servers=fresh.address).split()), set(files))
        fresh.stop()

    def test_memcslap_get(self):
        hits = sum(self.stats_of_both("get_hits"))
        report = self.tool("memcslap", "--test=get", "--concurrency=4", "--execute-number=500")
        self.assertRegex(report, r"Time to get +2000 keys by +4 threads")
        self.assertEqual(sum(self.stats_of_both("get_hits")) - hits, 2000)

    def test_memcslap_mget(self):
        hits = sum(self.stats_of_both("get_hits"))
        self.tool("memcslap", "--test=mget", "--concurrency=4", "--execute-number=500")
        self.assertEqual(sum(self.stats_of_both("get_hits")) - hits, 2000)

    def test_memcslap_set(self):
        sets = sum(self.stats_of_both("cmd_set"))
        self.tool("memcslap", "--test=set", "--non-blocking", "--concurrency=4", "--execute-number=500")
        self.assertEqual(sum(self.stats_of_both("cmd_set")) - sets, 2000)

    def test_memcaslap_verifies(self):
        self.aslap("--fixed_size=200")

    def test_memcaslap_gets_many_at_once(self):
        self.aslap("--division=20")

    def aslap(self, *arguments):
        load = ["--threads=2", "--concurrency=16", "--execute_number=20000"]
        report = self.tool("memcaslap", *load, "--verify=1.0", *arguments)
        counts = dict(re.findall(r"^(\w+): (\d+)$", report, re.MULTILINE))
        self.assertEqual(int(counts["cmd_get"]) + int(counts["cmd_set"]), 20000)
        for name in ("get_misses", "verify_misses", "verify_failed"):
            self.assertEqual(counts[name], "0", report)

    def stats(self, *command):
        """What memcstat prints, one dictionary per server."""
        _, *sections = re.split(r"^Server: .*$", self.tool(*command), flags=re.MULTILINE)
        self.assertEqual(len(sections), len(self.servers))
        return [dict(re.findall(r"^\t([^:]+): (.*)$", section, re.MULTILINE)) for section in sections]
