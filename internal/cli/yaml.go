package cli

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What the decoder says, and the same without the names of Go's types.
var (
	yamlNoField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	yamlNoFit   = regexp.MustCompile("cannot unmarshal (?:!!\\S+ )?`?(.*?)`? into (\\S+)$")
	yamlTwice   = regexp.MustCompile(`(?:mapping key|field) "?(\S+?)"? already (?:defined|set).*`)
)

// PlainYAML says of each line that cannot be read what is wrong with it.
func PlainYAML(err error) error {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if strings.Contains(text, "found character that cannot start any token") {
			text += ": indent with spaces, not with tabs, and put text with signs in quotes"
		}
		return errors.New(text)
	}
	var all []error
	for _, e := range wrong.Errors {
		e = yamlNoField.ReplaceAllString(e, "there is no field $1 here: is it misspelt, or indented too little or too far?")
		e = yamlTwice.ReplaceAllString(e, "$1 is there twice")
		if m := yamlNoFit.FindStringSubmatchIndex(e); m != nil {
			e = e[:m[0]] + `"` + e[m[2]:m[3]] + `" is not ` + kindOfField(e[m[4]:m[5]])
		}
		all = append(all, errors.New(strings.TrimSpace(e)))
	}
	return errors.Join(all...)
}

// kindOfField names what a Go type holds.
func kindOfField(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number that fits here"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case goType == "time.Duration":
		return "a time such as 10m"
	case goType == "string":
		return "one text"
	}
	return "a group of fields"
}
