//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// oneOfTwo is the fault for which one process is given a second token.
const oneOfTwo = "hsm-one-of-two"

// deviceError is CKR_DEVICE_ERROR.
const deviceError = 0x30

// openSpare makes a second token: the module once more, from another file and
// behind a shim of its own, so that it starts, logs in and breaks by itself. It
// holds the same keys because it finds the same ones.
func (f *fleet) openSpare() error {
	module, err := softhsmconfig.Module()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(module)
	if err != nil {
		return err
	}
	dir := filepath.Join(f.home, "spare")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	again := filepath.Join(f.home, "libsofthsm2-spare.so")
	if err := os.WriteFile(again, text, 0o600); err != nil {
		return err
	}
	f.spare, err = shim.Build(dir, again)
	return err
}

// spared is the process that has two tokens.
func (f *fleet) spared() *node { return f.nodes[1] }

// breakSpare breaks one of the two tokens in each way in turn. Its process has to
// go on with the other, and to say which of them is out.
func breakSpare(ctx context.Context, f *fleet, _ *load, _ int) error {
	for _, way := range []struct {
		fail func()
		out  bool // it answers nothing, so that it must be found to be out
	}{
		{func() { f.spare.Fail(shim.Sign, shim.Fault{Code: deviceError, Done: true}) }, false},
		{func() {
			for c := shim.OpenSession; c <= shim.GenerateRandom; c++ {
				f.spare.Fail(c, shim.Fault{Code: deviceError})
			}
		}, true},
		{f.spare.Remove, true},
	} {
		if err := f.spareStands(ctx, "ok"); err != nil {
			return err
		}
		if err := f.without(ctx, way.fail, way.out); err != nil {
			return err
		}
	}
	return nil
}

// without holds the spare token broken for a while.
func (f *fleet) without(ctx context.Context, broken func(), out bool) error {
	broken()
	defer f.spare.Heal()
	if out {
		if err := f.spareStands(ctx, "down"); err != nil {
			return err
		}
	}
	return wait(ctx, hold/2)
}

// spareStands waits until readiness says so of the spare token. The process has to be ready with it.
func (f *fleet) spareStands(ctx context.Context, want string) error {
	var last wire.Health
	for end := time.Now().Add(patience); time.Now().Before(end); {
		h, err := f.spared().health(ctx)
		if err != nil {
			return err
		}
		if last = h; h.Status == "ok" && h.Parts["hsm-1"] == "ok" && h.Parts["hsm-2"] == want {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the second token is not %s after %v: %+v; it said: %s", want, patience, last, f.spared().said())
}

// health is what the process says of its parts.
func (n *node) health(ctx context.Context) (h wire.Health, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.addr+"/readyz", nil)
	if err != nil {
		return h, err
	}
	resp, err := n.http.Do(q)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	return h, json.NewDecoder(resp.Body).Decode(&h)
}
