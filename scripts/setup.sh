#!/usr/bin/env bash
# Installs the system packages that Tapvault needs, if any are missing.
#
#   scripts/setup.sh        what building and running need
#   scripts/setup.sh test   also what the tests need
#
# It says what it will do before it does it, changes nothing else on the
# machine, and returns at once when nothing is missing. Packages come from
# apt-get (Debian, Ubuntu); elsewhere it names what to install.
set -euo pipefail

for_tests=${1:-}
missing=() why=()

need() { # package, reason
  missing+=("$1")
  why+=("$2")
}

have() { command -v "$1" >/dev/null 2>&1; }

softhsm_module() {
  local d
  for d in /usr/lib/softhsm /usr/lib/x86_64-linux-gnu/softhsm /usr/lib/aarch64-linux-gnu/softhsm \
    /usr/lib64/softhsm /usr/local/lib/softhsm /usr/lib/pkcs11; do
    [ -e "$d/libsofthsm2.so" ] && return 0
  done
  return 1
}

nss_module() {
  local d
  for d in /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib/x86_64-linux-gnu/nss \
    /usr/lib/aarch64-linux-gnu/nss /usr/lib64 /usr/lib /usr/local/lib; do
    [ -e "$d/libsoftokn3.so" ] && return 0
  done
  return 1
}

p11kit_modules() {
  local d
  for d in /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib /usr/local/lib; do
    [ -e "$d/p11-kit-proxy.so" ] && [ -e "$d/pkcs11/p11-kit-client.so" ] && return 0
  done
  return 1
}

have_postgres() {
  local d
  for d in /usr/lib/postgresql/*/bin/initdb; do
    [ -e "$d" ] && return 0
  done
  have initdb
}

virtual_reader() {
  local d
  for d in /usr/lib/pcsc/drivers /usr/lib/*/pcsc/drivers /usr/lib64/pcsc/drivers /usr/local/lib/pcsc/drivers; do
    compgen -G "$d/serial/libifdvpcd.so*" >/dev/null && return 0
  done
  return 1
}

have gcc || need gcc "the PKCS#11 and SQLite bindings are C"
[ -e /usr/include/stdlib.h ] || need libc6-dev "the C library's headers"
have make || need make "runs the Makefile"
softhsm_module || need softhsm2 "the software HSM that holds the rehearsal keys"
if [ "$for_tests" = test ]; then
  nss_module || need libnss3 "NSS softokn, the second HSM that the tests run on"
  have p11-kit || need p11-kit "a module whose tokens are behind a socket: the tests take the server away"
  p11kit_modules || need p11-kit-modules "modules that stand before others, which the tests run on"
  have_postgres || need postgresql "the tests start a server of their own, in a temporary folder"
  have pkcs11-tool || need opensc "pkcs11-tool reads back the attributes of the keys; opensc-tool reads a phone"
  have pcscd || need pcscd "the machine's own smart-card service, which a simulated phone is shown to"
  virtual_reader || need vsmartcard-vpcd "a card reader without a reader: the tests put a phone into it"
  have scriptor || need pcsc-tools "scriptor takes a purchase from that phone, as any PC/SC program would"
  { have haproxy || [ -x /usr/sbin/haproxy ]; } || need haproxy "the balancer behind which the tests upgrade a running service"
  have promtool || need prometheus "promtool checks and tests the alert rules"
  have systemd-analyze || need systemd "systemd-analyze judges the shipped unit; nothing of it runs"
  have curl || need curl "the README's calls are tested with it"
  have jq || need jq "the README's calls are tested with it"
  have openssl || need openssl "the README's calls are tested with it, and so are clients' keys"
fi

if ! have go; then
  echo "setup: Go is missing: install Go 1.26 or newer from https://go.dev/dl/ and try again" >&2
  exit 1
fi

[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: these system packages are missing:"
for i in "${!missing[@]}"; do
  printf '  %-16s %s\n' "${missing[$i]}" "${why[$i]}"
done

install="apt-get install -y --no-install-recommends ${missing[*]}"
if ! have apt-get; then
  echo "setup: this machine has no apt-get; install what is named above by its own means" >&2
  exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
  as_root=()
elif have sudo; then
  as_root=(sudo)
else
  echo "setup: root is needed for that and there is no sudo; as root, run:" >&2
  echo "  apt-get update && $install" >&2
  exit 1
fi

echo "setup: installing them now with: ${as_root[*]}${as_root:+ }$install"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1; }
if ! { run apt-get update && run apt-get install -y --no-install-recommends "${missing[@]}"; }; then
  tail -n 20 "$log" >&2
  echo "setup: the packages could not be installed; as root, run:" >&2
  echo "  apt-get update && $install" >&2
  exit 1
fi
echo "setup: done"
