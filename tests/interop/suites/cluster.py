"""Five nodes of one cache, and clients that each place keys in their own way on some of them."""

import pathlib
import time
import unittest

from .outcome import of_checks

PORTS = range(11211, 11216)
PEERS = 10000
SETTLED_SECS = 30
CLIENTS = ("pymemcache", "pylibmc", "python-memcached", "django", "elasticache-auto-discovery")
PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "fittings/cluster_clients.py"


class Cluster:
    def run(self, room):
        secret = room.scratch / "secret"
        secret.write_text("what all five of them know")
        seeds = ",".join(f"127.0.0.1:{port + PEERS}" for port in PORTS)
        of_all = ("--cluster-secret-file", str(secret), "--seed", seeds)
        room.serve(*PORTS, arguments=lambda port: ("--peer-listen", f"127.0.0.1:{port + PEERS}", *of_all))
        await_all(room.servers)
        return of_checks(ClusterChecks, room)


def await_all(servers):
    """Waits until each node knows that each has keys, and has come for good: until then keys still move."""
    deadline = time.monotonic() + SETTLED_SECS
    while any(serving(server) != len(servers) - 1 or owners(server) != len(servers) for server in servers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the nodes are not one cluster after {SETTLED_SECS} s")
        time.sleep(0.05)


def lines_of(server, name):
    lines = server.converse(b"stats cluster\r\n", end=b"END\r\n").decode().splitlines()
    return [line for line in lines if f":{name} " in line]


def serving(server):
    """How many others serve, as this one knows it."""
    return sum(line.endswith(" serving") for line in lines_of(server, "state"))


def owners(server):
    return sum(not line.endswith(" 0.00") for line in lines_of(server, "keys_percent"))


class ClusterChecks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for client in CLIENTS:
            status, output = cls.clients("write", client)
            if status != 0:
                raise AssertionError(output)

    @classmethod
    def clients(cls, *arguments):
        return cls.room.run([cls.room.cache.python, str(PROGRAM), *arguments], timeout=60)

    def forwarded(self):
        return sum(server.stat("forwarded", group="cluster") for server in self.room.servers)

    def check_reads(self, client):
        status, output = self.clients("read", client)
        self.assertEqual(status, 0, output)

    def test_pymemcache_on_three_nodes_reads_all(self):
        before = self.forwarded()
        self.check_reads("pymemcache")
        self.assertGreater(self.forwarded(), before)

    def test_pylibmc_reads_all_where_it_is(self):
        # Weighted ketama is how the nodes place keys.
        before = self.forwarded()
        self.check_reads("pylibmc")
        self.assertEqual(self.forwarded(), before)

    def test_python_memcached_on_two_nodes_reads_all(self):
        self.check_reads("python-memcached")

    def test_django_reads_all(self):
        self.check_reads("django")

    def test_who_discovers_the_nodes_reads_all(self):
        self.check_reads("elasticache-auto-discovery")

    def test_discovery_names_all_nodes(self):
        status, output = self.clients("discover")
        self.assertEqual((status, output.split()), (0, [server.address for server in self.room.servers]))
