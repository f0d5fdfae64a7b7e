"""A private place for one suite.

Every suite has a network of its own, with nothing in it but loopback: the
fixed ports that suites insist on clash with nothing, and suites run side by
side. It has process ids of its own too: whatever is started in a room ends
with the room, and a room ends with the process that opened it, even when
that one is killed.
"""

import os
import subprocess

from .outcome import Outcome
from .server import Server, ServerError


def entering(command):
    """The command that runs another one in a new room."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", *as_root, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", 'ip link set lo up && exec "$@"', "room"),
        *command,
    ]


class Room:
    """The inside: a scratch folder, the servers, and the programs that talk to them."""

    def __init__(self, server_command, scratch, cache):
        self.scratch = scratch
        self.cache = cache
        self.output = scratch / "output.log"
        self.servers = []
        self._server_command = server_command

    def serve(self, *ports, arguments=lambda port: ()):
        """Starts a server on each port, with arguments of its own, and returns them once they answer."""
        started = [Server(self._server_command, port, self.scratch, arguments(port)) for port in ports]
        self.servers += started
        for server in started:
            server.await_ready()
        return started

    def run(self, command, **options):
        """Runs a program to its end and returns its exit status and all it printed.

        It prints into a file, which can still be read if the suite never ends.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MEMCACHED_", "PYTHON", "PYTEST"))
        }
        environment |= {"TMPDIR": str(self.scratch), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= options.pop("environment", {})
        start = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            status = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                **{"stderr": subprocess.STDOUT, "cwd": self.scratch} | options,
            ).returncode
        with self.output.open("rb") as output:
            output.seek(start)
            return status, output.read().decode(errors="replace")

    def close(self):
        """Stops the servers; what was wrong with them counts as failed tests."""
        outcome = Outcome()
        for server in self.servers:
            try:
                server.stop()
            except ServerError as error:
                log = server.log.read_text(errors="replace")
                outcome.fail(f"server on {server.address}", f"{error}\n{log}")
        return outcome
