package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
)

var update = flag.Bool("update", false, "write openapi.json anew from openapi.yaml")

// TestDocumentIsCurrent holds the served document to its source.
func TestDocumentIsCurrent(t *testing.T) {
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(source, &v); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(b.Bytes(), document) {
		t.Error("openapi.json is not openapi.yaml: run go test ./api -run TestDocumentIsCurrent -update")
	}
}

// TestRoutesAreDescribed holds routes and description to each other, both
// ways.
func TestRoutesAreDescribed(t *testing.T) {
	e := newEdge(t)
	routes := map[string]bool{"GET /metrics": true}
	for _, op := range (&server{}).operations() {
		path := regexp.MustCompile(`:(\w+)`).ReplaceAllString(op.path, "{$1}")
		routes[op.method+" "+path] = true
		item := e.spec.Paths.Find(path)
		if item == nil || item.GetOperation(op.method) == nil {
			t.Errorf("%s %s is not described", op.method, path)
			continue
		}
		described := item.GetOperation(op.method)
		if open := described.Security != nil && len(*described.Security) == 0; open != op.open {
			t.Errorf("%s %s: open is %v, described as %v", op.method, path, op.open, open)
		}
		key := described.Parameters.GetByInAndName("header", "Idempotency-Key")
		if (key != nil) != (op.attempt != ignored) || key != nil && key.Required != (op.attempt == required) {
			t.Errorf("%s %s: the Idempotency-Key is described otherwise", op.method, path)
		}
		if body := described.RequestBody; (body != nil) != (op.limit > 0) || body != nil && body.Value.Required == op.optional {
			t.Errorf("%s %s: the body is described otherwise", op.method, path)
		}
	}
	for path, item := range e.spec.Paths.Map() {
		for method := range item.Operations() {
			if !routes[method+" "+path] {
				t.Errorf("%s %s is described, but no route", method, path)
			}
		}
	}
	if len(samples()) != len(routes) {
		t.Errorf("%d samples for %d routes", len(samples()), len(routes))
	}
}

