#!/bin/sh
# One SeaweedFS server with one private bucket: BUCKET, ACCESS_KEY and SECRET_KEY, from the environment.
# /tmp/ready is there once the bucket is. The server does not end when it is asked to: it is killed, and loses nothing.
set -eu
umask 077
rm -f /tmp/ready
cat >/tmp/keys.json <<END
{"identities": [{"name": "service", "credentials": [{"accessKey": "$ACCESS_KEY", "secretKey": "$SECRET_KEY"}],
  "actions": ["Admin:$BUCKET", "Read:$BUCKET", "Write:$BUCKET", "List:$BUCKET", "Tagging:$BUCKET"]}]}
END
weed -logtostderr=true -v=0 server -ip=127.0.0.1 -ip.bind=0.0.0.0 -dir=/data \
    -master.telemetry=false -master.electionTimeout=1s -master.volumeSizeLimitMB=64 -volume.max=100 \
    -s3=true -s3.config=/tmp/keys.json -s3.autoCreateBucket=false -s3.iam=false \
    -s3.port.iceberg=0 -s3.port.lance=0 &
until echo "s3.bucket.list" | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>/dev/null | grep -q "  $BUCKET"; do
    echo "s3.bucket.create -name $BUCKET" | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 >/dev/null 2>&1 || true
    sleep 1
done
touch /tmp/ready
wait
