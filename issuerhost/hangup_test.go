package issuerhost_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
)

// computing calls computed when the HSM has answered, and before anybody knows.
type computing struct {
	emv.Keys
	computed func()
}

func (k computing) MAC3(ctx context.Context, c keyref.Chain, padded []byte) ([8]byte, error) {
	defer k.computed()
	return k.Keys.MAC3(ctx, c, padded)
}

func (k computing) EncipherBlocks(ctx context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error) {
	defer k.computed()
	return k.Keys.EncipherBlocks(ctx, c, chained, blocks)
}

// TestHangingUp: a caller whose connection ends while a wrong value is judged has made
// a guess like any other.
func TestHangingUp(t *testing.T) {
	h := newHouse(t)
	var hangUp context.CancelFunc
	h.cfg.Keys = computing{h.cfg.Keys, func() {
		if hangUp != nil {
			hangUp()
		}
	}}
	h.open()
	v := issuerhost.Value{Kind: issuerhost.CVV2, PAN: pan(t, panText), Expiry: "2912"}
	made, wrong := guessed(t, h, v)
	for i := range 9 {
		ctx, cancel := context.WithCancel(t.Context())
		hangUp = cancel
		if err := h.CheckValue(ctx, bank, v, wrong, access.Attempt{}); err == nil {
			t.Errorf("guess %d holds", i+1)
		}
		cancel()
	}
	hangUp = nil
	if err := h.CheckValue(t.Context(), bank, v, made, access.Attempt{}); fault.KindOf(err) != fault.TooFast {
		t.Errorf("after nine guesses by a caller who hung up: %v", err)
	}
	// a cryptogram is no other
	for range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		hangUp = cancel
		_, err := h.Authorise(ctx, bank, issuerhost.Request{Transaction: forged(t), Silent: true}, access.Attempt{})
		if cancel(); err == nil {
			t.Fatal("a forged cryptogram holds")
		}
	}
	hangUp = nil
	if _, err := h.Authorise(t.Context(), bank, issuerhost.Request{Transaction: forged(t), Silent: true}, access.Attempt{}); fault.KindOf(err) != fault.TooFast {
		t.Errorf("after forty cryptograms by a caller who hung up: %v", err)
	}
}

// forged is a transaction whose cryptogram does not hold.
func forged(t *testing.T) issuerhost.Transaction {
	return issuerhost.Transaction{Payer: issuerhost.Payer{PAN: pan(t, otherText), PSN: "00"}, Profile: "visa-18", Data: data(7), AC: [8]byte{1}}
}

func guessed(t *testing.T, h *house, v issuerhost.Value) (made, wrong string) {
	t.Helper()
	made, err := h.MakeValue(t.Context(), bank, v)
	if err != nil {
		t.Fatal(err)
	}
	if wrong = "999"; made == wrong {
		wrong = "998"
	}
	return made, wrong
}

// full can be read and takes no writes, as a disk that is full.
type full struct{ issuerhost.Counters }

var errFull = errors.New("no space left")

func (full) Miss(context.Context, string, [32]byte) (int, error) { return 0, errFull }
func (full) Take(context.Context, string, [32]byte, int) (func(context.Context) error, error) {
	return nil, errFull
}

// TestNothingIsJudgedUncounted: while no guess can be counted, a caller is told of one
// at most, whatever its checks come to.
func TestNothingIsJudgedUncounted(t *testing.T) {
	h := newHouse(t)
	var judged atomic.Int64
	counters := h.cfg.Counters
	h.cfg.Keys, h.cfg.Counters = computing{h.cfg.Keys, func() { judged.Add(1) }}, full{counters}
	h.open()
	v := issuerhost.Value{Kind: issuerhost.CVV2, PAN: pan(t, panText), Expiry: "2912"}
	made, wrong := guessed(t, h, v)
	check := func(shown string) (int64, error) {
		before := judged.Load()
		err := h.CheckValue(t.Context(), bank, v, shown, access.Attempt{})
		return judged.Load() - before, err
	}
	if n, err := check(made); err != nil || n == 0 {
		t.Errorf("a right value needs no count: %v", err)
	}
	if _, err := check(wrong); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	for _, shown := range []string{wrong, made, wrong} {
		if n, err := check(shown); n != 0 || !errors.Is(err, errFull) {
			t.Errorf("a guess that cannot be counted was judged by %d calculations: %v", n, err)
		}
	}
}

// TestNoCryptogramIsJudgedUncounted: nor is it told of cryptograms.
func TestNoCryptogramIsJudgedUncounted(t *testing.T) {
	h := newHouse(t)
	var judged atomic.Int64
	counters := &failing{Counters: h.cfg.Counters, broken: true}
	h.cfg.Keys, h.cfg.Counters = computing{h.cfg.Keys, func() { judged.Add(1) }}, counters
	h.open()
	wrong := forged(t)
	if err := h.Verify(t.Context(), bank, wrong); !errors.Is(err, errFull) || judged.Load() == 0 {
		t.Fatal(err)
	}
	each := judged.Load()
	for range 3 {
		if err := h.Verify(t.Context(), bank, wrong); !errors.Is(err, errFull) || judged.Load() != each {
			t.Errorf("a guess that cannot be counted was judged by %d calculations: %v", judged.Load()-each, err)
		}
	}
	counters.broken = false
	for range maxCryptograms - 1 {
		if err := h.Verify(t.Context(), bank, wrong); fault.KindOf(err) != fault.Refused {
			t.Fatal(err)
		}
	}
	if err := h.Verify(t.Context(), bank, wrong); fault.KindOf(err) != fault.TooFast {
		t.Errorf("what could not be counted at first is not: %v", err)
	}
}

// maxCryptograms is how many wrong ones of a card are told of in a day.
const maxCryptograms = 32

// failing counts, unless it is broken.
type failing struct {
	issuerhost.Counters
	broken bool
}

func (f *failing) Miss(ctx context.Context, client string, name [32]byte) (int, error) {
	if f.broken {
		return 0, errFull
	}
	return f.Counters.Miss(ctx, client, name)
}
