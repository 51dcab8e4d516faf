package webhook_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/webhook"
	"github.com/tapvault/tapvault/webhook/hookdb"
)

const requestor = token.Requestor("12345678901")

// receiver is a requestor's endpoint: it checks every signature, and answers
// what it is told to.
type receiver struct {
	t      *testing.T
	public *ecdsa.PublicKey
	mu     sync.Mutex
	aud    token.Requestor // whom messages are for
	got    []wire.Event
	answer func(e wire.Event) int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		r.t.Error(err)
	}
	var e wire.Event
	if err := json.Unmarshal(body, &e); err != nil {
		r.t.Error(err)
	}
	r.checkSignature(q.Header.Get(webhook.SignatureHeader), body, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	code := r.answer(e)
	if code == 200 {
		r.got = append(r.got, e)
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(code)
}

func (r *receiver) checkSignature(signature string, body []byte, e wire.Event) {
	parts := strings.Split(signature, ".")
	if len(parts) != 3 || parts[1] != "" {
		r.t.Errorf("no detached signature: %q", signature)
		return
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		r.t.Errorf("signature of %d bytes: %v", len(sig), err)
		return
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + base64.RawURLEncoding.EncodeToString(body)))
	if !ecdsa.Verify(r.public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		r.t.Error("the signature does not hold")
	}
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	var h struct{ Alg, Typ, Aud, Jti string }
	if err := json.Unmarshal(header, &h); err != nil || h.Alg != "ES256" || h.Typ != "tapvault-webhook" || h.Aud != string(r.aud) || h.Jti != e.ID {
		r.t.Errorf("header %s: %v", header, err)
	}
}

func (r *receiver) seen() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		out = append(out, fmt.Sprintf("%s %d", e.Ref[27:], e.Seq))
	}
	return out
}

// rig is a dispatcher over a real database and a real HTTP server.
type rig struct {
	t      *testing.T
	db     *store.DB
	events *outbox.Outbox
	queue  *hookdb.DB
	recv   *receiver
	disp   *webhook.Dispatcher
	end    webhook.Endpoint
	now    time.Time
}

func newRig(t *testing.T, db ...*store.DB) *rig {
	t.Helper()
	db = append(db, storetest.New(t))
	r := &rig{t: t, db: db[0], now: time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return r.now }
	var err error
	if r.events, err = outbox.New(outbox.Config{DB: r.db, Now: clock}); err != nil {
		t.Fatal(err)
	}
	k, key := newKey(t)
	r.recv = &receiver{t: t, aud: requestor, public: &k.PublicKey, answer: func(wire.Event) int { return 200 }}
	srv := httptest.NewServer(r.recv)
	t.Cleanup(srv.Close)
	r.end = webhook.Endpoint{Name: "one", Requestor: requestor, URL: srv.URL + "/hook"}
	r.queue = hookdb.New(r.db, r.events, clock)
	r.disp, err = webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{r.end}, Queue: r.queue,
		Key: key, Issuer: "https://tapvault.example", Rehearsal: true, Now: clock, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.step() // begins the queue
	return r
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, webhook.Key) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k, webhook.Key{Public: &k.PublicKey, Sign: func(_ context.Context, digest [32]byte) (out [64]byte, err error) {
		a, b, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err == nil {
			a.FillBytes(out[:32])
			b.FillBytes(out[32:])
		}
		return out, err
	}}
}

func (r *rig) emit(n int, who token.Requestor) {
	r.t.Helper()
	ref := token.Ref("tr" + strings.Repeat("A", 25) + string(rune('A'+n)))
	err := r.db.Tx(r.t.Context(), func(tx *gorm.DB) error {
		return r.events.Emit(tx, event.Event{Type: event.Updated, Ref: ref, Requestor: who})
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) step() int {
	r.t.Helper()
	n, err := r.disp.Step(r.t.Context(), r.end)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) wants(want ...string) {
	r.t.Helper()
	got := r.recv.seen()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("taken: %q, want %q", got, want)
	}
}

// Events of a token go one after the other; those of others need not wait, and
// another requestor's are not sent.
func TestOrderPerToken(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { orderPerToken(t, newRig(t, db(t))) })
}

func orderPerToken(t *testing.T, r *rig) {
	down := true
	r.recv.answer = func(e wire.Event) int {
		if down && strings.HasSuffix(e.Ref, "A") {
			return 503
		}
		return 200
	}
	for range 3 {
		r.emit(0, requestor)
	}
	r.emit(1, requestor)
	r.emit(2, "10987654321")
	r.step()
	r.wants("B 1")
	if n := r.step(); n != 0 {
		t.Errorf("%d tried again at once", n)
	}
	r.now = r.now.Add(4 * time.Second)
	down = false
	for r.step() > 0 {
		continue
	}
	r.wants("B 1", "A 1", "A 2", "A 3")
	if got := r.recv.seen()[1:]; !slices.Equal(got, []string{"A 1", "A 2", "A 3"}) {
		t.Errorf("order %q", got)
	}
}

