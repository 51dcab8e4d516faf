package transcript

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Tell says in words what happened.
func (s Story) Tell() string {
	var b strings.Builder
	sc := s.Plan.Script
	mark := "LIVE"
	if s.Mode == Rehearsal {
		mark = "REHEARSAL: its keys are for nothing else"
	}
	fmt.Fprintf(&b, "%s\nCeremony %s (%s) on token %s\nWhy: %s\n\n", mark, sc.Ceremony, sc.Kind, sc.Token, sc.Reason)
	for _, r := range s.Records {
		fmt.Fprintf(&b, "%s  %s\n", r.Time, r.tell())
	}
	fmt.Fprintf(&b, "\n%d records. Digest of the transcript: %s\n", len(s.Records), s.Digest)
	if s.Audit != "" {
		fmt.Fprintf(&b, "Signed by the token: %s\n", s.Audit)
	} else {
		fmt.Fprintln(&b, "No token signed; the people did.")
	}
	return b.String()
}

// quiet is data that words do not repeat.
var quiet = map[string]bool{DataScript: true, DataSignature: true, DataPublic: true, DataNonce: true}

func (r Record) tell() string {
	text := r.Says
	if r.Step > 0 {
		text = fmt.Sprintf("step %d %s: %s", r.Step, r.Type, r.Says)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Data)) {
		if !quiet[k] && !strings.HasPrefix(k, personPrefix) {
			text += fmt.Sprintf(" [%s: %s]", k, r.Data[k])
		}
	}
	return strings.Map(shown, text)
}

// shown keeps what a terminal would take for an order, and not show, off it: whoever made
// a transcript could hide with it what stands there.
func shown(r rune) rune {
	switch {
	case r == '\n':
		return ' '
	case unicode.IsPrint(r):
		return r
	}
	return unicode.ReplacementChar
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"tell": Record.tell,
	"role": func(s Story, name string) string { p, _ := s.Plan.Script.Person(name); return string(p.Role) },
}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Plan.Script.Ceremony}}</title>
<style>
body{font:10pt/1.35 serif;margin:2cm;max-width:17cm} table{border-collapse:collapse;width:100%} td,th{border:1px solid #999;padding:2px 5px;text-align:left;vertical-align:top}
code,pre{font:8.5pt monospace;overflow-wrap:anywhere;white-space:pre-wrap} .mark{border:2px solid;padding:4px 8px;font-weight:bold} tr{page-break-inside:avoid} @page{size:A4;margin:1.5cm}
</style>
<h1>Key ceremony {{.Plan.Script.Ceremony}}</h1>
{{if eq .Mode "rehearsal"}}<p class="mark">REHEARSAL. Its keys are for nothing else.</p>{{end}}
{{if .Open}}<p class="mark">UNFINISHED. This ceremony was not closed.</p>{{end}}
<p>{{.Plan.Script.Kind}} on token <b>{{.Plan.Script.Token}}</b>. {{.Plan.Script.Reason}}</p>
<p>Digest of the plan: <code>{{printf "%X" .Plan.Digest}}</code> (short: <b>{{.Plan.Short}}</b>)<br>
Digest of the transcript: <code>{{.Digest}}</code><br>
Key of the token that signed: <code>{{or .Audit "none"}}</code></p>
<h2>People</h2>
<table><tr><th>Name<th>Role<th>Public key<th>Signature by hand</tr>
{{$s := .}}{{range .Plan.Script.People}}<tr><td>{{.Name}}<td>{{.Role}}<td><code>{{index (index $s.Records 0).Data (printf "person.%s" .Name)}}</code><td>&nbsp;</tr>
{{end}}</table>
<h2>What happened</h2>
<table><tr><th>No.<th>Time (UTC)<th>Step<th>Who<th>What<th>Initials</tr>
{{range .Records}}<tr><td>{{.Number}}<td>{{.Time}}<td>{{if .Step}}{{.Step}} {{end}}{{.Type}}<td>{{.Who}}<td>{{tell .}}<td>&nbsp;</tr>
{{end}}</table>
<h2>Deviations noted by the witness</h2><p><br><br><br></p>
<h2>Script</h2><pre>{{printf "%s" .Plan.Text}}</pre>
</html>
`))

// Page is the transcript for the binder: one HTML file that fetches nothing.
func (s Story) Page() ([]byte, error) {
	var b bytes.Buffer
	err := page.Execute(&b, s)
	return b.Bytes(), err
}
