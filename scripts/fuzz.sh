#!/usr/bin/env bash
# Fuzzes every Fuzz target of the module for a moment: FUZZTIME inputs, 4000x
# unless told; a count, because a span that ends in the middle of an input is
# reported as a failure of the target. Targets are found, not listed. Findings
# land in the package's testdata/fuzz, from where `go test` repeats them.
set -uo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-4000x}
bin=$PWD/build/fuzz
cache=$bin/cache
mkdir -p "$cache"
n=0 bad=0
for pkg in $(git grep -l -E '^func Fuzz[A-Z]' -- '*_test.go' | xargs -n1 dirname | sort -u); do
  test=$bin/$(tr / - <<<"$pkg").test
  go test -c -fuzz=. -o "$test" "./$pkg" || { bad=$((bad + 1)); continue; }
  for target in $(git grep -h -o -E '^func Fuzz[A-Za-z0-9_]+' -- ":(glob)$pkg/*_test.go" | sed 's/^func //' | sort -u); do
    n=$((n + 1))
    echo "== $pkg $target"
    (cd "$pkg" && "$test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" -test.fuzzminimizetime=1s \
      -test.fuzzcachedir="$cache" -test.parallel=2) || bad=$((bad + 1))
  done
done
echo "$n targets, $bad failed"
[ "$n" -gt 0 ] && [ "$bad" -eq 0 ]
