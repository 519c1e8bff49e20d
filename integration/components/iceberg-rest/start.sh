#!/bin/bash
# Iceberg REST catalog (Apache's own handlers, JdbcCatalog on SQLite) on loopback, for tests.
#
#   start.sh [-p PORT] [-d DIR] [-w WAREHOUSE] [-t TOKEN] [property=value ...]
#
# Builds once into ICEBERG_REST_BUILD (default DIR/build; Maven, later starts are offline), starts the server in the
# background, waits until it answers, prints its pid and leaves it in DIR/pid. Stop: kill "$(cat DIR/pid)".
# WAREHOUSE is a URI: file:///DIR/warehouse (default) or s3://BUCKET/PREFIX; with s3 also set
# S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (and VEND=1 to hand them to clients).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
port=${ICEBERG_REST_PORT:-18181} dir=${ICEBERG_REST_DIR:-$here/target} wh='' token=''
while getopts p:d:w:t: o; do
  case $o in p) port=$OPTARG ;; d) dir=$OPTARG ;; w) wh=$OPTARG ;; t) token=$OPTARG ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
build=${ICEBERG_REST_BUILD:-$dir/build}
mkdir -p "$build" && build=$(cd "$build" && pwd)
wh=${wh:-file://$dir/warehouse}

src=$here/src/main/java/org/apache/iceberg/rest/IcebergRest.java
stamp=$(cat "$here/pom.xml" "$src" | sha256sum)
if [ "$(cat "$build/stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$build" && mkdir -p "$build/classes"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$build/lib"
  javac -nowarn -d "$build/classes" -cp "$build/lib/*" "$src"
  echo "$stamp" >"$build/stamp"
fi

if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "port $port is taken" >&2
  exit 1
fi

args=("$@")
[ -n "$token" ] && args+=("token=$token")
case $wh in
s3://*)
  s3=("s3.endpoint=$S3_ENDPOINT" "s3.access-key-id=$AWS_ACCESS_KEY_ID"
    "s3.secret-access-key=$AWS_SECRET_ACCESS_KEY" "client.region=${AWS_REGION:-us-east-1}"
    "s3.path-style-access=true")
  args+=(io-impl=org.apache.iceberg.aws.s3.S3FileIO "${s3[@]}")
  if [ -n "${VEND:-}" ]; then
    for p in "${s3[@]}" "s3.region=${AWS_REGION:-us-east-1}"; do args+=("vend.$p"); done
  fi
  ;;
esac

setsid java -Xmx"${ICEBERG_REST_HEAP:-384m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$build/classes:$build/lib/*" \
  org.apache.iceberg.rest.IcebergRest "127.0.0.1:$port" "$wh" "$dir/catalog.db" "${args[@]}" \
  >"$dir/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$dir/pid"
for _ in $(seq 300); do
  if ! kill -0 "$pid" 2>/dev/null; then
    cat "$dir/log" >&2
    exit 1
  fi
  # 200, or 401 where a token is asked for: it is up
  if curl -s -o /dev/null "http://127.0.0.1:$port/v1/config"; then
    echo "$pid"
    exit 0
  fi
  sleep 0.1
done
echo "not ready after 30 s" >&2
kill "$pid"
exit 1
