#!/usr/bin/env bash
# Fuzzes every Fuzz target of the module, one after the other or some at once.
# Targets are found, not listed. Findings land in the package's testdata/fuzz, from where `go test`
# repeats them.
#
#   FUZZTIME  how long or how many inputs each; 4000x unless told
#   FUZZ      an expression that "package target" must match
#   KEEP=1    keep some of the inputs that reached something new in the package's
#             testdata/fuzz, within bounds
#   RESUME=1  go on where the last such run stopped; once all are done, begin anew
#   JOBS      how many targets at once, 1 unless told
# A process that is stopped for ten seconds in the middle of an input, by SIGSTOP
# or with the machine, is reported as hung.
set -uo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-4000x} match=${FUZZ:-.} keep=${KEEP:-} resume=${RESUME:-} jobs=${JOBS:-1}
most_inputs=16 most_bytes=2048 most_total=$((2 << 20)) # of what is kept: inputs of a target, bytes of one, bytes of all
work=$PWD/build/fuzz
state=$work/done-$time
mkdir -p "$work"
if [ -z "$resume" ]; then rm -f "$state"; fi
touch "$state"

targets=$(for pkg in $(git grep -l -E '^func Fuzz[A-Z]' -- '*_test.go' | xargs -n1 dirname | sort -u); do
  git grep -h -o -E '^func Fuzz[A-Za-z0-9_]+' -- ":(glob)$pkg/*_test.go" | sed "s,^func ,$pkg ," | sort -u
done | grep -E -- "$match")
all=$(wc -l <<<"$targets")
left=$(grep -vxFf "$state" <<<"$targets" | wc -l)
if [ "$left" -eq 0 ]; then : >"$state"; left=$all; fi

# keep_some copies inputs of all sizes from the cache, until the bounds are met.
keep_some() { # package, target, its cache
  local into=$1/testdata/fuzz/$2 have total
  [ -d "$3/$2" ] || return 0
  have=$(find "$into" -type f 2>/dev/null | wc -l)
  total=$(git ls-files -o -c --exclude-standard -- ':(glob)**/testdata/fuzz/**' | xargs -r cat 2>/dev/null | wc -c)
  [ "$have" -lt "$most_inputs" ] && [ "$total" -lt "$most_total" ] || return 0
  mkdir -p "$into"
  find "$3/$2" -type f -size "-$((most_bytes + 1))c" -printf '%s %p\n' | sort -n | cut -d' ' -f2- |
    awk -v want=$((most_inputs - have)) '{ line[NR] = $0 } END { for (i = 1; i <= want && i <= NR; i++) print line[int((i - 1) * NR / (want < NR ? want : NR)) + 1] }' |
    xargs -r cp -n -t "$into" --
  rmdir "$into" 2>/dev/null || true
}

# fuzz_one fuzzes a target and notes whether it held.
fuzz_one() { # package, target
  local name log rc=0
  name=$(tr / - <<<"$1") log=$work/$name.$2.log
  mkdir -p "$work/cache/$1"
  (cd "$1" && exec "$work/$name.test" -test.run='^$' -test.fuzz="^$2\$" -test.fuzztime="$time" -test.fuzzminimizetime=1s \
    -test.fuzzcachedir="$work/cache/$1" -test.parallel=$((jobs > 1 ? 1 : 2))) </dev/null 2>&1 | tee "$log" | sed -u "s,^,$1 $2: ," || rc=$?
  # A span that ends in the middle of an input is reported as a failure, too.
  if [ $rc -ne 0 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then rc=0; fi
  if [ $rc -eq 0 ]; then echo "$1 $2" >>"$state"; else echo "$1 $2" >>"$failed"; fi
  if [ -n "$keep" ]; then keep_some "$1" "$2" "$work/cache/$1"; fi
}

failed=$work/failed
: >"$failed"
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM # what is done is noted
began=$SECONDS ran=0 built=""
while read -r pkg target; do
  grep -qxF -- "$pkg $target" "$state" && continue
  if [ "$built" != "$pkg" ]; then
    built=$pkg
    if ! go test -c -fuzz=. -o "$work/$(tr / - <<<"$pkg").test" "./$pkg" </dev/null; then
      echo "$pkg" >>"$failed"
      continue
    fi
  fi
  while [ "$(jobs -pr | wc -l)" -ge "$jobs" ]; do wait -n; done
  about="" over=$((ran - jobs + 1))
  if [ $over -gt 0 ]; then
    s=$(((SECONDS - began) * (left - over) / over))
    about=$(printf ', about %dh%02dm left' $((s / 3600)) $((s % 3600 / 60)))
  fi
  echo "== $pkg $target: $((all - left + ran)) of $all begun$about"
  fuzz_one "$pkg" "$target" &
  ran=$((ran + 1))
done <<<"$targets"
wait
echo "$ran targets, $(wc -l <"$failed") failed"
sed 's/^/failed: /' "$failed"
[ "$ran" -gt 0 ] && [ ! -s "$failed" ]
