#!/usr/bin/env bash
# Reads every secret and private key of the tokens that a demo left behind,
# with pkcs11-tool (not with our own code), and fails unless each one is
# sensitive, not extractable, and bears exactly one usage.
#
#   scripts/check-attributes.sh DIR     a folder made by `tapvault init`
set -euo pipefail
dir=${1:?the folder of tapvault init}
export SOFTHSM2_CONF=$dir/softhsm/softhsm2.conf
for m in /usr/lib/softhsm /usr/lib/x86_64-linux-gnu/softhsm /usr/lib/aarch64-linux-gnu/softhsm /usr/lib64/softhsm \
  /usr/local/lib/softhsm; do
  [ -e "$m/libsofthsm2.so" ] && module=$m/libsofthsm2.so && break
done

noise=$(mktemp) # pkcs11-tool warns of every value that it may not read, which is as it should be
trap 'rm -f "$noise"' EXIT

check() { # token label, pin file
  local pin type
  pin=$(cat "$2")
  for type in secrkey privkey; do
    TAPVAULT_CHECK_PIN=$pin pkcs11-tool --module "${module:?SoftHSM is not installed}" --token-label "$1" \
      --login --pin env:TAPVAULT_CHECK_PIN --list-objects --type "$type" 2>"$noise" ||
      { cat "$noise" >&2; return 1; }
  done | awk -v token="$1" '
    function judge() {
      if (label == "" && usage == "" && access == "") return
      n++
      if (access !~ /(^|[ ,])sensitive/) { print token ": " label ": not sensitive (" access ")"; bad++ }
      a = access; sub(/never extractable/, "", a)
      if (a ~ /extractable/) { print token ": " label ": extractable"; bad++ }
      if (usage !~ /^[a-z]+$/) { print token ": " label ": usage is \"" usage "\", not one"; bad++ }
      label = usage = access = ""
    }
    /^(Secret Key|Private Key) Object/ { judge(); label = "?" }
    /^ *label:/  { sub(/^ *label: */, ""); label = $0 }
    /^ *Usage:/  { sub(/^ *Usage: */, ""); sub(/ *$/, ""); usage = $0 }
    /^ *Access:/ { sub(/^ *Access: */, ""); access = $0 }
    END { judge(); print token ": " n+0 " keys, " bad+0 " unfit"; exit (n+0 == 0 || bad+0 > 0) }'
}

check tapvault "$dir/secrets/hsm-user.pin"
check tapsim-psam "$dir/secrets/psam-user.pin"
