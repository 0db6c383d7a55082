#!/bin/sh
# The files of this folder in the containers of docker-compose.scale.yml: `container.sh node`, `container.sh sentinel`.
#
# What must stay true: a server is the first primary only where most sentinels answer and none of them knows of any
# replica: a volume that got lost is no first start. A sentinel's file is written once; what it learns stays in it.
#
#   ADDRESS        of this container in the store's network. Not a name: a sentinel stands still while it waits for DNS
#   SENTINELS      host:port of each sentinel, with spaces between
#   FIRST_PRIMARY  the address of the server that is the primary when all is new
#   STORE_MEMORY   maxmemory of a server
set -eu

folder=${FOLDER:-/data}
here=$(dirname "$0")

first_start() {
    [ "$ADDRESS" = "$FIRST_PRIMARY" ] || return 1
    quorum=$(($(echo "$SENTINELS" | wc -w) / 2 + 1))
    while :; do
        told=$(for sentinel in $SENTINELS; do
            timeout 2 valkey-cli -h "${sentinel%:*}" -p "${sentinel##*:}" INFO sentinel 2>/dev/null </dev/null || true
        done | grep 'name=sale,' || true)
        if [ "$(echo "$told" | grep -c 'name=sale,')" -ge "$quorum" ]; then break; fi
        sleep 0.5
    done
    ! echo "$told" | grep -Eq '(slaves|replicas)=[1-9]'
}

case $1 in
node)
    # Nothing but the parts of the service is on this network.
    sed -e 's/^bind .*/bind * -::*/' -e 's/^protected-mode .*/protected-mode no/' -e "s|^dir .*|dir $folder|" \
        -e "s/^maxmemory .*/maxmemory ${STORE_MEMORY:-1gb}/" "$here/valkey.conf" >"$folder/valkey.conf"
    set -- "$folder/valkey.conf"
    if first_start; then set -- "$@" --first; fi
    NODE=$ADDRESS:6379 FOLDER=$folder SERVER=$0 exec "$here/start-node.sh" "$@"
    ;;
sentinel)
    if [ ! -s "$folder/sentinel.conf" ]; then
        sed -e 's/^bind .*/bind * -::*/' -e "s|^dir .*|dir $folder|" \
            -e "s/^sentinel monitor sale .*/sentinel monitor sale $FIRST_PRIMARY 6379 2/" \
            "$here/sentinel.conf" >"$folder/sentinel.new"
        echo 'protected-mode no' >>"$folder/sentinel.new"
        mv "$folder/sentinel.new" "$folder/sentinel.conf"
    fi
    exec "$0" "$folder/sentinel.conf" --sentinel
    ;;
*.conf)
    # As the image starts a server: as its own user, who owns the volume.
    exec "${ENTRYPOINT:-docker-entrypoint.sh}" valkey-server "$@"
    ;;
esac
