package cryptogram_test

import (
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Both implementations fit the same interfaces.
var (
	_ cryptogram.Keys  = (*hsm.Token)(nil)
	_ cryptogram.Keys  = (*softkey.Ring)(nil)
	_ conformance.Ring = (*softkey.Ring)(nil)
)

// rings returns an HSM and a ring in memory, both without keys.
func rings(t *testing.T) map[string]conformance.Ring {
	t.Helper()
	return map[string]conformance.Ring{
		"softhsm": hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}}), "memory": &softkey.Ring{}}
}

// TestRingsAgree gives both random keys, paths and transactions, and compares
// everything they compute. The ring in memory refuses whatever the HSM refuses;
// it may refuse more, because it knows what each usage is for and the HSM knows
// roles.
func TestRingsAgree(t *testing.T) {
	both, seed := rings(t), rand.NewChaCha8([32]byte{1})
	random := rand.New(seed)
	usages := []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.UnloadMaster, keyref.OverdraftMaster, keyref.TACMaster,
		keyref.SlotPurchaseMaster, keyref.SlotTACMaster, keyref.FoldedTAC, keyref.RetailTAC, keyref.MaintenanceMaster}
	for round := range 20 {
		for _, u := range usages {
			ref := keyref.Ref{Realm: "agree", Usage: u, Version: uint8(round + 1)}
			key := make([]byte, 16)
			_, _ = seed.Read(key)
			for name, r := range both {
				if err := r.ImportScratch(t.Context(), ref, key); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			for levels := range keyref.MaxLevels + 1 {
				agree(t, both, randomPath(seed, ref, levels), random)
			}
			for name, r := range both {
				if err := r.Forget(t.Context(), ref); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	}
}

func randomPath(seed *rand.ChaCha8, ref keyref.Ref, levels int) keyref.Path {
	p := keyref.Path{Key: ref, Levels: uint8(levels)}
	for i := range levels {
		_, _ = seed.Read(p.Factors[i][:])
	}
	return p
}

// answer is what one ring makes of one path.
type answer struct {
	process        [4][4]byte
	folded, retail [4]byte
	block          [8]byte
	refused        [4]bool
}

func agree(t *testing.T, both map[string]conformance.Ring, p keyref.Path, random *rand.Rand) {
	t.Helper()
	msgs := make([][]byte, 4)
	for i := range msgs {
		msgs[i] = make([]byte, random.IntN(40))
		for k := range msgs[i] {
			msgs[i][k] = byte(random.Uint32())
		}
	}
	var input [8]byte
	copy(input[:], msgs[0])
	answers := make(map[string]answer)
	for name, r := range both {
		answers[name] = ask(t.Context(), r, p, input, msgs)
	}
	hard, soft := answers["softhsm"], answers["memory"]
	for i := range hard.refused {
		if hard.refused[i] && !soft.refused[i] {
			t.Errorf("%v at %d levels: call %d is refused by the HSM alone", p.Key, p.Levels, i)
		}
	}
	if soft.refused[0] {
		hard.process = soft.process
	}
	if soft.refused[1] {
		hard.folded = soft.folded
	}
	if soft.refused[2] {
		hard.retail = soft.retail
	}
	if hard.refused = soft.refused; hard != soft {
		t.Errorf("%v at %d levels:\nsofthsm %+v\nmemory  %+v", p.Key, p.Levels, answers["softhsm"], answers["memory"])
	}
}

func ask(ctx context.Context, r conformance.Ring, p keyref.Path, input [8]byte, msgs [][]byte) (a answer) {
	macs, err := r.ProcessMAC(ctx, p, input, msgs...)
	if a.refused[0] = err != nil; err == nil {
		a.process = [4][4]byte(macs)
	}
	a.folded, err = r.FoldedMAC(ctx, p, msgs[0])
	a.refused[1] = err != nil
	a.retail, err = r.RetailMAC(ctx, p, msgs[1])
	a.refused[2] = err != nil
	a.block, err = r.Encipher(ctx, p, input)
	a.refused[3] = err != nil
	return a
}

// TestWeakKeys: keys whose fold is zero, and keys of zeros, are in use and
// must compute.
func TestWeakKeys(t *testing.T) {
	for name, r := range rings(t) {
		for i, digits := range []string{"34343434343434343434343434343434", "00000000000000000000000000000000", "0101010101010101FEFEFEFEFEFEFEFE"} {
			ref := keyref.Ref{Realm: "weak", Usage: keyref.FoldedTAC, Version: uint8(i + 1)}
			key, _ := hex.DecodeString(digits)
			if err := r.ImportScratch(t.Context(), ref, key); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := r.FoldedMAC(t.Context(), keyref.Path{Key: ref}, []byte("x")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// failing answers with an error, or with too few MACs.
type failing struct {
	cryptogram.Keys
	err error
}

func (f failing) ProcessMAC(context.Context, keyref.Path, [8]byte, ...[]byte) ([][4]byte, error) {
	return nil, f.err
}

func (f failing) FoldedMAC(context.Context, keyref.Path, []byte) ([4]byte, error) {
	return [4]byte{1}, f.err
}

func TestKeyFailures(t *testing.T) {
	gone := errors.New("gone")
	for _, f := range []failing{{err: gone}, {}} {
		var errs [6]error
		ctx, p := t.Context(), keyref.Path{}
		_, errs[0] = cryptogram.PurchaseMAC1(ctx, f, p, cryptogram.Purchase{})
		_, _, errs[1] = cryptogram.PurchaseMACs(ctx, f, p, cryptogram.Purchase{})
		_, _, errs[2] = cryptogram.LoadMACs(ctx, f, p, cryptogram.Load{})
		_, _, _, errs[3] = cryptogram.UnloadMACs(ctx, f, p, cryptogram.Unload{})
		_, _, errs[4] = cryptogram.OverdraftMACs(ctx, f, p, cryptogram.Overdraft{})
		_, errs[5] = cryptogram.TAC(ctx, f, p, cryptogram.TACRefuse, cryptogram.Load{})
		for i, err := range errs {
			if err == nil || i < 5 && f.err != nil && !errors.Is(err, f.err) {
				t.Errorf("call %d failed with %v, want %v", i, err, f.err)
			}
		}
	}
	tac, err := cryptogram.TAC(t.Context(), failing{err: gone}, keyref.Path{}, cryptogram.TACFold, cryptogram.Load{})
	if !errors.Is(err, gone) || tac != [4]byte{} {
		t.Error(tac, err)
	}
}

func TestMatch(t *testing.T) {
	a := [4]byte{1, 2, 3, 4}
	for i := range a {
		b := a
		b[i] ^= 0x80
		if cryptogram.Match(a, b) {
			t.Errorf("byte %d does not count", i)
		}
	}
	if !cryptogram.Match(a, a) {
		t.Error("equal MACs differ")
	}
}
