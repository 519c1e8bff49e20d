#!/usr/bin/env bash
# Stops everything that up.sh started. Downloads stay; data goes unless KEEP=1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FIREHOSED_CACHE:-$(cd "$here/../.." && pwd)/.cache}
run=$cache/run
[ -d "$run" ] || exit 0
run=$(cd "$run" && pwd)

end() { # PIDFILE WORD: ends the process if its command line still holds the word
  local p
  [ -s "$1" ] || return 0
  p=$(cat "$1")
  tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline" | grep -qF -- "$2" || return 0
  kill "$p"
  for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$p"
}

end "$run/rest/pid" "$run/rest/catalog.db"
end "$run/rest-s3/pid" "$run/rest-s3/catalog.db"
end "$run/s3/pid" "$run/s3/data"
end "$run/kinesis/pid" kinesis-local
end "$run/docker/pid" "$run/docker/data"
# the engine leaves its mounts behind
grep -oE " $run/docker/[^ ]+ " /proc/mounts | tac | xargs -r -n1 umount 2>/dev/null || true
[ ! -d "$run/kafka" ] || "$here/kafka/stop.sh" "$run/kafka"
data=
if [ -s "$run/postgres" ]; then
  read -r bin data <"$run/postgres"
  as=()
  [ "$(id -u)" != 0 ] || as=(setpriv --reuid="$(stat -c %u "$data")" --regid="$(stat -c %g "$data")" --clear-groups)
  (cd /tmp && "${as[@]}" "$bin/pg_ctl" -D "$data" -m fast stop >&2) || true
fi
if [ -z "${KEEP:-}" ]; then
  rm -rf "$run" ${data:+"$data"}
else
  rm -f "$run/env" "$run/components"
fi
