package inventory_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/inventory"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

// journal keeps entries, or fails.
type journal struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (j *journal) Record(_ context.Context, e audit.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.entries = append(j.entries, e)
	}
	return j.err
}

func TestList(t *testing.T) {
	j := &journal{}
	s := &inventory.Service{Gate: audit.Gate{Recorder: j}, Token: hsmtest.New(t, hsmtest.Options{})}
	officer := access.Caller{ID: "officer-1", Role: access.Officer, Scopes: []access.Action{access.KeyRead}}
	list, err := s.Keys(t.Context(), officer)
	if err != nil || len(list) != len(keyceremony.ServiceKeys(hsmtest.Realm)) {
		t.Fatalf("an officer sees %d keys, %v", len(list), err)
	}
	for _, k := range list { // NSS does not remember where a secret key was made
		pair := k.Spec.Type == keyref.ECP256
		if k.Local != (pair || hsmtest.On(t) != "nss") || k.Check == nil || k.State != "ACTIVE" || k.Ref.Version != 1 {
			t.Errorf("%v: %+v", k.Ref, k)
		}
	}
	if len(j.entries) != 1 || j.entries[0].Outcome != audit.Allowed {
		t.Errorf("records: %+v", j.entries)
	}
	s.Annotate = func(list []keyref.Info) { list[0].State = "RETIRING" }
	if list, err := s.Keys(t.Context(), officer); err != nil || list[0].State != "RETIRING" {
		t.Errorf("what ceremonies say of it is left out: %+v, %v", list[:1], err)
	}
	for name, c := range map[string]access.Caller{
		"nobody":     {},
		"an issuer":  {ID: "i", Role: access.Issuer, Scopes: []access.Action{access.KeyRead}},
		"no scope":   {ID: "o", Role: access.Officer},
		"a terminal": {ID: "t", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)},
	} {
		if list, err := s.Keys(t.Context(), c); !errors.Is(err, access.ErrDenied) || list != nil {
			t.Errorf("%s: %d keys, %v", name, len(list), err)
		}
	}
	j.err = errors.New("disk full")
	if list, err := s.Keys(t.Context(), officer); !errors.Is(err, j.err) || list != nil {
		t.Errorf("unrecorded: %d keys, %v", len(list), err)
	}
}
