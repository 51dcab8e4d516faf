//go:build linux && cgo

package shim_test

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// answering are the calls that answer with more than a code, or make something.
var answering = map[string]shim.Call{"GetSlotList": shim.GetSlotList, "GetTokenInfo": shim.GetTokenInfo, "GetMechanismInfo": shim.GetMechanism,
	"OpenSession": shim.OpenSession, "GetSessionInfo": shim.GetSessionInfo, "Login": shim.Login, "CreateObject": shim.CreateObject,
	"CopyObject": shim.CopyObject, "DestroyObject": shim.DestroyObject, "GetAttributeValue": shim.GetAttribute, "FindObjectsInit": shim.FindInit,
	"FindObjects": shim.Find, "FindObjectsFinal": shim.FindFinal, "EncryptInit": shim.EncryptInit, "Encrypt": shim.Encrypt,
	"DecryptInit": shim.DecryptInit, "Decrypt": shim.Decrypt, "SignInit": shim.SignInit, "Sign": shim.Sign, "GenerateKey": shim.GenerateKey,
	"GenerateKeyPair": shim.GenerateKeyPair, "DeriveKey": shim.DeriveKey, "GenerateRandom": shim.GenerateRandom}

// few are the keys that operations need.
var few = []keyref.Ref{ref(keyref.PurchaseMaster), ref(keyref.TACMaster), ref(keyref.PARKey), ref(keyref.PANSeal), ref(keyref.CredSign)}

// further are operations that look at keys and make them. They may also be told
// that a key is missing or unfit: a module that says so is believed.
var further = map[string]func(context.Context, *hsm.Token) (string, error){
	"inventory": func(ctx context.Context, tok *hsm.Token) (string, error) {
		all, err := tok.Inventory(ctx)
		text := ""
		for _, k := range all {
			if k.Ref.Version == 2 { // of a birth that was cut off
				continue
			}
			if k.Flag != "" {
				err = errors.Join(err, fmt.Errorf("%w: %s", hsm.ErrKeyUnfit, k.Flag))
			}
			text += fmt.Sprintf("%v %x %s;", k.Ref, k.Check, k.Flag)
		}
		return text, err
	},
	"require": func(ctx context.Context, tok *hsm.Token) (string, error) { return "", tok.Require(ctx, few...) },
	"read back": func(ctx context.Context, tok *hsm.Token) (string, error) {
		_, traits, err := tok.ReadBack(ctx, ref(keyref.PurchaseMaster))
		return traits, err
	},
	"sign": func(ctx context.Context, tok *hsm.Token) (string, error) {
		sig, err := tok.Sign(ctx, ref(keyref.CredSign), [32]byte{1})
		public, lost := tok.PublicKey(ctx, ref(keyref.CredSign))
		if err = errors.Join(err, lost); err != nil {
			return "", err
		}
		digest := [32]byte{1}
		return fmt.Sprint(ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))), nil
	},
	"birth": func(ctx context.Context, tok *hsm.Token) (string, error) {
		r := keyref.Ref{Usage: keyref.CredSign, Version: 2}
		err := tok.Generate(ctx, r)
		if err == nil || errors.Is(err, hsm.ErrKeyExists) {
			err = errors.Join(err, tok.Destroy(ctx, r))
		}
		return "", err
	},
}

// told fails the test unless an answer is right, or err of the kinds that tell of the HSM.
func told(t *testing.T, what, answer, good string, err error) {
	t.Helper()
	if k := fault.KindOf(err); err != nil && k != fault.HSMUnavailable && k != fault.HSMKey || errors.Is(err, hsm.ErrPIN) {
		t.Errorf("%s: %v is of kind %s", what, err, k)
	}
	if err == nil && answer != good {
		t.Errorf("%s: %q instead of %q", what, answer, good)
	}
}

// lengths and handles are the calls that answer with them.
var (
	lengths = []shim.Call{shim.GetSlotList, shim.GetAttribute, shim.Find, shim.Encrypt, shim.Decrypt, shim.Sign}
	handles = []shim.Call{shim.OpenSession, shim.CreateObject, shim.CopyObject, shim.GenerateKey, shim.GenerateKeyPair, shim.DeriveKey}
)

