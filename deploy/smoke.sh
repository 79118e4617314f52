#!/usr/bin/env bash
# Proves a deployment that is up: events go in, the signals worker is killed in the middle of more, the first ones come
# again, and ClickHouse has each of them exactly once. It leaves those rows under the app `smoke`, whose TTL removes them.
#
#   docker compose up --detach --build --wait && deploy/smoke.sh
set -euo pipefail
cd "$(dirname "$0")/.."

events=${EVENTS:-5000} # in each half
wait_s=${WAIT_S:-180}  # a killed member of a consumer group is missed for its session timeout, some 15 s
run=$(openssl rand -hex 4) # the beginning of every id, so that each run has its own
now=$(date -u +%Y-%m-%dT%H:%M:%SZ) # once: what comes again under its id must be the same event

driftwheel() { docker compose exec -T --env DRIFTWHEEL_API_KEY="$(cat secrets/api_key)" collector driftwheel "$@"; }

# half N: the lot number N of events, as JSON lines.
half() {
  for ((n = $1 * events; n < ($1 + 1) * events; n++)); do
    printf '{"id": "%s-0000-4000-8000-%012x", "app": "smoke", "model": "m", "started_at": "%s", "session_id": "s-%d", "latency_s": 0.5, "prompt": "How much is it?", "response": "It is 3 dollars."}\n' \
      "$run" "$n" "$now" "$n"
  done
}

stored() {
  driftwheel query --json "SELECT count() AS n FROM driftwheel.inferences FINAL WHERE app = 'smoke' AND startsWith(toString(id), '$run-')" \
    | tr -dc '0-9'
}

await() { # until $1 events are stored
  local found='' end=$((SECONDS + wait_s))
  while ((SECONDS < end)); do
    found=$(stored)
    if ((found >= $1)); then
      break
    fi
    sleep 1
  done
  if [[ $found != "$1" ]]; then
    echo "stored ${found:-nothing} of $1 events" >&2
    exit 1
  fi
  echo "stored: $found, as it should be"
}

restarts() { docker inspect --format '{{.RestartCount}}' "$(docker compose ps --all --quiet signals)"; }

half 0 | driftwheel send -
await "$events"

before=$(restarts)
half 1 | driftwheel send --rate "$((events / 5))" - & # five seconds, so that the kill falls into it
sending=$!
sleep 2
# `docker kill` would count as a stop by hand and start nothing again. This is kill -9 of all in there but pid 1, which then ends.
docker compose exec -T signals python -c 'import os; os.kill(-1, 9)' || true
wait "$sending"
half 0 | driftwheel send - # as a client does that never saw its 202
await "$((events * 2))"

if (($(restarts) == before)); then
  echo "the signals worker was not restarted: nothing was proven" >&2
  exit 1
fi
driftwheel doctor
await "$((events * 2))" # still: what came again did not arrive late
