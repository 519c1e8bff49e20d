#!/usr/bin/env bash
# Starts what the integration tests need, on loopback only, and prints the environment that names it.
#
#   eval "$(integration/components/up.sh kafka s3 rest postgres readers)"
#
# Components:
#   kafka       Apache Kafka, one node (Maven, Java 17 or newer)
#   s3          versitygw over a local folder, bucket "lake" (go install)
#   rest        Apache Iceberg's REST catalog handlers, warehouse in a local folder (Maven, Java)
#   rest-s3     the same with its warehouse in the bucket (brings s3)
#   kinesis     kinesis-local, a Kinesis service without enhanced fan-out (Node 18 or newer, npm)
#   postgres    PostgreSQL from the system's server binaries, database "catalog"
#   readers     a Python environment with DuckDB and PyIceberg
#   clickhouse  ClickHouse in the same environment (0.5 GB)
#   docker      a Docker engine of its own (Debian: docker.io and iptables; root)
#
# What is running already is left alone, so a second call only adds. Downloads and data live below
# FIREHOSED_CACHE (default: .cache in the repository); everything printed is also in its run/env.
# Progress goes to standard error. down.sh stops all.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FIREHOSED_CACHE:-$(cd "$here/../.." && pwd)/.cache}
mkdir -p "$cache/run" "$cache/bin"
cache=$(cd "$cache" && pwd)
run=$cache/run

kafka_port=${FIREHOSED_KAFKA_PORT:-29092}
s3_port=${FIREHOSED_S3_PORT:-27070}
rest_port=${FIREHOSED_REST_PORT:-28181}
postgres_port=${FIREHOSED_POSTGRES_PORT:-25432}
kinesis_port=${FIREHOSED_KINESIS_PORT:-24568}
s3_key=integration s3_secret=integration-secret bucket=lake
versitygw_version=v1.8.0
kinesis_version=0.6.2

say() { echo "components: $*" >&2; }
die() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null || die "$2 needs the program $1"; }
open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
await() { # PORT NAME LOG
  for _ in $(seq 300); do open "$1" && return; sleep 0.1; done
  tail -15 "$3" >&2 || true
  die "$2 does not answer on port $1 after 30 s"
}
emit() { # NAME VALUE: for the caller, and for later calls
  printf "export %s='%s'\n" "$1" "$2" >>"$run/env.new"
}

up_kafka() {
  need java kafka; need mvn kafka; need openssl kafka
  KAFKA_LIBS=$cache/kafka KAFKA_PORT=$kafka_port "$here/kafka/start.sh" "$run/kafka" >&2
  emit FIREHOSED_KAFKA "$(cat "$run/kafka/bootstrap")"
  emit FIREHOSED_KAFKA_SASL "127.0.0.1:$((kafka_port + 2))"
  emit FIREHOSED_KAFKA_SSL "127.0.0.1:$((kafka_port + 3))"
  emit FIREHOSED_KAFKA_SASL_SSL "127.0.0.1:$((kafka_port + 4))"
  emit FIREHOSED_KAFKA_CERTS "$run/kafka/certs"
}

up_s3() {
  need go s3
  local gw=$cache/bin/versitygw-$versitygw_version
  if [ ! -x "$gw" ]; then
    GOBIN=$cache/bin CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@$versitygw_version" >&2
    mv "$cache/bin/versitygw" "$gw"
  fi
  if ! open "$s3_port"; then
    mkdir -p "$run/s3/data"
    setsid "$gw" -a "$s3_key" -s "$s3_secret" -p "127.0.0.1:$s3_port" --keep-alive -q posix "$run/s3/data" \
      >"$run/s3/log" 2>&1 </dev/null &
    echo $! >"$run/s3/pid"
    await "$s3_port" versitygw "$run/s3/log"
  fi
  [ -d "$run/s3/data/$bucket" ] || curl -sS --fail --aws-sigv4 aws:amz:us-east-1:s3 --user "$s3_key:$s3_secret" \
    -H "x-amz-content-sha256: $(sha256sum </dev/null | cut -d' ' -f1)" -X PUT "http://127.0.0.1:$s3_port/$bucket" >&2
  emit FIREHOSED_S3_ENDPOINT "http://127.0.0.1:$s3_port"
  emit FIREHOSED_S3_BUCKET "$bucket"
  emit FIREHOSED_S3_KEY "$s3_key"
  emit FIREHOSED_S3_SECRET "$s3_secret"
}

rest() { # DIR PORT [start.sh's options]: leaves it alone if it runs
  local dir=$1 port=$2
  shift 2
  need java rest; need mvn rest
  open "$port" || ICEBERG_REST_BUILD=$cache/iceberg-rest "$here/iceberg-rest/start.sh" -p "$port" -d "$dir" "$@" >&2
}

up_rest() {
  rest "$run/rest" "$rest_port"
  emit FIREHOSED_REST "http://127.0.0.1:$rest_port"
  emit FIREHOSED_REST_WAREHOUSE "file://$run/rest/warehouse"
}

up_rest_s3() {
  up_s3
  S3_ENDPOINT=http://127.0.0.1:$s3_port AWS_ACCESS_KEY_ID=$s3_key AWS_SECRET_ACCESS_KEY=$s3_secret \
    rest "$run/rest-s3" $((rest_port + 1)) -w "s3://$bucket/rest"
  emit FIREHOSED_REST_S3 "http://127.0.0.1:$((rest_port + 1))"
  emit FIREHOSED_REST_S3_WAREHOUSE "s3://$bucket/rest"
}