// lies runs try while a call lies, so many times.
func lies(times int, try func(what string)) {
	for name, call := range answering {
		for lie, says := range shim.Untruths {
			if (call == shim.Find || call == shim.FindInit) && (lie == shim.NothingDone || lie == shim.NoLength) {
				continue // a search that finds nothing may be true
			}
			switch lie {
			case shim.NothingDone, shim.TooSmall:
			case shim.NoHandle:
				if !slices.Contains(handles, call) {
					continue
				}
			default:
				if !slices.Contains(lengths, call) {
					continue
				}
			}
			made.Lie(call, lie, times)
			try(fmt.Sprintf("%s, %s, %d times", name, says, times))
			made.Heal()
		}
	}
}

// TestEveryCallLies: whatever is untrue in what a module says, nobody gets a wrong
// answer, the process lives, and all works again when the module tells the truth.
func TestEveryCallLies(t *testing.T) {
	behind(t)
	tok := hsmtest.New(t, hsmtest.Options{Module: made.Module, Refs: few, Config: func(c *hsm.Config) { c.MaxSessions = 2 }})
	good, better := map[string]string{}, map[string]string{}
	run := func(ops map[string]func(context.Context, *hsm.Token) (string, error), see func(op, answer string, err error)) {
		for op, f := range ops {
			answer, err := f(t.Context(), tok)
			see(op, answer, err)
		}
	}
	keep := func(in map[string]string) func(string, string, error) {
		return func(op, answer string, err error) {
			if in[op] = answer; err != nil {
				t.Fatalf("%s before any lie: %v", op, err)
			}
		}
	}
	run(operations, keep(good))
	run(further, keep(better))
	see := func(what string) {
		if t.Failed() {
			return
		}
		run(operations, func(op, answer string, err error) { told(t, what+": "+op, answer, good[op], err) })
		run(further, func(op, answer string, err error) { told(t, what+": "+op, answer, better[op], err) })
		made.Heal()
		tok.Destroy(t.Context(), keyref.Ref{Usage: keyref.CredSign, Version: 2}) // that may be there
		made.Forget()
		recovers(t, what, tok, good)
	}
	lies(1, see)
	lies(0, see)
}

// born makes a token with few keys, and returns its configuration.
func born(t *testing.T) hsm.Config {
	t.Helper()
	behind(t)
	cfg := hsmtest.EmptyOn(t, made.Module)
	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range few {
		err = errors.Join(err, tok.Generate(t.Context(), r))
	}
	if err = errors.Join(err, tok.Close()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// starts opens a token and does one of each of what a service does.
func starts(ctx context.Context, cfg hsm.Config) error {
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err = tok.Require(ctx, few...); err == nil {
		for _, f := range operations {
			_, failed := f(ctx, tok)
			err = errors.Join(err, failed)
		}
	}
	return errors.Join(err, tok.Close())
}

// TestLiesAtStart: no service is started on a module that lies, or it can do without.
func TestLiesAtStart(t *testing.T) {
	cfg := born(t)
	lies(0, func(what string) { told(t, what, "", "", starts(t.Context(), cfg)) })
	if err := starts(t.Context(), cfg); err != nil {
		t.Errorf("after all lies: %v", err)
	}
}

// TestTableHasHoles: a function that a module has not even as one that refuses is
// named as one that it does not have. A list of version 3 begins as one of version 2.
func TestTableHasHoles(t *testing.T) {
	cfg := born(t)
	for name, call := range answering {
		made.Hole(call)
		err := starts(t.Context(), cfg)
		made.Heal()
		told(t, name, "", "", err)
		if err != nil && !strings.Contains(err.Error(), "CKR_FUNCTION_NOT_SUPPORTED") && !strings.Contains(err.Error(), "lacks the mechanism") {
			t.Errorf("%s: %v", name, err)
		}
	}
	made.Version(3)
	if err := starts(t.Context(), cfg); err != nil {
		t.Errorf("version 3: %v", err)
	}
}

// TestLabelsOfOthers: a label that is filled with zeros is found, and one that is no
// text is told as one.
func TestLabelsOfOthers(t *testing.T) {
	cfg := born(t)
	made.Lie(shim.GetTokenInfo, shim.Zeros, 0)
	if err := starts(t.Context(), cfg); err != nil {
		t.Errorf("filled with zeros: %v", err)
	}
	made.Lie(shim.GetTokenInfo, shim.NotText, 0)
	err := starts(t.Context(), cfg)
	if _, absent := hsm.Absent(err); !absent || !utf8.ValidString(err.Error()) || !strings.Contains(err.Error(), `\xff`) {
		t.Errorf("no text: %v", err)
	}
}
