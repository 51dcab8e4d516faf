package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/hsm"
)

// fitness is what a token can and cannot do for the service.
type fitness struct {
	Module string    `json:"module"`
	Token  string    `json:"token"`
	Fit    bool      `json:"fit"`   // it lacks nothing, and no vector failed
	Stops  bool      `json:"stops"` // no service starts on it
	Lacks  []lackRow `json:"lacks"`
	Next   string    `json:"next,omitempty"` // what to do now
}

// lackRow is one thing that is lacking.
type lackRow struct {
	Mechanism string   `json:"mechanism,omitempty"`
	To        string   `json:"to"`
	Says      string   `json:"says,omitempty"`
	Costs     []string `json:"costs"`
	Stops     bool     `json:"stops"`
	Vectors   int      `json:"vectors,omitempty"` // that failed for want of it
}

// lookAtFitness asks a token for all that the service needs. It changes nothing.
func lookAtFitness(ctx context.Context, cfg hsm.Config, t *hsm.Token) (f fitness, err error) {
	f = fitness{Module: cfg.Module, Token: cfg.Token}
	lacks, err := t.Lacks(ctx)
	if err != nil {
		return f, err
	}
	failed, err := t.Trials(ctx)
	if err != nil {
		return f, err
	}
	f.Lacks = []lackRow{}
	for _, l := range append(lacks, failed...) {
		f.Lacks = append(f.Lacks, lackRow{Mechanism: l.Mechanism, To: l.To, Says: l.Says, Costs: costs(l), Stops: stops(l)})
		f.Stops = f.Stops || stops(l)
	}
	if f.Fit = len(f.Lacks) == 0; !f.Fit {
		f.Next = nextStep(f.Module)
	}
	return f, nil
}

// nextStep is what to do about a module that lacks something.
func nextStep(module string) string {
	if strings.HasPrefix(filepath.Base(module), "p11-kit-client") {
		return "p11-kit's client lets these mechanisms through from no HSM: name the HSM's own module, or p11-kit-proxy.so"
	}
	return "allow it in the HSM's configuration, where vendors speak of a policy or of a list of mechanisms, and call this again; " +
		"a module that knows it not at all cannot be used for this: docs/modules.md names some that are fit"
}

// count counts the vectors that failed for want of each mechanism.
func (f *fitness) count(r conformance.Report) {
	if f.Fit && r.Failed > 0 {
		f.Fit, f.Next = false, "every mechanism is there, and the vectors that failed were computed otherwise than the file says: "+
			"ask the vendor about them, unless the file is one of your own"
	}
	for _, failure := range r.Failures {
		name, is := hsm.LacksMechanism(failure.Err)
		for i := range f.Lacks {
			if is && f.Lacks[i].Mechanism == name {
				f.Lacks[i].Vectors++
				break
			}
		}
	}
}

// write prints f for people, in lines of at most 80 columns.
func (f fitness) write(w io.Writer) error {
	p := &lines{w: w}
	if f.Fit {
		p.put("", "token %s of %s lacks nothing that the service needs", f.Token, f.Module)
		return p.err
	}
	if len(f.Lacks) > 0 {
		p.put("", "what token %s of %s lacks:", f.Token, f.Module)
	}
	for _, l := range f.Lacks {
		p.put("  ", "%s", l)
		p.put("     ", "costs: %s", strings.Join(l.Costs, "; "))
	}
	switch {
	case f.Stops:
		p.put("", "no service starts on it")
	case len(f.Lacks) > 0:
		p.put("", "a service that needs none of this starts on it")
	}
	p.put("", "next: %s", f.Next)
	return p.err
}

// String names what is lacking.
func (l lackRow) String() string {
	text := l.To
	if l.Mechanism != "" {
		text = l.Mechanism + ", to " + l.To
	}
	if l.Vectors > 0 {
		text += fmt.Sprintf(" (%d vectors failed)", l.Vectors)
	}
	if l.Says != "" {
		text += ": " + l.Says
	}
	return text
}
