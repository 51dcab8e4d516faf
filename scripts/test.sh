#!/usr/bin/env bash
# Everything that CI runs. Each step prints one line; what a step says at
# length goes to build/logs and is shown when the step fails. All steps run,
# also after a failure, and the last line counts Go tests and steps together.
set -uo pipefail
cd "$(dirname "$0")/.."

logs=build/logs
mkdir -p "$logs" build/bin
passed=0 failed=0 skipped=0
unset SOFTHSM2_CONF

step() { # name, command...
  local name=$1 log start=$SECONDS rc=0
  shift
  log=$logs/$(tr -cs 'a-z0-9\n' '-' <<<"${name,,}").log
  printf '%-46s ' "$name"
  "$@" >"$log" 2>&1 || rc=$?
  if [ $rc -eq 0 ]; then
    passed=$((passed + 1))
    printf 'ok    %4ds\n' $((SECONDS - start))
  elif [ $rc -eq 77 ]; then
    skipped=$((skipped + 1))
    printf 'not run: %s\n' "$(tail -n 1 "$log")"
  else
    failed=$((failed + 1))
    printf 'FAIL  %4ds\n' $((SECONDS - start))
    sed 's/^/  | /' <(tail -n 80 "$log")
  fi
  return 0
}

formatted() {
  local f
  f=$(git ls-files '*.go' | xargs gofmt -l)
  [ -z "$f" ] || { echo "gofmt would change:"; echo "$f"; return 1; }
}

static_check() { go tool -modfile=internal/tools/go.mod staticcheck ./...; }

vulnerabilities() {
  local out rc=0
  out=$(go tool -modfile=internal/tools/go.mod govulncheck ./... 2>&1) || rc=$?
  echo "$out"
  if [ $rc -ne 0 ] && grep -q 'fetching vulnerabilities' <<<"$out"; then
    echo "the vulnerability database is not reachable from here"
    return 77
  fi
  return $rc
}

# The race detector makes a test take two to eight times as long. Without it go the
# simulators, which play whole days and kill whole processes, the program of the
# ceremonies, the benches, the house's own rules, and what tries every PIN or number
# there is: what all these drive runs under the detector in its own tests.
unraced='/(internal/(sim(/.*)?|arch|bench)|cmd/keyceremony|wallet/edge|tokenize/ff1)$'

# What failed runs once more, by itself; if it does not fail again it is named at
# the end, to be mended. Races, panics and what does not build have no second try.
go_tests() {
  local rc=0 pkg tests
  go test -race -count=1 -timeout 60m -v $(go list ./... | grep -vE "$unraced") >"$logs/go-test.txt" 2>&1 || rc=$?
  go test -count=1 -timeout 60m -v $(go list ./... | grep -E "$unraced") >>"$logs/go-test.txt" 2>&1 || rc=$?
  go_passed=$(grep -cE '^ *--- PASS' "$logs/go-test.txt")
  go_failed=$(grep -cE '^ *--- FAIL' "$logs/go-test.txt")
  if grep -E '^ *--- SKIP' "$logs/go-test.txt"; then
    echo "a test was skipped: here every test must run"
    return 1
  fi
  [ $rc -eq 0 ] && return 0
  awk -f scripts/failed-tests.awk "$logs/go-test.txt"
  while read -r pkg tests; do
    echo "== again: $pkg $tests"
    : >"$logs/go-test-again.txt"
    if [ -n "$tests" ] && again "$pkg" "$tests" >"$logs/go-test-again.txt" 2>&1; then
      go_again+=("$pkg $tests")
    else
      awk -f scripts/failed-tests.awk "$logs/go-test-again.txt"
      go_failing+=("$pkg $tests")
    fi
  done < <(awk -v list=1 -f scripts/failed-tests.awk "$logs/go-test.txt")
  [ ${#go_again[@]} -gt 0 ] && [ ${#go_failing[@]} -eq 0 ]
}

again() { # package, tests
  local race=-race
  [[ $1 =~ $unraced ]] && race=
  go test $race -count=1 -timeout 60m -v -run "^($2)\$" "$1" </dev/null
}

# What phones and readers link must build without a C compiler.
without_c() { CGO_ENABLED=0 go build ./wallet/bundle/... ./terminal/... ./cryptogram/...; }

conformance() { # module
  local out file
  for file in epurse emv; do
    out=$(build/bin/tapvault conformance --module "$1" --vectors "cryptogram/testdata/vectors/$file.json" --json) || { echo "$out"; return 1; }
    echo "$out"
    grep -q '"failed": *0' <<<"$out" || return 1
  done
}

alert_rules() { promtool check rules docs/deploy/alerts.yml && promtool test rules docs/deploy/alerts_test.yml; }

short_bench() {
  build/bin/tapvault bench purchase --json --rounds 9 --round 60ms && build/bin/tapvault bench http --json --rounds 9 --round 60ms
}

step "gofmt" formatted
step "go vet" go vet ./...
step "staticcheck" static_check
step "govulncheck" vulnerabilities
step "builds without C: phones and readers" without_c
step "build" go build -o build/bin/ ./cmd/...
go_passed=0 go_failed=0 go_again=() go_failing=()
step "go test -race, on SoftHSM, SQLite, PostgreSQL" go_tests
step "fuzz, every decoder for a moment" bash scripts/fuzz.sh
step "conformance on SoftHSM" conformance softhsm
step "conformance on NSS softokn" conformance nss
step "alert rules, by promtool" alert_rules
step "the systemd unit, by systemd-analyze" bash scripts/check-unit.sh
step "demo" build/bin/tapsim demo --bin build/bin/tapvault --dir build/demo
step "key attributes, read by pkcs11-tool" bash scripts/check-attributes.sh build/demo
step "the README's calls" bash scripts/check-readme.sh
step "bench, a short run" short_bench

echo
[ ${#go_failing[@]} -eq 0 ] || printf 'failed: %s\n' "${go_failing[@]}"
[ ${#go_again[@]} -eq 0 ] || printf 'failed, and did not fail again by itself: %s\n' "${go_again[@]}"
[ ${#go_failing[@]} -gt 0 ] || go_failed=0
echo "Go tests: $go_passed passed, $go_failed failed, ${#go_again[@]} packages at a second try (build/logs/go-test.txt)"
echo "steps:    $passed passed, $failed failed, $skipped not run (build/logs)"
echo "$((passed + go_passed)) passed, $((failed + go_failed)) failed, $skipped skipped"
[ $failed -eq 0 ]
