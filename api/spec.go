package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

// openapi.yaml is the source. openapi.json is the same document with its
// anchors resolved, made by `go test ./api -run TestDocumentIsCurrent -update`.
//
//go:embed openapi.json
var document []byte

//go:embed docs.html
var pageSource string

// document, as far as the readable page shows it.
type (
	docSpec struct {
		Info struct {
			Title, Summary, Description, Version string
		}
		Tags       []docTag
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas    map[string]docSchema
			Responses  map[string]docResponse
			Parameters map[string]docParameter
		}
	}
	docTag       struct{ Name, Description string }
	docOperation struct {
		Method, Path         string `json:"-"`
		OperationID          string
		Summary, Description string
		Tags                 []string
		Parameters           []docParameter
		RequestBody          docResponse
		Responses            map[string]docResponse
	}
	docParameter struct {
		Ref                   string `json:"$ref"`
		Name, In, Description string
		Required              bool
		Schema                docSchema
	}
	docResponse struct {
		Ref         string `json:"$ref"`
		Description string
		Content     map[string]struct{ Schema docSchema }
	}
	docSchema struct {
		Ref         string `json:"$ref"`
		Type        string
		Description string
		Pattern     string
		Enum        []string
		Required    []string
		Properties  map[string]docSchema
		Items       *docSchema
		Minimum     *int64
		Maximum     *int64
		Examples    []json.RawMessage
	}
)

// Name is the last part of a reference, or "".
func (s docSchema) Name() string { return s.Ref[strings.LastIndex(s.Ref, "/")+1:] }

// Needs reports whether the member name must be there.
func (s docSchema) Needs(name string) bool { return slices.Contains(s.Required, name) }

// Example is the first example, indented, or "".
func (s docSchema) Example() string {
	var b bytes.Buffer
	if len(s.Examples) == 0 || json.Indent(&b, s.Examples[0], "", "  ") != nil {
		return ""
	}
	return b.String()
}

// Bounds describes the numbers or texts that are taken.
func (s docSchema) Bounds() string {
	switch {
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, ", ")
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("%d to %d", *s.Minimum, *s.Maximum)
	}
	return s.Pattern
}

// section is one heading of the page.
type section struct {
	docTag
	Operations []docOperation
}

// loadSpec prepares the description and the page made from it.
func (s *server) loadSpec() error {
	var d docSpec
	if err := json.Unmarshal(document, &d); err != nil {
		return fmt.Errorf("reading openapi.json: %w", err)
	}
	sections, err := d.sections()
	if err != nil {
		return fmt.Errorf("reading openapi.json: %w", err)
	}
	t, err := template.New("docs").Funcs(template.FuncMap{"resolve": d.resolve}).Parse(pageSource)
	if err != nil {
		return fmt.Errorf("reading docs.html: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, map[string]any{"Spec": d, "Sections": sections, "Problems": problemRows()}); err != nil {
		return fmt.Errorf("printing the documentation: %w", err)
	}
	s.spec, s.docs, s.ids = document, page.Bytes(), operationIDs(sections)
	return nil
}

// sections groups operations by their first tag, in the order of the tags.
func (d docSpec) sections() ([]section, error) {
	out := make([]section, len(d.Tags))
	for path, item := range d.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			op := docOperation{Method: strings.ToUpper(method), Path: path}
			if err := json.Unmarshal(raw, &op); err != nil {
				return nil, err
			}
			if err := d.parameters(&op, item["parameters"]); err != nil {
				return nil, err
			}
			i := slices.IndexFunc(d.Tags, func(t docTag) bool { return len(op.Tags) > 0 && t.Name == op.Tags[0] })
			if i < 0 {
				return nil, fmt.Errorf("%s has no tag that is listed", path)
			}
			out[i].Operations = append(out[i].Operations, op)
		}
	}
	for i := range out {
		out[i].docTag = d.Tags[i]
		slices.SortFunc(out[i].Operations, func(a, b docOperation) int { return strings.Compare(a.Path, b.Path) })
	}
	return out, nil
}

// parameters are those of all operations of a path, and then op's own; references to
// shared ones are followed.
func (d docSpec) parameters(op *docOperation, ofPath json.RawMessage) error {
	var all []docParameter
	if ofPath != nil {
		if err := json.Unmarshal(ofPath, &all); err != nil {
			return err
		}
	}
	op.Parameters = append(all, op.Parameters...)
	for i, p := range op.Parameters {
		if p.Ref != "" {
			op.Parameters[i] = d.Components.Parameters[p.Ref[strings.LastIndex(p.Ref, "/")+1:]]
		}
	}
	return nil
}

// resolve follows a reference to a shared answer.
func (d docSpec) resolve(r docResponse) docResponse {
	if r.Ref == "" {
		return r
	}
	return d.Components.Responses[r.Ref[strings.LastIndex(r.Ref, "/")+1:]]
}

// problemRow is a line of the page's table of problems.
type problemRow struct {
	Type, Title, Next string
	Status            int
}

func problemRows() []problemRow {
	var rows []problemRow
	for k, p := range problems {
		rows = append(rows, problemRow{problemBase + string(k), p.title, p.next, p.status})
	}
	slices.SortFunc(rows, func(a, b problemRow) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		return strings.Compare(a.Type, b.Type)
	})
	return rows
}

// openapi answers the description.
func (s *server) openapi(context.Context, *request) (any, error) { return s.spec, nil }

// page answers the description as a page.
func (s *server) page(context.Context, *request) (any, error) { return s.docs, nil }
