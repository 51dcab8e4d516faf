package lab_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/freeport"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// TestThreeProcesses has three services share one PostgreSQL database and one
// HSM token. They are killed and started again while callers issue, suspend,
// resume and renew tokens and get card numbers back, and send everything again
// until it is answered, to whichever process. No number may be borne twice, no
// answer lost, and nothing done twice.
func TestThreeProcesses(t *testing.T) {
	const lives, callers, kills = 48, 6, 6
	f := newFleet(t, 3, "")
	stop := f.torment(kills)
	var wg sync.WaitGroup
	var next atomic.Int64
	all := make([]life, lives)
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < lives && !t.Failed(); i = int(next.Add(1)) - 1 {
				all[i] = f.live(i)
			}
		})
	}
	wg.Wait()
	if killed := stop(); killed < kills && !t.Failed() {
		t.Errorf("only %d processes were killed", killed)
	}
	if !t.Failed() {
		f.judge(all)
	}
}

// life is what the services answered about one card's tokens.
type life struct{ first, second shown }

// shown is what the answers say of a token.
type shown struct {
	Ref    string `json:"token_reference_id"`
	Number string `json:"payment_token"`
	State  string `json:"state"`
}

// fleet is the services and what they share.
type fleet struct {
	t      *testing.T
	bin    string
	dir    string
	db     *store.DB
	bearer string
	http   *http.Client
	ships  []*ship
}

// ship is one service, now and then running.
type ship struct {
	config, url string
	mu          sync.Mutex
	cmd         *exec.Cmd
	ended       chan struct{} // closed when cmd has ended
}

func newFleet(t *testing.T, size int, settings string) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{t: t, bin: filepath.Join(dir, "tapvault"), dir: filepath.Join(dir, "home")}
	f.run("go", "build", "-o", f.bin, "../../cmd/tapvault")
	f.run(f.bin, "init", f.dir)
	config := storetest.Postgres(t)(t)
	f.db = storetest.Open(t, config)
	f.moveClients()
	for i := range size {
		f.ships = append(f.ships, f.newShip(i, config.DSN, settings))
	}
	for _, s := range f.ships {
		f.start(s)
		t.Cleanup(func() { f.kill(s) })
	}
	f.reach()
	f.bearer = f.login("issuer")
	return f
}

// run runs a command to its end.
func (f *fleet) run(name string, args ...string) {
	f.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %s: %v\n%s", name, args[0], err, out)
	}
}

// moveClients registers the rehearsal's callers in the shared database.
func (f *fleet) moveClients() {
	f.t.Helper()
	own := storetest.Open(f.t, store.Config{DSN: filepath.Join(f.dir, "tapvault.db")})
	clients, err := clientdb.New(own, nil).List(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range clients {
		if err := clientdb.New(f.db, nil).Add(f.t.Context(), c); err != nil {
			f.t.Fatal(err)
		}
	}
}

// newShip writes the configuration of a service: a port and a record of its
// own, everything else shared, and perhaps more settings.
func (f *fleet) newShip(i int, dsn, settings string) *ship {
	f.t.Helper()
	at, err := freeport.Address()
	if err != nil {
		f.t.Fatal(err)
	}
	s := &ship{config: filepath.Join(f.dir, fmt.Sprintf("service-%d.yaml", i)), url: "https://" + at}
	text, err := os.ReadFile(filepath.Join(f.dir, "tapvault.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "listen:"):
			line = "listen: " + at + "\n"
		case strings.HasPrefix(line, "  dsn:"):
			line = fmt.Sprintf("  dsn: %q\n", dsn)
		case strings.HasPrefix(line, "  file: audit.log"):
			line = fmt.Sprintf("  file: audit-%d.log\n", i)
		}
		lines = append(lines, line)
	}
	lines = append(lines, settings)
	if err := os.WriteFile(s.config, []byte(strings.Join(lines, "")), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// start runs a service, and leaves it to callers to find out when it answers.
func (f *fleet) start(s *ship) {
	log, err := os.OpenFile(s.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = exec.Command(f.bin, "serve", "--config", s.config)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		f.t.Error(err)
		return
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // it says that it was killed
		close(ended)
	}(s.cmd, s.ended)
}

// kill ends a service without a warning.
func (f *fleet) kill(s *ship) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		f.t.Error(err)
	}
	<-s.ended
}

// supervise starts a service again that ended by itself, as whoever runs it for
// real does: SoftHSM, for one, now and then does not find its token in the
// moment in which another process logs in to it.
func (f *fleet) supervise(s *ship) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	select {
	case <-ended:
		f.start(s)
	default:
	}
}

// torment kills services in turn, never all at once, and starts each again.
// What it returns ends that after so many kills and says how many there were.
func (f *fleet) torment(atLeast int) (stop func() int) {
	enough, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { ended <- n }()
		for {
			s := f.ships[n%len(f.ships)]
			if !f.answers(s) {
				return
			}
			time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
			f.kill(s)
			n++
			f.start(s)
			select {
			case <-enough:
				if n >= atLeast {
					return
				}
			default:
			}
		}
	}()
	return func() int { close(enough); return <-ended }
}

// patience is how long a service may take to start, and an answer to come, on
// a machine with much else to do.
const patience = 5 * time.Minute

