/*
 * Says where libmemcached places keys.
 *
 * Input: a line per server, "server HOST PORT WEIGHT", then a line per key, "key KEY".
 * Output: a line per key, the index of the server that owns it.
 */
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char line[1024], host[512];
    unsigned port, weight;
    memcached_st *memc = memcached_create(NULL);

    if (memc == NULL ||
        memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1) != MEMCACHED_SUCCESS) {
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "key ", 4) == 0) {
            printf("%u\n", memcached_generate_hash(memc, line + 4, strlen(line + 4)));
        } else if (sscanf(line, "server %511s %u %u", host, &port, &weight) != 3 ||
                   memcached_server_add_with_weight(memc, host, (in_port_t) port, weight) !=
                       MEMCACHED_SUCCESS) {
            return 1;
        }
    }
    memcached_free(memc);
    return 0;
}
