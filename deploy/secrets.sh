#!/bin/sh
# Makes what docker-compose.yml reads from ./secrets, once: a file that is there is never written again.
# To change a password, delete its file and those made from it (named below), run this again, and restart what reads it.
#
#   deploy/secrets.sh [FOLDER]      ./secrets beside docker-compose.yml, unless told otherwise
#
# The folder is for its owner alone. The files in it can be read by all: containers run as other users, and a file that
# is mounted by itself keeps its own mode but not that of the folder it came from.
set -eu
umask 022
cd "$(dirname "$0")/.."
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random() { openssl rand -hex 24; } # 192 bits
sha256() { printf '%s' "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1; }

# put NAME CONTENT: whole or not at all, so that a run that was cut off leaves nothing half.
put() {
  if [ -e "$folder/$1" ]; then
    return
  fi
  printf '%s' "$2" > "$folder/.$1.new"
  chmod 444 "$folder/.$1.new"
  mv "$folder/.$1.new" "$folder/$1"
  echo "made $folder/$1"
}
read_secret() { cat "$folder/$1"; }

put clickhouse_password "$(random)"           # what our services say to ClickHouse
put clickhouse_grafana_password "$(random)"   # what Grafana says to it: it may only read, and no text
put grafana_admin_password "$(random)"        # what a person says to Grafana, as admin
put api_key "dw_$(openssl rand -hex 4)_$(random)"   # what an app says to the collector: DRIFTWHEEL_API_KEY

# Made from the ones above: the servers keep digests only.
key=$(read_secret api_key)
id=${key#dw_}
put collector_keys "{${id%%_*} = {sha256 = \"$(sha256 "${id#*_}")\", tenant = \"default\"}}"
put clickhouse_users.xml "<clickhouse>
    <users>
        <driftwheel><password_sha256_hex>$(sha256 "$(read_secret clickhouse_password)")</password_sha256_hex></driftwheel>
        <grafana><password_sha256_hex>$(sha256 "$(read_secret clickhouse_grafana_password)")</password_sha256_hex></grafana>
    </users>
</clickhouse>
"
