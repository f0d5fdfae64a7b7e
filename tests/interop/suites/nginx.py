"""nginx's memcached_pass: pages from the cache, and what happens when they are not there."""

import gzip
import http.client
import subprocess
import time
import unittest
import urllib.parse

from .outcome import of_checks

PORTS = (11211, 11212)
DYING_PORT = 11213
NGINX_PORT = 8080
READY_SECS = 20
STOP_SECS = 10

CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    upstream first { server 127.0.0.1:11211; keepalive 1; }
    upstream both { server 127.0.0.1:11211; server 127.0.0.1:11212; }
    upstream dying { server 127.0.0.1:11213 max_fails=0; }
    upstream replaced { server 127.0.0.1:11213 max_fails=0; server 127.0.0.1:11211 backup; }

    server {
        listen 127.0.0.1:8080;
        set $memcached_key $uri$is_args$args;
        memcached_next_upstream error timeout invalid_response not_found;
        memcached_gzip_flag 2;
        memcached_read_timeout 10s;
        error_page 404 502 504 = @fallback;

        location / { memcached_pass first; }
        location /both/ { memcached_pass both; }
        location /dying/ { memcached_pass dying; }
        location /replaced/ { memcached_pass replaced; }
        location @fallback { return 200 "made for $uri after $upstream_status"; }
    }
}
"""


class Nginx:
    def run(self, room):
        room.serve(*PORTS)
        folder = room.scratch / "nginx"
        folder.mkdir()
        (folder / "nginx.conf").write_text(CONFIGURATION)
        command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        with room.output.open("ab") as output:
            nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            await_ready(nginx)
            return of_checks(NginxChecks, room)
        finally:
            nginx.terminate()
            nginx.wait(timeout=STOP_SECS)


def await_ready(nginx):
    deadline = time.monotonic() + READY_SECS
    while True:
        try:
            return connect().connect()
        except OSError:
            if time.monotonic() > deadline:
                raise
        try:
            status = nginx.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"nginx ended with status {status}")


def connect():
    return http.client.HTTPConnection("127.0.0.1", NGINX_PORT, timeout=20)


class NginxChecks(unittest.TestCase):
    def setUp(self):
        self.first, self.second = self.room.servers[:2]
        self.first.flush()
        self.second.flush()

    def request(self, target):
        """What nginx answers: the reply with its headers, and its body."""
        connection = connect()
        self.addCleanup(connection.close)
        connection.request("GET", target)
        reply = connection.getresponse()
        return reply, reply.read()

    def assert_page(self, target, page):
        reply, body = self.request(target)
        self.assertEqual((reply.status, body), (200, page))

    def assert_fallback(self, target, upstream_status):
        self.assert_page(target, f"made for {target} after {upstream_status}".encode())

    def test_hit(self):
        self.first.store(b"/page", b"a page")
        reply, body = self.request("/page")
        self.assertEqual((reply.status, body), (200, b"a page"))
        self.assertEqual(reply.getheader("Content-Length"), "6")
        self.assertEqual(reply.getheader("Content-Type"), "text/plain")

    def test_miss_falls_back(self):
        self.assert_fallback("/missing", 404)

    def test_empty_page(self):
        self.first.store(b"/empty", b"")
        self.assert_page("/empty", b"")

    def test_page_that_looks_like_the_protocol(self):
        page = b"one\r\nEND\r\nVALUE /x 0 1\r\ny\r\nEND\r\n"
        self.first.store(b"/odd", page)
        self.assert_page("/odd", page)

    def test_large_page(self):
        page = bytes(range(256)) * 4000
        self.first.store(b"/large", page)
        self.assert_page("/large", page)

    def test_query_is_part_of_the_key(self):
        self.first.store(b"/page?a=1&b=2", b"one and two")
        self.assert_page("/page?a=1&b=2", b"one and two")
        self.assertIn(b"made for /page", self.request("/page?a=1&b=3")[1])

    def test_odd_characters_in_keys(self):
        # nginx decodes the path, then escapes what would break memcached's line.
        for path, key in {
            "/a b": b"/a%20b",
            "/tab\tand\nline": b"/tab%09and%0Aline",
            "/100%": b"/100%25",
            "/\u00e9\u6f22\U0001f4a3": "/\u00e9\u6f22\U0001f4a3".encode(),
            "/quote\"'`;,:|\\{}[]<>^~": b"/quote\"'`;,:|\\{}[]<>^~",
            "/\x7f\u0080\u00ff": "/\x7f\u0080\u00ff".encode(),
        }.items():
            with self.subTest(path):
                self.first.store(key, key[::-1])
                self.assert_page(urllib.parse.quote(path), key[::-1])

    def test_longest_key(self):
        longest = "/" + 249 * "k"
        self.first.store(longest.encode(), b"found")
        self.assert_page(longest, b"found")

    def test_too_long_a_key_falls_back(self):
        self.assert_fallback("/" + 250 * "k", 502)
        self.first.store(b"/page", b"a page")
        self.assert_page("/page", b"a page")

    def test_flag_says_gzip(self):
        self.first.store(b"/packed", gzip.compress(b"a page"), flags=2)
        reply, body = self.request("/packed")
        self.assertEqual(reply.getheader("Content-Encoding"), "gzip")
        self.assertEqual(gzip.decompress(body), b"a page")

    def test_connections_are_kept(self):
        self.first.store(b"/page", b"a page")
        before = self.first.stat("total_connections")
        for _ in range(100):
            self.assert_page("/page", b"a page")
            self.assert_fallback("/missing", 404)
        # One that nginx keeps, and the one that asks here.
        self.assertLessEqual(self.first.stat("total_connections") - before, 2)

    def test_asks_the_next_server_on_a_miss(self):
        self.second.store(b"/both/page", b"on the second")
        for _ in range(4):
            self.assert_page("/both/page", b"on the second")

    def test_server_that_is_gone(self):
        (dying,) = self.room.serve(DYING_PORT)
        dying.store(b"/dying/page", b"from the dying")
        dying.store(b"/replaced/page", b"from the dying")
        self.first.store(b"/replaced/page", b"from the spare")
        self.assert_page("/dying/page", b"from the dying")
        self.assert_page("/replaced/page", b"from the dying")
        dying.stop()
        self.assert_fallback("/dying/page", 502)
        self.assert_page("/replaced/page", b"from the spare")
