"""Clients of a cluster, each given the nodes and placing keys in its own way: writes or reads 1,000 keys.

    cluster_clients.py write CLIENT      its keys
    cluster_clients.py read CLIENT       those of all clients, and says which are not as they were written
    cluster_clients.py discover          the nodes that the first one names
"""

import sys

HOST = "127.0.0.1"
PORTS = range(11211, 11216)
FIRST = f"{HOST}:{PORTS[0]}"
KEYS = 1000
AT_ONCE = 100


def hash_client(ports):
    from pymemcache.client.hash import HashClient
    from pymemcache.serde import pickle_serde

    servers = [(HOST, port) for port in ports]
    client = HashClient(servers, serde=pickle_serde, connect_timeout=10, timeout=10)
    return client.set_many, client.get_many


def pymemcache():
    return hash_client(PORTS[1:4])


def discovered():
    return hash_client(int(port) for _, _, port in discover())


def discover():
    import elasticache_auto_discovery

    return elasticache_auto_discovery.discover(FIRST, time_to_timeout=10)


def pylibmc():
    import pylibmc

    servers = [f"{HOST}:{port}" for port in PORTS]
    client = pylibmc.Client(servers, behaviors={"ketama_weighted": True})
    return client.set_multi, client.get_multi


def python_memcached():
    import memcache

    client = memcache.Client([f"{HOST}:{port}" for port in PORTS[3:]], socket_timeout=10)
    return client.set_multi, client.get_multi


def django():
    from django.conf import settings

    settings.configure(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": [f"{HOST}:{port}" for port in reversed(PORTS)],
                "OPTIONS": {"connect_timeout": 10, "timeout": 10},
                # As the others write them.
                "KEY_FUNCTION": lambda key, prefix, version: key,
            }
        }
    )
    from django.core.cache import cache

    return cache.set_many, cache.get_many


CLIENTS = {
    "pymemcache": pymemcache,
    "pylibmc": pylibmc,
    "python-memcached": python_memcached,
    "django": django,
    "elasticache-auto-discovery": discovered,
}


def items(client):
    return {f"{client}:{number}": f"value {number} of {client}, " + "x" * (number % 50) for number in range(KEYS)}


def parts(written):
    pairs = list(written.items())
    return [dict(pairs[at : at + AT_ONCE]) for at in range(0, len(pairs), AT_ONCE)]


def write(client):
    set_many, _ = CLIENTS[client]()
    failed = [key for part in parts(items(client)) for key in set_many(part) or []]
    if failed:
        sys.exit(f"{client} could not write {len(failed)} keys, such as {failed[0]}")


def read(client):
    _, get_many = CLIENTS[client]()
    for writer in CLIENTS:
        for part in parts(items(writer)):
            found = get_many(list(part))
            wrong = [key for key, value in part.items() if found.get(key) != value]
            if wrong:
                key = wrong[0]
                sys.exit(
                    f"{client} reads {len(wrong)} of {len(part)} keys of {writer} as they were not written, "
                    f"such as {key}: {found.get(key)!r}"
                )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", client]:
            write(client)
        case ["read", client]:
            read(client)
        case ["discover"]:
            print(*sorted(f"{host.decode()}:{port.decode()}" for host, _, port in discover()))
        case _:
            sys.exit(__doc__)
