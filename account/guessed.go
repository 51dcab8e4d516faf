package account

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// errBarred reports a record of a token that its caller guessed at too often.
var errBarred = errors.New("too many records of this token did not hold")

// judgeShown judges what a caller shows as proof that service was given.
// [guess.ErrMisses] says that it showed too much that did not hold: then it is
// told of nothing, for what it is not told it has not found out. leave has to be
// called when all that did not hold is counted; until then, what the caller shows
// of the same tokens waits where it could pass a bound.
func (s *Service) judgeShown(ctx context.Context, c access.Caller, taps []Tap, where token.Use, spare bool) (verdicts []verdict, leave func(), err error) {
	shown, end, err := s.cfg.Guesses.Enter(ctx, c.ID, things(taps))
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if leave == nil { // it failed, or panicked
			end()
		}
	}()
	verdicts, err = s.judgeAll(ctx, taps, where, shown, spare)
	if errors.Is(err, errBarred) {
		err = s.cfg.Guesses.Refuse(ctx, c.ID, shown)
	}
	if err == nil {
		err = s.cfg.Guesses.Once(ctx, c.ID, misses(taps, verdicts))
	}
	if err != nil {
		return nil, nil, err
	}
	return verdicts, end, nil
}

// things is how many records are shown of each token, by its number: it is looked up
// only when it is judged.
func things(taps []Tap) map[string]int {
	all := make(map[string]int, len(taps))
	for _, t := range taps {
		all[t.Number.Digits()]++
	}
	return all
}

// guessed names a token to who counts guesses.
func guessed(ref token.Ref) guess.Name { return sha256.Sum256([]byte("token\x00" + string(ref))) }

// misses are the records that no honest reader makes: service was given for them,
// so a security module took a MAC2 that does not hold. What a reader says it
// refused is not among them: a stranger who answers nonsense can make any number
// of those at an honest gate.
func misses(taps []Tap, verdicts []verdict) (all []guess.Miss) {
	for i, v := range verdicts {
		if t := taps[i]; !t.Failed && (v.reason == Forged || v.reason == Tamper) {
			all = append(all, guess.Miss{Name: guessed(v.token.Ref), ID: t.shown(v.token.Ref)})
		}
	}
	return all
}

// copies are the records that change the TAC of one that came before. They are
// kept, because evidence is, and counted before anything is said of them: a TAC
// that holds would tell a PIN.
func copies(evidence []Evidence, results []Result) (all []guess.Miss) {
	for k, e := range evidence {
		if results[k].Copied {
			all = append(all, guess.Miss{Name: guessed(e.Ref), ID: e.Tap.shown(e.Ref)})
		}
	}
	return all
}

// shown names a record with everything that its MAC2 depends on, and MAC2: two
// guesses have two names, and one that is uploaded again has the same.
func (t Tap) shown(ref token.Ref) [32]byte {
	d := t.Digest()
	b := append([]byte("shown\x00"+string(ref)+"\x00"), d[:]...)
	b = append(append(b, t.Issuer[:]...), t.KeyVer, t.AlgID)
	return sha256.Sum256(append(b, t.MAC2[:]...))
}