up_kinesis() {
  need node kinesis; need npm kinesis
  local dir=$cache/kinesis-local-$kinesis_version
  if [ ! -e "$dir/installed" ]; then
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$dir" "kinesis-local@$kinesis_version" >&2
    touch "$dir/installed"
  fi
  if ! open "$kinesis_port"; then
    mkdir -p "$run/kinesis"
    KINESIS_MOCK_PLAIN_PORT=$kinesis_port KINESIS_MOCK_TLS_PORT=$((kinesis_port - 1)) LOG_LEVEL=ERROR \
      KINESIS_MOCK_CERT_PATH=$dir/node_modules/kinesis-local/server.json \
      setsid node "$dir/node_modules/kinesis-local/main.js" >"$run/kinesis/log" 2>&1 </dev/null &
    echo $! >"$run/kinesis/pid"
    await "$kinesis_port" kinesis-local "$run/kinesis/log"
  fi
  emit FIREHOSED_KINESIS "http://127.0.0.1:$kinesis_port"
}

up_postgres() {
  local bin data=${FIREHOSED_POSTGRES_DATA:-/tmp/firehosed-postgres-$postgres_port} as=()
  # Debian keeps the server's programs out of PATH
  bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
  bin=${bin:-$(dirname "$(command -v initdb || echo /none/initdb)")}
  [ -x "$bin/initdb" ] || die "postgres needs PostgreSQL's server programs (Debian: apt-get install postgresql)"
  # The server refuses to run as root; its folder must be within reach of the user that it runs as.
  if [ "$(id -u)" = 0 ]; then
    local user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    as=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME=/tmp)
    mkdir -p "$data" && chown "$user" "$data" && chmod 700 "$data"
  else
    mkdir -p -m 700 "$data"
  fi
  cd /tmp # the server's user may not see the repository
  if [ ! -e "$data/PG_VERSION" ]; then
    "${as[@]}" "$bin/initdb" -D "$data" -U catalog -A trust -E UTF8 --locale=C -N >&2
  fi
  if ! open "$postgres_port"; then
    "${as[@]}" "$bin/pg_ctl" -D "$data" -l "$data/log" -w -t 30 \
      -o "-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$data -c fsync=off" start >&2
  fi
  local sql=("$bin/psql" -q -h 127.0.0.1 -p "$postgres_port" -U catalog)
  "${sql[@]}" -d catalog -c '' 2>/dev/null || "${sql[@]}" -d postgres -c 'create database catalog' >&2
  echo "$bin $data" >"$run/postgres"
  cd "$here"
  emit FIREHOSED_POSTGRES "postgres://catalog@127.0.0.1:$postgres_port/catalog?sslmode=disable"
}

python_env() { # REQUIREMENTS: installs once for each content of the file
  local stamp
  stamp=$cache/python/$(sha256sum "$1" | cut -c1-16).installed
  if [ ! -e "$stamp" ]; then
    need python3 readers
    [ -x "$cache/python/bin/python" ] || python3 -m venv "$cache/python" >&2
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check -r "$1" >&2
    touch "$stamp"
  fi
  emit FIREHOSED_PYTHON "$cache/python/bin/python"
}

up_readers() { python_env "$here/readers/requirements.txt"; }
up_clickhouse() { up_readers; python_env "$here/readers/clickhouse.txt"; }

up_docker() {
  need dockerd docker; need iptables docker
  local d=$run/docker
  mkdir -p "$d"
  # a path beyond 107 bytes is too long for a socket
  local sock=$d/sock
  [ ${#sock} -lt 100 ] || sock=/tmp/firehosed-docker-$(id -u).sock
  if ! docker -H "unix://$sock" info >/dev/null 2>&1; then
    setsid dockerd --data-root "$d/data" --exec-root "$d/exec" --pidfile "$d/pid" -H "unix://$sock" >"$d/log" 2>&1 </dev/null &
    for _ in $(seq 300); do docker -H "unix://$sock" info >/dev/null 2>&1 && break; sleep 0.1; done
    docker -H "unix://$sock" info >/dev/null 2>&1 || { tail -15 "$d/log" >&2; die "dockerd does not answer after 30 s"; }
  fi
  emit DOCKER_HOST "unix://$sock"
  emit TESTCONTAINERS_RYUK_DISABLED true
  emit TESTCONTAINERS_HOST_OVERRIDE 127.0.0.1
}

[ $# -gt 0 ] || die "name the components: kafka s3 rest rest-s3 kinesis postgres readers clickhouse docker"
: >"$run/env.new"
[ ! -e "$run/env" ] || grep -v 'export FIREHOSED_IT=' "$run/env" >"$run/env.new" || true
touch "$run/components"
for c in "$@"; do
  case $c in
  kafka | s3 | rest | rest-s3 | kinesis | postgres | readers | clickhouse | docker) ;;
  *) die "no component is called $c: kafka s3 rest rest-s3 kinesis postgres readers clickhouse docker" ;;
  esac
  began=$SECONDS
  "up_${c//-/_}"
  say "$c is up ($((SECONDS - began)) s)"
  grep -qx "$c" "$run/components" || echo "$c" >>"$run/components"
done
emit FIREHOSED_IT "$(paste -sd, "$run/components")"
sort -u "$run/env.new" >"$run/env" && rm "$run/env.new"
cat "$run/env"
