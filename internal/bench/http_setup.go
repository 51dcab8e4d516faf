package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/keyceremony"
)

func (b *httpBench) open(ctx context.Context, dir string) error {
	bodies, err := b.keysAndBodies(ctx)
	if err != nil {
		return err
	}
	err = b.token.PIN(func(pin []byte) error { return os.WriteFile(filepath.Join(dir, "pin"), pin, 0o600) })
	if err != nil {
		return err
	}
	key, err := b.register(ctx)
	if err != nil {
		return err
	}
	service, err := assembly.Build(ctx, b.config, assembly.Options{})
	if err != nil {
		return err
	}
	b.hsm = service.HSM
	b.closers = append(b.closers, service.Close)
	server := b.serve(api.NewServer(service.Handler, tls.Certificate{}, nil))
	c, err := client.New(client.Config{BaseURL: server.URL, ClientID: "bench", Key: key, HTTP: server.Client(),
		Audience: b.config.Identity.IssuerURL})
	if err != nil {
		return err
	}
	bearer, err := c.AccessToken(ctx)
	if err != nil {
		return err
	}
	b.head = func(path string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: example.com\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: ", path, bearer)
	}
	b.bodies = bodies
	b.service, err = b.visit(ctx, server, b.path)
	return err
}

// limits opens what the service is compared with.
func (b *httpBench) limits(ctx context.Context) (err error) {
	if b.echo {
		if b.bare, err = b.visit(ctx, b.serve(&http.Server{Handler: echo()}), "/echo"); err != nil {
			return err
		}
	}
	return errors.Join(b.openLoops(8), ctx.Err())
}

// openLoops makes the C loop ready for so many threads.
func (b *httpBench) openLoops(threads int) error {
	for range threads {
		l, err := openBare(b.token.Module, b.token.Token, benchKey.Label())
		if err != nil {
			return err
		}
		b.closers = append(b.closers, func() error { l.close(); return nil })
		b.loops = append(b.loops, l)
	}
	return nil
}

// serve puts a server on a port, with a certificate for example.com.
func (b *httpBench) serve(server *http.Server) *httptest.Server {
	s := httptest.NewUnstartedServer(server.Handler)
	s.Config, s.TLS = server, &tls.Config{MinVersion: tls.VersionTLS13}
	s.StartTLS()
	b.closers = append(b.closers, func() error { s.Close(); return nil })
	return s
}

// visit makes a client of s that asks for path with every body in turn.
func (b *httpBench) visit(ctx context.Context, s *httptest.Server, path string) (visitor, error) {
	e := errand{Addr: strings.TrimPrefix(s.URL, "https://"), ServerName: "example.com", Root: s.Certificate().Raw, Conns: b.callers,
		Head: b.head(path), Bodies: b.bodies}
	var v visitor
	var err error
	if b.options.Apart {
		v, err = send(e)
	} else {
		v, err = stay(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, v.close)
	return v, nil
}

// echo is what gin does at least: read a body and write it back.
func echo() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.POST("/echo", func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.Data(http.StatusOK, "application/json", body)
	})
	return g
}

