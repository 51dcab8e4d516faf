//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
)

// verify asks for a check whose answer is known.
func (l *load) verify(ctx context.Context, n int64) error {
	i := n % int64(len(l.checks))
	if !l.checks[i].good && l.forged.Add(1) > forgeries {
		i++ // a good one: who shows many that are not is taken for a guesser
	}
	q := l.checks[i%int64(len(l.checks))]
	err := l.send(ctx, nil, fmt.Sprintf("check-%d", n), func(ctx context.Context, to *node) error {
		if !q.good { // by another caller: one who shows what is forged is looked up each time
			return to.reader.VerifyPurchase(ctx, q.body)
		}
		return to.client.VerifyPurchase(ctx, q.body)
	})
	if q.good && err == nil || !q.good && client.IsProblem(err, "refused") {
		return nil
	}
	return fmt.Errorf("a check was answered wrongly: %w", errors.Join(err, fmt.Errorf("it is good: %v", q.good)))
}

// issue asks for a token of a new card.
func (l *load) issue(ctx context.Context, n int64, only *node) error {
	digits := fmt.Sprintf("6212%011d", n)
	q := wire.TokenRequest{PAN: wire.NewDigits(digits + string(token.LuhnDigit(digits))), PANExpiry: "4912", Location: "03"}
	var got wire.Token
	err := l.send(ctx, only, fmt.Sprintf("token-%d", n), func(ctx context.Context, to *node) (err error) {
		got, err = to.client.RequestToken(ctx, q)
		return err
	})
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, twice := l.numbers[got.Number]
	_, again := l.refs[got.Ref]
	if twice || again {
		l.wrong = append(l.wrong, "the token "+got.Ref+" was given out twice")
	}
	l.numbers[got.Number], l.refs[got.Ref] = struct{}{}, int(l.row.Load())
	if one := (issued{got.Ref, q.PAN.Reveal()}); len(l.kept) < mostKept {
		l.kept = append(l.kept, one)
	} else {
		l.kept[n%mostKept] = one
	}
	return nil
}

// open asks for the card number of a token.
func (l *load) open(ctx context.Context, n int64) error {
	l.mu.Lock()
	if len(l.kept) == 0 {
		l.mu.Unlock()
		return l.verify(ctx, n)
	}
	one := l.kept[rand.IntN(len(l.kept))]
	l.mu.Unlock()
	var got wire.Detokenized
	err := l.send(ctx, nil, fmt.Sprintf("open-%d", n), func(ctx context.Context, to *node) (err error) {
		got, err = to.client.DetokenizeDirect(ctx, wire.DirectRequest{Ref: one.ref, Purpose: "settlement"})
		return err
	})
	if err == nil {
		l.opened.Add(1)
	}
	if err != nil || got.PAN.Reveal() != one.digits {
		return fmt.Errorf("the card number of the token %s was answered wrongly: %w", one.ref, errors.Join(err, errors.New("it is known here")))
	}
	return nil
}

// topUp moves money.
func (l *load) topUp(ctx context.Context, n int64) error {
	purse, amount := l.purses[rand.IntN(len(l.purses))], uint32(1+n%97)
	key := fmt.Sprintf("move-%d", n)
	err := l.send(ctx, nil, key, func(ctx context.Context, to *node) error {
		_, err := to.client.AccountEvent(ctx, purse, wire.AccountEvent{ID: key, Type: "TOP_UP", Amount: amount})
		return err
	})
	if err != nil {
		return fmt.Errorf("moving money: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paid[purse] += int64(amount)
	l.moved[key] = int(l.row.Load())
	return nil
}

// serves waits until every process is ready and has issued a token.
func (l *load) serves(ctx context.Context) error {
	for _, n := range l.f.nodes {
		if err := l.f.up(ctx, n); err != nil {
			return err
		}
		if err := l.issue(ctx, l.next.Add(1), n); err != nil {
			return fmt.Errorf("%w; it said: %s", err, n.said())
		}
	}
	return nil
}
