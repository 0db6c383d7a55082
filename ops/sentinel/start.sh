#!/bin/sh
# Starts one node of a store with failover: `start.sh node` a server, `start.sh sentinel` a sentinel. For any POSIX shell.
#
# What must stay true: a server that is started again never takes itself for the primary because it once was: it asks the
# sentinels whom to follow, and waits until most of them name the same. (That one then holds what was sold meanwhile.)
# A sentinel's configuration is written once; after that it is the sentinel's own, with what it has learned.
#
# ADDRESS         where the others reach this one. An address, not a name: a sentinel stands still while it waits for DNS
# SENTINELS       all sentinels' addresses, with spaces between
# SERVICE         what the group is called in redis+sentinel://.../SERVICE (default: sale)
# FIRST_PRIMARY   sentinels: the address of the server that is the primary when all is new
# STORE_MEMORY    servers: maxmemory (default: 1gb)
# DOWN_AFTER_MS   sentinels: a primary that is silent for so long is down (default: 3000)
set -eu

service=${SERVICE:-sale}
quorum() { set -- $SENTINELS; echo $(($# / 2 + 1)); }

# The name that this sentinel gives; nothing where it does not answer within 2 s.
named_by() {
    timeout 2 valkey-cli -h "$1" -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME "$service" 2>/dev/null | head -n 1 || true
}

# The name that most sentinels give; nothing where they don't agree.
primary() {
    for sentinel in $SENTINELS; do named_by "$sentinel"; done |
        sort | uniq -c | while read -r votes name; do
            if [ "$votes" -ge "$(quorum)" ] && [ -n "$name" ]; then echo "$name"; fi
        done
}

node() {
    until leader=$(primary) && [ -n "$leader" ]; do
        echo "waiting until $(quorum) of $SENTINELS name a primary"
        sleep 1
    done
    echo "$ADDRESS: the primary is $leader"
    set -- --appendonly yes --appendfsync always --save "" --maxmemory "${STORE_MEMORY:-1gb}" \
        --maxmemory-policy noeviction --repl-diskless-sync-delay 0 --repl-backlog-size 64mb \
        --replica-announce-ip "$ADDRESS" --replica-announce-port 6379
    # One replica has what is written, or nothing more is written. A restart is no partition: it asks for a second.
    set -- "$@" --min-replicas-to-write 1 --min-replicas-max-lag 2
    if [ "$leader" != "$ADDRESS" ]; then set -- "$@" --replicaof "$leader" 6379; fi
    exec ${ENTRYPOINT-docker-entrypoint.sh} valkey-server "$@"
}

sentinel() {
    file=${FOLDER:-/data}/sentinel.conf
    if [ ! -s "$file" ]; then
        cat >"$file.new" <<END
port 26379
dir ${FOLDER:-/data}
sentinel announce-ip $ADDRESS
sentinel announce-port 26379
sentinel monitor $service $FIRST_PRIMARY 6379 $(quorum)
sentinel down-after-milliseconds $service ${DOWN_AFTER_MS:-3000}
sentinel failover-timeout $service 20000
sentinel parallel-syncs $service 1
END
        mv "$file.new" "$file"
    fi
    exec ${ENTRYPOINT-docker-entrypoint.sh} valkey-server "$file" --sentinel
}

"$1"