func TestDescriptionIsValid(t *testing.T) {
	e := newEdge(t)
	if err := e.spec.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDescribedBodies: the samples and the description's own examples of
// bodies are valid, and the decoders take them.
func TestDescribedBodies(t *testing.T) {
	e := newEdge(t)
	bodies := map[string]func() wire.Body{
		"TokenRequest": func() wire.Body { return &wire.TokenRequest{} }, "Move": func() wire.Body { return &wire.Move{} },
		"BundleRequest": func() wire.Body { return &wire.BundleRequest{} }, "Ack": func() wire.Body { return &wire.Ack{} },
		"DetokenizeRequest": func() wire.Body { return &wire.DetokenizeRequest{} }, "Taps": func() wire.Body { return &wire.Taps{} },
		"Purchase": func() wire.Body { return &wire.Purchase{} }, "PurchaseVerify": func() wire.Body { return &wire.PurchaseVerify{} },
		"PurchaseBatch": func() wire.Body { return &wire.PurchaseBatch{} },
		"TACVerify":     func() wire.Body { return &wire.TACVerify{} }, "Load": func() wire.Body { return &wire.Load{} },
		"Unload": func() wire.Body { return &wire.Unload{} }, "UnloadVerify": func() wire.Body { return &wire.UnloadVerify{} },
		"TokenBatch": func() wire.Body { return &wire.TokenBatch{} }, "Attributes": func() wire.Body { return &wire.Attributes{} },
		"Renewal": func() wire.Body { return &wire.Renewal{} }, "Decision": func() wire.Body { return &wire.Decision{} },
		"Notice": func() wire.Body { return &wire.Notice{} }, "ReplaceCard": func() wire.Body { return &wire.ReplaceCard{} },
		"PAREnquiry": func() wire.Body { return &wire.PAREnquiry{} }, "DetokenizeBatch": func() wire.Body { return &wire.DetokenizeBatch{} },
		"DirectRequest": func() wire.Body { return &wire.DirectRequest{} }, "DirectBatch": func() wire.Body { return &wire.DirectBatch{} },
		"Overdraft": func() wire.Body { return &wire.Overdraft{} }, "CardLoadOrder": func() wire.Body { return &wire.CardLoadOrder{} },
		"CardUnloadOrder": func() wire.Body { return &wire.CardUnloadOrder{} }, "CardLimitOrder": func() wire.Body { return &wire.CardLimitOrder{} },
		"CardProof": func() wire.Body { return &wire.CardProof{} }, "CardShown": func() wire.Body { return &wire.CardShown{} },
		"LoadDecision": func() wire.Body { return &wire.LoadDecision{} },
		"Authorize":    func() wire.Body { return &wire.Authorize{} }, "DenyOrder": func() wire.Body { return &wire.DenyOrder{} },
		"Progress":  func() wire.Body { return &wire.Progress{} },
		"Enrolment": func() wire.Body { return &wire.Enrolment{} }, "Attestation": func() wire.Body { return &wire.Attestation{} },
		"PINSet": func() wire.Body { return &wire.PINSet{} }, "PINVerify": func() wire.Body { return &wire.PINVerify{} },
		"PINChange": func() wire.Body { return &wire.PINChange{} }, "Sync": func() wire.Body { return &wire.Sync{} },
		"EMVRequest": func() wire.Body { return &wire.EMVRequest{} }, "EMVBatch": func() wire.Body { return &wire.EMVBatch{} },
		"EMVValue": func() wire.Body { return &wire.EMVValue{} }, "EMVValueCheck": func() wire.Body { return &wire.EMVValueCheck{} },
		"EMVValueBatch": func() wire.Body { return &wire.EMVValueBatch{} }, "EMVValueCheckBatch": func() wire.Body { return &wire.EMVValueCheckBatch{} },
		"EMVScriptBatch": func() wire.Body { return &wire.EMVScriptBatch{} },
		"EMVScript":      func() wire.Body { return &wire.EMVScript{} }, "EMVPurchase": func() wire.Body { return &wire.EMVPurchase{} },
		"EMVPurchaseCheck": func() wire.Body { return &wire.EMVPurchaseCheck{} }, "EMVPhone": func() wire.Body { return &wire.EMVPhone{} },
		"EMVVerifyBatch": func() wire.Body { return &wire.EMVVerifyBatch{} },
		"EMVTransaction": func() wire.Body { return &wire.EMVTransaction{} },
		"WalletRequest":  func() wire.Body { return &wire.WalletRequest{} },
		"WalletToken":    func() wire.Body { return &wire.WalletToken{} }, "WalletMove": func() wire.Body { return &wire.WalletMove{} },
		"ElementEnrolment": func() wire.Body { return &wire.ElementEnrolment{} }, "ElementOrder": func() wire.Body { return &wire.ElementOrder{} },
		"ElementCourier":  func() wire.Body { return &wire.ElementCourier{} },
		"ApprovalRequest": func() wire.Body { return &wire.ApprovalRequest{} }, "ApprovalGiven": func() wire.Body { return &wire.ApprovalGiven{} },
		"AccountEvent": func() wire.Body { return &wire.AccountEvent{} },
	}
	for name, schema := range e.spec.Components.Schemas {
		for _, example := range schema.Value.Examples {
			if err := schema.Value.VisitJSON(example, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
			if empty := bodies[name]; empty != nil {
				text, err := json.Marshal(example)
				if err == nil {
					err = wire.Decode(text, empty())
				}
				if err != nil {
					t.Errorf("the example of %s: %v", name, err)
				}
			}
		}
	}
	for _, s := range samples() {
		op := e.spec.Paths.Find(s.template()).GetOperation(s.method)
		if op.RequestBody == nil || s.body == "" || s.path == "/oauth2/token" {
			continue
		}
		ref := op.RequestBody.Value.Content["application/json"].Schema
		var v any
		if err := json.Unmarshal([]byte(s.body), &v); err != nil {
			t.Fatal(err)
		}
		if err := ref.Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", s.path, err)
		}
		if bodies[ref.Ref[strings.LastIndex(ref.Ref, "/")+1:]] == nil {
			t.Errorf("%s: no decoder for %s", s.path, ref.Ref)
		}
	}
}

// TestEveryProblemIsDescribed: the description names every kind that a
// described status can have.
func TestEveryProblemIsDescribed(t *testing.T) {
	text := string(document)
	for _, k := range fault.Kinds {
		if k != fault.NoRoute && k != fault.Method && !strings.Contains(text, "`"+string(k)+"`") {
			t.Errorf("%s is not described", k)
		}
	}
}

func TestPage(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/docs")
	page := e.do(s, s.request()).Body.String()
	for path, item := range e.spec.Paths.Map() {
		if !strings.Contains(page, path) {
			t.Errorf("the page does not show %s", path)
		}
		for method, op := range item.Operations() {
			_, shown, _ := strings.Cut(page, `<h3 id="`+op.OperationID+`">`)
			shown, _, _ = strings.Cut(shown, "<h3 ")
			for _, p := range append(item.Parameters[:len(item.Parameters):len(item.Parameters)], op.Parameters...) {
				if row := "<td><code>" + p.Value.Name + "</code></td><td>" + p.Value.In + "</td>"; !strings.Contains(shown, row) {
					t.Errorf("the page does not show that %s %s takes %s", method, path, p.Value.Name)
				}
			}
		}
	}
	for name := range e.spec.Components.Schemas {
		if !strings.Contains(page, `id="type-`+name+`"`) {
			t.Errorf("the page does not show %s", name)
		}
	}
	if regexp.MustCompile(`(?i)<script|https?://|<link|<img|@import|&lt;no value`).MatchString(page) {
		t.Error("the page needs more than itself")
	}
}
