package token_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/token"
)

const (
	pan16 = "6228481234567894"
	num16 = "9100018765432102"
)

// secrets are every way in which a card number or a token number can sit in
// something that is printed.
func secrets(t *testing.T) map[string]any {
	t.Helper()
	p, err := token.ParsePAN(pan16)
	if err != nil {
		t.Fatal(err)
	}
	n, err := token.ParseNumber(num16)
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct {
		pan token.PAN
		num token.Number
	}
	type shown struct {
		PAN token.PAN
		Num token.Number
	}
	return map[string]any{
		"PAN": p, "number": n, "pointer": &p, "pointer to a number": &n,
		"exported fields": shown{p, n}, "unexported fields": hidden{p, n}, "pointer to unexported fields": &hidden{p, n},
		"slice": []token.PAN{p}, "map": map[string]token.PAN{"k": p}, "map key": map[token.Number]int{n: 1},
		"interface": []any{p, n, hidden{p, n}}, "token": token.Token{Number: n},
		"order": token.Order{PAN: p}, "pointer to an order": &token.Order{PAN: p},
		"unexported token": struct{ t token.Token }{token.Token{Number: n}},
	}
}

// leaks holds text to showing no more than the last four digits.
func leaks(t *testing.T, how, text string) {
	t.Helper()
	for _, s := range []string{pan16, num16} {
		for i := 0; i+6 <= len(s); i++ {
			if strings.Contains(text, s[i:i+6]) {
				t.Errorf("%s shows %q", how, s[i:i+6])
				return
			}
		}
	}
}

func TestFmtNeverShowsDigits(t *testing.T) {
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%+q", "%d", "%x", "%X", "% x", "%#x", "%o", "%b", "%c", "%U", "%e", "%t", "%p", "%T", "%20s", "%.3s", "%z"}
	for name, v := range secrets(t) {
		for _, verb := range verbs {
			leaks(t, name+" by "+verb, fmt.Sprintf(verb, v))
		}
		leaks(t, name+" by Sprint", fmt.Sprint(v))
		leaks(t, name+" in an error", fmt.Errorf("reading %v: %w", v, token.ErrMalformed).Error())
	}
}

func TestLogsNeverShowDigits(t *testing.T) {
	for name, v := range secrets(t) {
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			l := slog.New(h)
			l.Info("m", "v", v)
			l.With("v", v).Info("m", slog.Group("g", "v", v), slog.Any("a", []any{v}))
		}
		leaks(t, name+" in a log", b.String())
	}
}

func TestMarshallersNeverShowDigits(t *testing.T) {
	for name, v := range secrets(t) {
		if b, err := json.Marshal(v); err == nil {
			leaks(t, name+" in JSON", string(b))
		} else {
			leaks(t, name+" in an error of JSON", err.Error())
		}
		if b, err := xml.Marshal(v); err == nil {
			leaks(t, name+" in XML", string(b))
		}
	}
	p, err := token.ParsePAN(pan16)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(p); err == nil {
		t.Error("a card number was marshalled")
	}
	if _, err := p.MarshalText(); err == nil {
		t.Error("a card number was marshalled as text")
	}
	n, err := token.ParseNumber(num16)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(n); err == nil {
		t.Error("a token number was marshalled")
	}
}

func TestWhatIsShown(t *testing.T) {
	p, err := token.ParsePAN(pan16)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p); got != "PAN(…7894)" || p.Last4() != "7894" || p.Reveal() != pan16 || p.Len() != 16 {
		t.Errorf("%s, %s", got, p.Last4())
	}
	n, err := token.ParseNumber(num16)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(n); got != "token(…2102)" || n.Digits() != num16 {
		t.Errorf("%s", got)
	}
	var zero token.PAN
	if !zero.IsZero() || zero.Reveal() != "" || zero.Last4() != "" || fmt.Sprintf("%d", zero) != "PAN(…)" {
		t.Errorf("the zero PAN shows %d", zero)
	}
	var none token.Number
	if !none.IsZero() || none.Digits() != "" || none.ASN() != [10]byte{} {
		t.Errorf("the zero number shows %v", none)
	}
}
