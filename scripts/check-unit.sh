#!/usr/bin/env bash
# Holds the shipped systemd unit to what systemd itself says of it: it can be
# loaded as it stands, and its exposure is at most 2.0 of 10. It needs
# no running systemd.
set -euo pipefail
cd "$(dirname "$0")/.."

most=20 # tenths
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The program need not be installed here for its unit to be looked at.
sed "s,/usr/local/bin/tapvault,$(command -v true)," docs/deploy/tapvault.service >"$dir/tapvault.service"
said=$(systemd-analyze verify --man=no "$dir/tapvault.service" 2>&1) || { echo "$said"; exit 1; }
if grep -q "$dir/tapvault.service\|^tapvault.service" <<<"$said"; then # what it would leave out and go on
  echo "$said"
  exit 1
fi
systemd-analyze security --no-pager --offline=true --threshold=$most "$dir/tapvault.service" | tail -n 1
