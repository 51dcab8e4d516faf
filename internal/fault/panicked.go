package fault

import (
	"fmt"
	"runtime"
)

// Panicked is a panic of one goroutine on its way to who waits for it in another.
type Panicked struct {
	Value any      // it may hold what a request held
	At    []string // functions and lines, the innermost first
}

// Carry makes a [Panicked] of a recovered value; the function that was deferred calls it.
// One that was carried already stays as it is.
func Carry(value any) *Panicked {
	if p, ok := value.(*Panicked); ok {
		return p
	}
	p := &Panicked{Value: value}
	var pcs [24]uintptr
	fs := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])]) // behind Carry, who deferred, and the panic
	for {
		f, more := fs.Next()
		p.At = append(p.At, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return p
		}
	}
}

// Error says where it was, and not with what.
func (p *Panicked) Error() string { return fmt.Sprintf("a panic of type %T at %v", p.Value, p.At) }

// Safely does something of which a panic must not end the process, because it is begun
// again with the same rows, here or in another process: a panic is its error, which is a
// [Panicked].
func Safely(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = Carry(v)
		}
	}()
	return do()
}
