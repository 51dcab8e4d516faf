package rig

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/internal/assembly"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// Child is what another process needs to run the service of a rig that was
// made and not started, so that it can be killed. It travels as JSON; what
// [Config].Edit did, the child does itself.
type Child struct{ Dir, Addr string }

// Child describes r to the process that shall run it.
func (r *Rig) Child() Child { return Child{r.Dir, r.addr} }

// Serve runs the service in this process. wrap, if it is not nil, stands
// before every request.
func (c Child) Serve(ctx context.Context, now func() time.Time, edit func(*assembly.Config), wrap func(http.Handler) http.Handler) (stop func() error, err error) {
	if err := softhsmconfig.Use(filepath.Join(c.Dir, "softhsm", "softhsm2.conf")); err != nil {
		return nil, err
	}
	module, err := softhsmconfig.Module()
	if err != nil {
		return nil, err
	}
	cfg, err := config(module)
	if err != nil {
		return nil, err
	}
	if edit != nil {
		edit(&cfg)
	}
	return serve(ctx, cfg.In(c.Dir), c.Addr, now, wrap)
}
