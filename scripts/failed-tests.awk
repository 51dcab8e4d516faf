# Reads what `go test -v` printed; prints what each failed test said, its package
# after it, and whatever was said outside of tests where a package failed. Where a
# process died, in Go or in C, that is the beginning of what tests that had not ended
# said: a dump of goroutines is long, and what killed stands at its head. With list=1
# it prints each failed package and, when nothing worse happened there, its failed
# tests as a pattern.
function name(s) { sub(/^ *(=== [A-Z]+|--- [A-Z]+:) +/, "", s); sub(/ .*/, "", s); return s }
function head(s,  line, lines, i, out) {
	lines = split(s, line, "\n")
	for (i = 1; i <= lines && i <= 40; i++) out = out (i > 1 ? "\n" : "") line[i]
	return out
}
function forget() { delete said; delete bad; n = 0; test = ""; pattern = ""; worse = 0 }
/^--- FAIL/ { pattern = pattern (pattern == "" ? "" : "|") name($0) }
/^panic:|DATA RACE|^fatal error:/ { worse = 1 }
/^=== / { test = name($0); next }
/^ *--- FAIL/ { bad[++n] = name($0); said[name($0)] = said[name($0)] "\n" $0; test = name($0); next }
/^ *--- / { test = ""; delete said[name($0)]; next }
/^(ok|\?) +\t/ { forget(); next }
/^FAIL\t/ && list { print $2, (worse ? "" : pattern); forget(); next }
/^FAIL\t/ {
	if (said[""] != "") print "== outside of tests:" said[""]
	for (i = 1; i <= n; i++) print "== " bad[i] said[bad[i]]
	for (t in said) if ((n == 0 || said[t] ~ /panic:|DATA RACE|fatal error/) && t != "") print "== " t head(said[t])
	print
	forget()
	next
}
/^(PASS|FAIL|[\t ]*)$/ { next }
{ said[test] = said[test] "\n" $0 }
