"""One server under test: started with memcached's flags, awaited, talked to, stopped by its process id."""

import os
import shlex
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"
READY_SECS = 20
REPLY_SECS = 20
STOP_SECS = 10
CLEAN_EXITS = (0, -signal.SIGTERM)


class ServerError(Exception):
    """The server did not do what any server must: start, answer, stop."""


class Server:
    def __init__(self, command, port, scratch, more=()):
        self.port = port
        self.address = f"{HOST}:{port}"
        self._stopped = False
        self.log = scratch / f"server-{port}.log"
        program, *arguments = shlex.split(command)
        # It runs in the scratch folder, so that what it may leave behind goes with that.
        program = os.path.abspath(program) if "/" in program else program
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, *arguments, "-p", str(port), "-U", "0", "-l", HOST, *more],
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self):
        return self.process.pid

    def await_ready(self):
        deadline = time.monotonic() + READY_SECS
        while not self._accepts():
            try:
                status = self.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise ServerError(f"no answer on {self.address} within {READY_SECS} s") from None
            else:
                raise ServerError(f"ended with status {status} before it listened on {self.address}")
        reply = self.converse(b"version\r\n")
        if not reply.startswith(b"VERSION "):
            raise ServerError(f"answered {reply!r} to version")

    def stop(self):
        """Ends it, once; raises if it had not lived until now or does not end as it should."""
        if self._stopped:
            return
        self._stopped = True
        died = self.process.poll()
        if died is not None:
            raise ServerError(f"ended by itself with status {died}")
        self.process.terminate()
        try:
            status = self.process.wait(timeout=STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerError(f"did not end within {STOP_SECS} s of SIGTERM") from None
        if status not in CLEAN_EXITS:
            raise ServerError(f"ended with status {status} after SIGTERM")

    def converse(self, request, end=b"\r\n"):
        """Sends a request on a connection of its own and returns all that comes up to `end`."""
        with socket.create_connection((HOST, self.port), timeout=REPLY_SECS) as connection:
            connection.sendall(request)
            reply = b""
            while not reply.endswith(end):
                received = connection.recv(65536)
                if not received:
                    raise ServerError(f"closed the connection after {reply!r}")
                reply += received
            return reply

    def store(self, key, value, flags=0):
        reply = self.converse(b"set %b %d 0 %d\r\n%b\r\n" % (key, flags, len(value), value))
        if reply != b"STORED\r\n":
            raise ServerError(f"answered {reply!r} to set of {key!r}")

    def flush(self):
        reply = self.converse(b"flush_all\r\n")
        if reply != b"OK\r\n":
            raise ServerError(f"answered {reply!r} to flush_all")

    def stat(self, name, group=""):
        request = f"stats {group}".strip().encode() + b"\r\n"
        for line in self.converse(request, end=b"END\r\n").decode().splitlines():
            if line.startswith(f"STAT {name} "):
                return int(line.split()[2])
        raise ServerError(f"has no stat {name}")

    def _accepts(self):
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True
