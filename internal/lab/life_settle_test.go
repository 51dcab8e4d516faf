package lab_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
)

// newPAN is the card that replaces the test card.
const newPAN = "6212987654321107"

func TestLifeToSettlement(t *testing.T) {
	w := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: w.now, Config: func(c *assembly.Config) {
		c.Detokenize.Callers = map[string]assembly.Velocity{"slow": {PerMinute: 1, Burst: 2}}
	}})
	issuer := l.Client(t, "issuer")
	tok := newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, tok.Ref, w.now), newReader(t, l, w.now)
	tap := tapOnce(t, reader, phone)
	tapID := upload(t, l, tap).TapID
	query := wire.DetokenizeRequest{Ref: tok.Ref, TapID: tapID, Purpose: "settlement"}
	own := func(id string, scopes ...access.Action) identity.Client {
		return identity.Client{ID: id, Requestor: "50110000001", Scopes: scopes}
	}

	t.Run("sealed and signed", func(t *testing.T) {
		host, enc := register(t, l, own("host", access.Detokenize))
		q := query
		q.Answer, q.Result = "jwe", "jws"
		got, err := host.Detokenize(t.Context(), q)
		if err != nil || got.PAN.Reveal() != "" {
			t.Fatalf("a clear card, or %v", err)
		}
		o, err := jose.ParseEncryptedCompact(got.PANSealed, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
		if err != nil {
			t.Fatal(err)
		}
		if card, err := o.Decrypt(enc); err != nil || string(card) != `{"pan":"`+testPAN+`","expiry":"`+testExpiry+`"}` {
			t.Errorf("the sealed card is another, or %v", err)
		}
		b, err := host.ResultKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.ParseSignedCompact(got.Result, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := s.Verify(keySet(t, b).Keys[0])
		if err != nil || !strings.Contains(string(claims), tok.Ref) || !strings.Contains(string(claims), `"amount_fen":350`) ||
			strings.Contains(string(claims), testPAN) {
			t.Errorf("the result does not say what was verified, or %v", err)
		}
		if _, err := host.DetokenizeDirect(t.Context(), wire.DirectRequest{Ref: tok.Ref, Purpose: "dispute"}); !client.IsProblem(err, "denied") {
			t.Errorf("direct without its scope: %v", err)
		}
	})
	t.Run("batch and direct", func(t *testing.T) {
		bad := query
		bad.Purpose, bad.TapID = "", "none"
		fine := query
		fine.Purpose = ""
		got, err := issuer.DetokenizeBatch(t.Context(), "settlement", []wire.DetokenizeRequest{fine, bad})
		if err != nil || len(got) != 2 || got[0].Card == nil || got[0].Card.PAN.Reveal() != testPAN || got[1].Problem == nil {
			t.Errorf("a batch: %v", err)
		}
		one, err := issuer.DetokenizeDirect(t.Context(), wire.DirectRequest{Ref: tok.Ref, Purpose: "dispute"})
		if err != nil || one.PAN.Reveal() != testPAN {
			t.Errorf("direct: %v", err)
		}
	})
	t.Run("velocity", func(t *testing.T) {
		slow, _ := register(t, l, own("slow", access.Detokenize))
		for range 2 {
			if _, err := slow.Detokenize(t.Context(), query); err != nil {
				t.Error(err)
			}
		}
		if _, err := slow.Detokenize(t.Context(), query); !client.IsProblem(err, "too-fast") {
			t.Errorf("the third within the minute: %v", err)
		}
	})
	t.Run("card replaced", func(t *testing.T) {
		got, err := issuer.ReplaceCard(t.Context(), wire.ReplaceCard{PAN: wire.NewDigits(testPAN), NewPAN: wire.NewDigits(newPAN), NewExpiry: "3106"})
		if err != nil || got.PAR != tok.PAR || got.PANLast4 != newPAN[12:] || got.Living != 1 {
			t.Fatalf("replaced behind %d tokens: %v", got.Living, err)
		}
		card, err := issuer.Detokenize(t.Context(), query)
		if err != nil || card.PAN.Reveal() != newPAN || card.PANExpiry != "3106" || card.PAR != tok.PAR {
			t.Errorf("the accepted tap does not lead to the new card: %v", err)
		}
	})
	t.Run("controls", func(t *testing.T) { controlled(t, l, reader, w) })
	noSecrets(t, l, testPAN, newPAN, pan(7))
}

// controlled has a purchase refused by a control and another by its MAC: outside
// they look alike, the record knows.
func controlled(t *testing.T, l *lab.Lab, reader *sim.Reader, w *watch) {
	q := cardRequest()
	q.PAN = wire.NewDigits(pan(7))
	q.Controls = &wire.Controls{MaxAmount: 300}
	tok := newToken(t, l, q)
	over := tapOnce(t, reader, newPhone(t, l, tok.Ref, w.now))
	forged := over
	forged.MAC2 = flip(forged.MAC2)
	h := l.Bearer(t, "issuer")
	var said []string
	for _, tap := range []wire.Tap{over, forged} {
		b, err := json.Marshal(wire.DetokenizeRequest{Ref: tok.Ref, Tap: &tap, Purpose: "settlement"})
		if err != nil {
			t.Fatal(err)
		}
		a := l.Send(t, "POST", "/v1/detokenize", h, b)
		if a.Type != "refused" {
			t.Errorf("answered %d %s", a.Status, a.Type)
		}
		said = append(said, strings.ReplaceAll(string(a.Body), a.Request, ""))
	}
	if said[0] != said[1] {
		t.Error("the refusals differ")
	}
	record, err := os.ReadFile(l.Config.Path(l.Config.Audit.File))
	if err != nil || !strings.Contains(string(record), `"control-amount"`) {
		t.Errorf("the record does not name the control (%v)", err)
	}
}