// A redirect is not followed: it is an answer that is not 2xx.
func TestRedirectIsNotFollowed(t *testing.T) {
	r := newRig(t)
	tries := 0
	r.recv.answer = func(wire.Event) int { tries++; return 307 }
	r.emit(0, requestor)
	r.step()
	if r.wants(); tries != 1 {
		t.Errorf("%d tries", tries)
	}
}

// An event nobody takes is given up in the end, and the next ones go.
func TestGiveUp(t *testing.T) {
	r := newRig(t)
	r.recv.answer = func(e wire.Event) int {
		if e.Seq == 1 {
			return 500
		}
		return 200
	}
	r.emit(0, requestor)
	r.emit(0, requestor)
	for range 12 {
		r.step()
		r.wants()
		r.now = r.now.Add(7 * time.Hour)
	}
	for r.step() > 0 {
		continue
	}
	r.wants("A 2")
}

// An event that is old when it is tried for the first time, since it waited
// behind another or a clock went wrong, is not lost by one failure.
func TestOldEventIsTriedAgain(t *testing.T) {
	r := newRig(t)
	tries := 0
	r.recv.answer = func(wire.Event) int {
		if tries++; tries == 1 {
			return 503
		}
		return 200
	}
	r.emit(0, requestor)
	r.now = r.now.Add(100 * time.Hour)
	r.step()
	r.wants()
	r.now = r.now.Add(time.Minute)
	r.step()
	r.wants("A 1")
}

// A name in the configuration may come to stand for another requestor: what was
// queued under it for the one before is not told to the new one.
func TestNameOfAnother(t *testing.T) {
	r := newRig(t)
	r.recv.answer = func(wire.Event) int { return 503 }
	r.emit(0, requestor)
	r.step()
	const other = token.Requestor("10987654321")
	r.emit(1, other)
	r.end.Requestor = other
	r.recv.answer = func(wire.Event) int { return 200 }
	r.recv.aud = other
	r.now = r.now.Add(time.Minute)
	for r.step() > 0 {
		continue
	}
	r.wants("B 1")
}

// A process that died with a delivery in hand holds it up for a lease only;
// what it learns after that changes nothing.
func TestLease(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { lease(t, newRig(t, db(t))) })
}

func lease(t *testing.T, r *rig) {
	r.emit(0, requestor)
	if err := r.queue.Fill(t.Context(), r.end); err != nil {
		t.Fatal(err)
	}
	lost, err := r.queue.Claim(t.Context(), r.end, r.now.Add(time.Minute), 5)
	if err != nil || len(lost) != 1 || lost[0].Attempt != 1 {
		t.Fatalf("claimed %v, %v", lost, err)
	}
	if n := r.step(); n != 0 {
		t.Error("what one process has in hand, another sends")
	}
	r.now = r.now.Add(2 * time.Minute)
	again, err := r.queue.Claim(t.Context(), r.end, r.now.Add(time.Minute), 5)
	if err != nil || len(again) != 1 || again[0].Attempt != 2 || again[0].Event.ID != lost[0].Event.ID {
		t.Fatalf("claimed %v, %v", again, err)
	}
	if err := r.queue.Later(t.Context(), lost[0], r.now); err != nil {
		t.Fatal(err)
	}
	if n := r.step(); n != 0 {
		t.Error("a process that lost its lease gave away another's")
	}
}

// Two dispatchers over one database send each event once, when nothing fails.
func TestTwoDispatchers(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { twoDispatchers(t, newRig(t, db(t))) })
}

func twoDispatchers(t *testing.T, r *rig) {
	r.now = time.Now()
	for i := range 5 {
		for range 4 {
			r.emit(i, requestor)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { r.disp.Run(ctx) })
	}
	for deadline := time.Now().Add(20 * time.Second); len(r.recv.seen()) < 20 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	wg.Wait()
	next := map[string]int64{}
	for _, e := range r.recv.got {
		if next[e.Ref]++; e.Seq != next[e.Ref] {
			t.Errorf("event %d of %s came as number %d", e.Seq, e.Ref, next[e.Ref])
		}
	}
	if len(r.recv.got) != 20 {
		t.Errorf("%d events were taken", len(r.recv.got))
	}
}