// keysAndBodies makes the service's keys and, while the token is open for it,
// the requests: each with the MACs of another card.
func (b *httpBench) keysAndBodies(ctx context.Context) (bodies [][]byte, err error) {
	tok, err := hsm.Open(ctx, b.token)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	_, err = keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{
		{Name: "bench", Token: tok, Keys: b.config.Keys()}}})
	if err != nil {
		return nil, err
	}
	if err := tok.Require(ctx, benchKey, keyref.Ref{Realm: benchKey.Realm, Usage: keyref.LoadMaster, Version: 1}); err != nil {
		return nil, err
	}
	scheme := b.config.Realms[0].Scheme()
	for i := range max(httpRequests/b.records, b.callers) {
		what, err := b.body(ctx, tok, scheme, uint64(i))
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(what)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// purchasesBody is the nth request of 500 purchases.
func purchasesBody(ctx context.Context, keys cryptogram.Keys, scheme cryptogram.Scheme, n uint64) (any, error) {
	const records = 500
	var q struct {
		Purchases []any `json:"purchases"`
	}
	for i := range uint64(records) {
		p, err := purchaseBody(ctx, keys, scheme, n*records+i)
		if err != nil {
			return nil, err
		}
		q.Purchases = append(q.Purchases, p)
	}
	return q, nil
}

// loadBody is the request of card n: a good load of 2 yuan.
func loadBody(ctx context.Context, keys cryptogram.Keys, scheme cryptogram.Scheme, n uint64) (any, error) {
	q := wire.Load{Card: wire.Card{Realm: scheme.Realm, KeyVersion: 1}}
	q.OnlineSeq, q.Amount, q.TxnType, q.TermID = uint16(n), 200, 2, wire.Hex6{0, 0, 0, 0, 0, 1}
	q.Date, q.Time = wire.Date{0x20, 0x26, 0x01, 0x02}, wire.Time{0x08, 0x30, 0}
	binary.BigEndian.PutUint64(q.Card.ASN[2:], 0x1000_0000_0000_0000|n)
	binary.BigEndian.PutUint32(q.Rand[:], uint32(n)^0x5AA5C33C)
	l := cryptogram.Load{Rand: q.Rand, Seq: q.OnlineSeq, Amount: q.Amount, Type: cryptogram.Type(q.TxnType), Terminal: q.TermID}
	copy(l.At[:4], q.Date[:])
	copy(l.At[4:], q.Time[:])
	path, err := scheme.Key(keyref.LoadMaster, cryptogram.Card{ASN: q.Card.ASN}, 1, 0)
	if err != nil {
		return nil, err
	}
	mac1, _, err := cryptogram.LoadMACs(ctx, keys, path, l)
	q.MAC1 = mac1
	return q, err
}

// purchaseBody is the request of card n: a good purchase of 2 yuan.
func purchaseBody(ctx context.Context, keys cryptogram.Keys, scheme cryptogram.Scheme, n uint64) (any, error) {
	q := wire.PurchaseVerify{Purchase: wire.Purchase{
		Card: wire.Card{Realm: scheme.Realm, KeyVersion: 1}, OfflineSeq: uint16(n), Amount: 200, TxnType: 6,
		TermSeq: uint32(n), TermID: wire.Hex6{0, 0, 0, 0, 0, 1}, Date: wire.Date{0x20, 0x26, 0x01, 0x02}, Time: wire.Time{0x08, 0x30, 0},
	}}
	binary.BigEndian.PutUint64(q.Card.ASN[2:], 0x1000_0000_0000_0000|n)
	binary.BigEndian.PutUint32(q.Rand[:], uint32(n)^0x5AA5C33C)
	p := cryptogram.Purchase{Rand: q.Rand, Seq: q.OfflineSeq, Amount: q.Amount, Type: cryptogram.Type(q.TxnType),
		TermSeq: q.TermSeq, Terminal: q.TermID}
	copy(p.At[:4], q.Date[:])
	copy(p.At[4:], q.Time[:])
	path, err := scheme.Key(benchKey.Usage, cryptogram.Card{ASN: q.Card.ASN}, 1, 0)
	if err != nil {
		return nil, err
	}
	macs, err := keys.ProcessMAC(ctx, path, p.ProcessInput(), p.MAC1Input(), p.MAC2Input())
	if err != nil {
		return nil, err
	}
	mac1 := wire.Hex4(macs[0])
	q.MAC1, q.MAC2 = &mac1, macs[1]
	return q, nil
}

// register makes the client that asks.
func (b *httpBench) register(ctx context.Context) (key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	enc := base64.RawURLEncoding.EncodeToString
	public, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": enc(point[1:33]), "y": enc(point[33:])})
	if err != nil {
		return nil, err
	}
	db, err := assembly.OpenStore(ctx, b.config, time.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return key, clientdb.New(db, nil).Add(ctx, identity.Client{ID: "bench", Role: b.role,
		Scopes: []access.Action{b.action}, JWK: public})
}

// httpConfig is a service over the token of cfg, with one realm of cards that
// is diversified once, as the loop is.
func httpConfig(cfg hsm.Config) assembly.Config {
	var asn8 cryptogram.FactorRule
	if err := asn8.UnmarshalText([]byte("asn8")); err != nil {
		panic(err) // a constant
	}
	return assembly.Config{
		Environment: assembly.Rehearsal,
		Listen:      "127.0.0.1:0",
		TLS:         assembly.TLS{CertFile: "unused", KeyFile: "unused"},
		HSM:         assembly.HSM{Module: cfg.Module, Token: cfg.Token, PINFile: "pin", Workers: cfg.Workers, InitArgs: cfg.InitArgs, RecycleAfter: cfg.RecycleAfter},
		Store:       assembly.Store{DSN: "tapvault.db"},
		Audit:       assembly.Audit{File: "audit.log"},
		Calendar:    assembly.Calendar{Zone: "Asia/Shanghai", CutOver: "03:00"},
		Vault: assembly.Vault{BINController: "TAPV",
			Ranges: []assembly.Range{{Name: "bank-16", Prefix: "6299", Length: 16, Luhn: true}}},
		Realms: []assembly.Realm{{Name: benchKey.Realm, Issuer: "1000000000000001", Factors: []cryptogram.FactorRule{asn8},
			Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1}}},
		Slots:    assembly.Slots{Realm: benchKey.Realm, KeyVersion: 1, Count: 2, CapFen: 1000, AID: "A000000632010105"},
		Identity: assembly.Identity{IssuerURL: "https://bench.example", Audience: "tapvault", AccessTTL: time.Hour},
	}
}
