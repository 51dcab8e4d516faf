package main

import (
	"encoding/json"
	"fmt"
)

// say reports something done: data for --json, a line otherwise.
func (a *app) say(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if a.json {
		return a.print(map[string]string{"done": text})
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}

// print writes data as one JSON document.
func (a *app) print(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
