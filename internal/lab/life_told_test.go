package lab_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
)

func TestLifeIsTold(t *testing.T) {
	type told struct {
		signature string
		body      []byte
	}
	all := make(chan told, 64)
	var refused atomic.Bool
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || !refused.Swap(true) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		all <- told{r.Header.Get("Tapvault-Signature"), b}
	}))
	t.Cleanup(hook.Close)
	w := &watch{at: noon()}
	l := lifeLab(t, w, "", assembly.Requestor{Webhook: hook.URL})
	issuer := l.Client(t, "issuer")
	for l.Count(t, "webhook_marks") == 0 { // the endpoint is told from its first look on
		time.Sleep(20 * time.Millisecond)
	}
	tok := newToken(t, l, cardRequest())
	newPhone(t, l, tok.Ref, w.now)
	for _, f := range []func() (wire.Token, error){
		func() (wire.Token, error) { return issuer.Suspend(t.Context(), tok.Ref, "test") },
		func() (wire.Token, error) { return issuer.Resume(t.Context(), tok.Ref, "test") },
	} {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(25 * time.Hour)
	b, err := issuer.WebhookKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := keySet(t, b).Keys[0]
	want := []string{"token.issued", "token.delivered", "token.activated", "token.suspended", "token.resumed", "token.expired"}
	var got []string
	for len(got) < len(want) {
		var x told
		select {
		case x = <-all:
		case <-time.After(200 * time.Millisecond): // what was refused is sent later
			if w.pass(time.Minute); w.now().After(noon().Add(30 * time.Hour)) {
				t.Fatalf("told of %v only", got)
			}
			continue
		}
		s, err := jose.ParseDetached(x.signature, x.body, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(key); err != nil {
			t.Error(err)
		}
		var e wire.Event
		if err := json.Unmarshal(x.body, &e); err != nil || e.Ref != tok.Ref || e.Seq != int64(len(got)+1) {
			t.Errorf("event %d of its token, %v", e.Seq, err)
		}
		got = append(got, e.Type)
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %v", got)
	}
	if !refused.Load() {
		t.Error("nothing was refused at first")
	}
	if tok, err = l.Client(t, "issuer").Token(t.Context(), tok.Ref); err != nil || tok.State != "EXPIRED" {
		t.Errorf("state %s, %v", tok.State, err)
	}
	noSecrets(t, l, testPAN)
}
