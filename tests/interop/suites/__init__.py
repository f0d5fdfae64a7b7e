"""The suites, one class each, and what they stand on.

outcome         what a suite reported, read from its output
room            a private place for one suite: network, processes, folder, servers
server          one server under test
cache           where `install` put the sdists and the virtual environment
libmemcached    memccapable and the libmemcached tools
nginx           nginx's memcached_pass
python_clients  pymemcache, python-memcached, pylibmc, Django
"""
