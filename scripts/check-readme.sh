#!/usr/bin/env bash
# Runs the README's calls: every `sh` block that follows a line `<!-- test -->`,
# in one shell, in order, from the root of the checkout. Only the port and the
# folder are changed, so that a service of the reader's own is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=build/readme
port=$((20000 + RANDOM % 20000))
rm -rf "$dir"
mkdir -p build
script=build/readme.sh
{
  echo 'set -euo pipefail'
  echo 'trap '\''kill $(jobs -p) 2>/dev/null || true'\'' EXIT'
  awk '
    /^<!-- test -->$/ { armed = 1; next }
    armed && /^```sh$/ { on = 1; armed = 0; next }
    on && /^```$/ { on = 0; next }
    on { print }
    !on && NF { armed = 0 }' README.md
} | sed -e "s#build/try#$dir#g" -e "s#localhost:8443#localhost:$port#g" \
  -e "s#tapvault init $dir#tapvault init $dir --listen 127.0.0.1:$port#" >"$script"
blocks=$(grep -c '^<!-- test -->$' README.md)
[ "$blocks" -ge 8 ] || { echo "only $blocks blocks are marked"; exit 1; }
bash -x "$script" 2>build/readme.trace >build/readme.out || { tail -n 30 build/readme.trace; tail -n 20 build/readme.out; exit 1; }

# What the text around the blocks says they print.
for want in REQUESTED SUSPENDED 3012 097E98FE '"slots": 10' '"status": "ok"'; do
  grep -qF -- "$want" build/readme.out || { echo "the calls did not print $want"; exit 1; }
done
echo "$blocks blocks ran"
