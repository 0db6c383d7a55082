#!/bin/sh
# Start a server of a store with failover: start-node.sh CONFIG [--first]. For any POSIX shell, with valkey-cli beside.
#
# What must stay true: a node never takes itself for the primary because it once was. It asks the sentinels, waits until
# most of them name the same one, and follows that one from its first moment: nothing is confirmed before it does. A
# node whose disk is empty never begins as primary, or its replicas would throw away all that was sold: it waits until
# another is named. --first: this is the very first start, and there is nothing to lose.
#
#   NODE        host:port of this node, as the sentinels and the other nodes know it
#   SENTINELS   host:port of each sentinel, with spaces between
#   SERVICE     the group's name (sale)
#   FOLDER      what `dir` is in CONFIG (/var/lib/valkey)
#   SERVER, CLI the programs (valkey-server, valkey-cli); CLI="valkey-cli --tls ..." where sentinels want TLS. Their
#               password goes into REDISCLI_AUTH (VALKEYCLI_AUTH for some versions).
set -eu

config=$1
first=${2-}
service=${SERVICE:-sale}
folder=${FOLDER:-/var/lib/valkey}

# host:port of the primary that most sentinels name; nothing where they don't agree.
primary() {
    for sentinel in $SENTINELS; do
        timeout 2 ${CLI:-valkey-cli} -h "${sentinel%:*}" -p "${sentinel##*:}" --raw \
            SENTINEL GET-MASTER-ADDR-BY-NAME "$service" 2>/dev/null </dev/null | paste -s -d : - || true
    done | sort | uniq -c | while read -r votes named; do
        # A sentinel that knows no such service answers an empty line.
        case $named in ?*:?*) if [ "$votes" -gt $((count / 2)) ]; then echo "$named"; fi ;; esac
    done
}

is_empty() { [ -z "$(ls -A "$folder/appendonlydir" 2>/dev/null)" ] && [ ! -s "$folder/dump.rdb" ]; }

say() { if [ "$1" != "${said-}" ]; then said=$1 && echo "start-node: $1"; fi; }

count=$(echo "$SENTINELS" | wc -w)
while :; do
    leader=$(primary)
    if [ -z "$leader" ]; then
        say "waiting until most of $SENTINELS name a primary of $service"
    elif [ "$leader" = "$NODE" ] && [ "$first" != --first ] && is_empty; then
        say "waiting until another primary than $NODE is named: nothing is in $folder"
    else
        break
    fi
    sleep 0.5
done

if [ "$leader" = "$NODE" ]; then
    say "$NODE is the primary"
    set -- no one
else
    say "$NODE follows $leader"
    set -- "${leader%:*}" "${leader##*:}"
fi
# After the file: sentinels have written into it whom it followed once.
exec "${SERVER:-valkey-server}" "$config" --replicaof "$1 $2" \
    --replica-announce-ip "${NODE%:*}" --replica-announce-port "${NODE##*:}"