// answers waits until a service is ready.
func (f *fleet) answers(s *ship) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := f.http.Get(s.url + "/readyz")
		if err != nil {
			f.supervise(s)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return true
		}
	}
	log, _ := os.ReadFile(s.config + ".log")
	f.t.Errorf("%s does not start: %s", s.config, log)
	return false
}

// login gets an access token, which every service believes.
func (f *fleet) login(id string) string {
	f.t.Helper()
	key, err := client.ReadKey(filepath.Join(f.dir, "clients", id+".pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := client.New(client.Config{BaseURL: f.ships[0].url, ClientID: id, Key: key,
		CAFile: filepath.Join(f.dir, "tls", "ca.pem"), Audience: "https://localhost:8443"})
	if err != nil {
		f.t.Fatal(err)
	}
	bearer, err := c.AccessToken(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return bearer
}

// reach waits until every service can be reached.
func (f *fleet) reach() {
	f.t.Helper()
	pem, err := os.ReadFile(filepath.Join(f.dir, "tls", "ca.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		f.t.Fatal("the rehearsal's CA is not in its file")
	}
	f.http = client.NewHTTP(roots)
	for _, s := range f.ships {
		if !f.answers(s) {
			f.t.FailNow()
		}
	}
}

// ask sends a request again, each time to a process drawn at random, until it
// is answered for good.
func (f *fleet) ask(path, key, body string, into any) {
	last := "nothing was sent"
	for end := time.Now().Add(patience); time.Now().Before(end) && !f.t.Failed(); time.Sleep(20 * time.Millisecond) {
		status, answer, err := f.send(f.ships[rand.IntN(len(f.ships))], path, key, body)
		if err != nil || status >= 500 || status == http.StatusTooManyRequests {
			last = fmt.Sprintf("%d %s %v", status, answer, err)
			continue // nobody knows whether it was done
		}
		if status/100 != 2 {
			f.t.Errorf("%s, %s: %d %s", path, key, status, answer)
			return
		}
		if err := json.Unmarshal(answer, into); err != nil {
			f.t.Errorf("%s: %v", path, err)
		}
		return
	}
	f.t.Errorf("%s, %s: no answer but %s", path, key, last)
}

func (f *fleet) send(s *ship, path, key, body string) (status int, answer []byte, err error) {
	resp, err := f.sendAs(f.bearer, s, path, key, body)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (f *fleet) sendAs(bearer string, s *ship, path, key, body string) (*http.Response, error) {
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	q, err := http.NewRequestWithContext(f.t.Context(), method, s.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+bearer)
	q.Header.Set("Content-Type", "application/json")
	if key != "" {
		q.Header.Set("Idempotency-Key", key)
	}
	return f.http.Do(q)
}

// pan is the number of the nth card.
func pan(n int) string {
	digits := fmt.Sprintf("6212%011d", n)
	return digits + string(token.LuhnDigit(digits))
}

// live takes the nth card's token through its life.
func (f *fleet) live(n int) (l life) {
	key := func(what string) string { return fmt.Sprintf("card-%d-%s", n, what) }
	f.ask("/v1/tokens", key("issue"), fmt.Sprintf(`{"pan": %q, "pan_expiry": "4912", "token_location": "03"}`, pan(n)), &l.first)
	path := "/v1/tokens/" + l.first.Ref
	var moved shown
	f.ask(path+"/suspend", key("suspend"), `{"reason": "lost"}`, &moved)
	f.ask(path+"/resume", key("resume"), `{"reason": "found"}`, &moved)
	f.ask(path+"/renew", key("renew"), `{}`, &l.second)
	var card struct {
		PAN string `json:"pan"`
	}
	f.ask("/v1/detokenize/direct", key("open"), fmt.Sprintf(`{"token_reference_id": %q, "purpose": "settlement"}`, l.first.Ref), &card)
	if card.PAN != pan(n) && !f.t.Failed() {
		f.t.Errorf("card %d: another card came back", n)
	}
	return l
}

// judge holds the database and every process's answers to what was answered.
func (f *fleet) judge(all []life) {
	refs, numbers := map[string]bool{}, map[string]bool{}
	for n, l := range all {
		for _, s := range []shown{l.first, l.second} {
			if refs[s.Ref] || numbers[s.Number] || s.Ref == "" || s.Number == "" {
				f.t.Errorf("card %d: %s was given out twice", n, s.Ref)
			}
			refs[s.Ref], numbers[s.Number] = true, true
			var now shown
			f.ask("/v1/tokens/"+s.Ref, "", "", &now)
			if now.Ref != s.Ref || now.Number != s.Number {
				f.t.Errorf("card %d: answered %s, and now it is %s", n, s.Ref, now.Ref)
			}
		}
	}
	f.counts(map[string]int{
		"SELECT count(*) FROM tokens": 2 * len(all),
		"SELECT count(*) FROM cards":  len(all),
		"SELECT count(*) FROM (SELECT range_id, serial FROM tokens GROUP BY range_id, serial) AS numbers": 2 * len(all),
		// suspended, resumed and renewed, each once: three changes and the birth
		"SELECT count(*) FROM tokens WHERE renewed_by <> '' AND revision = 4": len(all),
	})
}

func (f *fleet) counts(want map[string]int) {
	for q, n := range want {
		var got int
		if err := f.db.Read(f.t.Context()).Raw(q).Scan(&got).Error; err != nil || got != n {
			f.t.Errorf("%s: %d, %v; want %d", q, got, err, n)
		}
	}
}