func TestNewRefuses(t *testing.T) {
	_, key := newKey(t)
	good := webhook.Endpoint{Name: "a", Requestor: requestor, URL: "https://example.com/hook"}
	for name, change := range map[string]func(*webhook.Config){
		"no queue":       func(c *webhook.Config) { c.Queue = nil },
		"no key":         func(c *webhook.Config) { c.Key = webhook.Key{} },
		"plain http":     func(c *webhook.Config) { c.Endpoints[0].URL = "http://example.com/hook" },
		"another scheme": func(c *webhook.Config) { c.Endpoints[0].URL = "file:///etc/passwd" },
		"a user":         func(c *webhook.Config) { c.Endpoints[0].URL = "https://u:p@example.com/" },
		"no host":        func(c *webhook.Config) { c.Endpoints[0].URL = "https:///hook" },
		"no name":        func(c *webhook.Config) { c.Endpoints[0].Name = "" },
		"no requestor":   func(c *webhook.Config) { c.Endpoints[0].Requestor = "1" },
		"a name twice":   func(c *webhook.Config) { c.Endpoints = append(c.Endpoints, good) },
	} {
		cfg := webhook.Config{Endpoints: []webhook.Endpoint{good}, Queue: &hookdb.DB{}, Key: key}
		change(&cfg)
		if _, err := webhook.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	d, err := webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{good}, Queue: &hookdb.DB{}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if set, err := d.KeySet(); err != nil || !strings.Contains(string(set), `"kid":`) || strings.Contains(string(set), `"d":`) {
		t.Errorf("%s, %v", set, err)
	}
}

// Outside a rehearsal nothing inside is reached, whatever the name says.
func TestInsideIsNotReached(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0", "100.64.0.1", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]",
		"[::127.0.0.1]", "[::ffff:0:7f00:1]", "[fec0::1]", "[100::1]", "[5f00::1]", "[2002:7f00:1::1]", "192.88.99.1"} {
		resp, err := webhook.NewHTTP(false).Get("https://" + host + port)
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not a public one") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestSecretOfTheURL: requestors put secrets of theirs into the URL; a log shows
// why an endpoint was not reached, and none of them.
func TestSecretOfTheURL(t *testing.T) {
	r := newRig(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	r.emit(1, requestor)
	log := r.logged(t, closed.URL+"/hook/s3cret?token=s3cret")
	if !strings.Contains(log, "not taken") || strings.Contains(log, "s3cret") {
		t.Errorf("logged: %s", log)
	}
}

// TestAnswerIsNotLogged: whatever an endpoint answers, and were it what it was
// sent, a log has neither the secrets of the URL nor more than a line of it.
func TestAnswerIsNotLogged(t *testing.T) {
	for name, answer := range map[string]func(to io.Writer, sent []byte){
		"what it was sent": func(to io.Writer, sent []byte) { _, _ = to.Write(sent) },
		"a long line":      func(to io.Writer, _ []byte) { _, _ = to.Write(bytes.Repeat([]byte("s3cret"), 1<<16)) },
		"a long header": func(to io.Writer, _ []byte) {
			_, _ = fmt.Fprintf(to, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %s\r\n\r\n", bytes.Repeat([]byte("s3cret"), 1<<16))
		},
		"a header of no form": func(to io.Writer, _ []byte) { _, _ = to.Write([]byte("HTTP/1.1 200 OK\r\ns3cret\r\n\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			log := r.answeredBy(t, answer)
			if !strings.Contains(log, "not taken") || strings.Contains(log, "s3cret") || len(log) > 1000 {
				t.Errorf("logged: %.1000s", log)
			}
		})
	}
}

// answeredBy sends one event to whoever answers so, and returns what was logged.
func (r *rig) answeredBy(t *testing.T, answer func(to io.Writer, sent []byte)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		sent := make([]byte, 4096)
		n, _ := c.Read(sent)
		answer(c, sent[:n])
	})
	defer serving.Wait()
	defer l.Close()
	r.emit(1, requestor)
	return r.logged(t, "http://"+l.Addr().String()+"/hook/s3cret?token=s3cret")
}

// logged sends one event to a URL and returns what was logged.
func (r *rig) logged(t *testing.T, url string) string {
	t.Helper()
	var log bytes.Buffer
	_, key := newKey(t)
	end := r.end
	end.URL = url
	d, err := webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{end}, Queue: r.queue, Key: key, Rehearsal: true,
		Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := d.Step(t.Context(), end); err != nil || n != 1 {
		t.Fatalf("%d events were tried, %v", n, err)
	}
	return log.String()
}
