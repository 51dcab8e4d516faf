package webhook

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/event"
)

// SignatureHeader holds the detached JWS (RFC 7515, appendix F) over the body.
const SignatureHeader = "Tapvault-Signature"

// signatureType keeps a webhook's signature from passing for anything else.
const signatureType = "tapvault-webhook"

// Key signs messages. The private half stays in the HSM.
type Key struct {
	Public *ecdsa.PublicKey // P-256
	// Sign returns r‖s over digest.
	Sign func(ctx context.Context, digest [32]byte) ([64]byte, error)
}

func (k Key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public, Algorithm: string(jose.ES256), Use: "sig"}
}

// id is the key's RFC 7638 thumbprint.
func (k Key) id() (string, error) {
	if k.Public.Curve != elliptic.P256() {
		return "", errors.New("configuring webhooks: the signing key must be on P-256")
	}
	jwk := k.jwk()
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming the webhook key: %w", err)
	}
	return b64(print), nil
}

// KeySet prints the public key as a JWK set (RFC 7517).
func (d *Dispatcher) KeySet() ([]byte, error) {
	jwk := d.cfg.Key.jwk()
	jwk.KeyID = d.keyID
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
}

// claims are the protected header of a signature. A receiver checks that the
// message is meant for it, that it is fresh, and that it has not seen the id.
type claims struct {
	Alg      string `json:"alg"`
	Type     string `json:"typ"`
	KeyID    string `json:"kid"`
	Issuer   string `json:"iss,omitempty"`
	Audience string `json:"aud"` // the requestor
	ID       string `json:"jti"` // the event
	IssuedAt int64  `json:"iat"` // of this try, Unix seconds
}

// signature signs one message.
func (d *Dispatcher) signature(ctx context.Context, e event.Event, body []byte) (string, error) {
	header, err := json.Marshal(claims{"ES256", signatureType, d.keyID, d.cfg.Issuer, string(e.Requestor), e.ID, d.cfg.Now().Unix()})
	if err != nil {
		return "", fmt.Errorf("signing an event: %w", err)
	}
	protected := b64(header)
	sig, err := d.cfg.Key.Sign(ctx, sha256.Sum256([]byte(protected+"."+b64(body))))
	if err != nil {
		return "", fmt.Errorf("signing an event: %w", err)
	}
	return protected + ".." + b64(sig[:]), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// maxAnswer is how much of an answer is read, so that the connection can be
// used again; nothing of it is kept.
const maxAnswer = 64 << 10

// maxHeader is how long an answer's header may be.
const maxHeader = 16 << 10

// request is the post of one event.
func (d *Dispatcher) request(ctx context.Context, to Endpoint, e event.Event) (*http.Request, error) {
	body, err := json.Marshal(wire.Event{ID: e.ID, Type: string(e.Type), Ref: string(e.Ref), Wallet: string(e.Wallet), Requestor: string(e.Requestor),
		Seq: e.Seq, At: e.At.UTC(), Data: e.Data, Unreadable: e.Unreadable})
	if err != nil {
		return nil, fmt.Errorf("encoding an event: %w", err)
	}
	signature, err := d.signature(ctx, e, body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building a webhook: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "tapvault")
	r.Header.Set("Webhook-Id", e.ID)
	r.Header.Set(SignatureHeader, signature)
	return r, nil
}

// send posts once. Any answer but 2xx is an error.
func (d *Dispatcher) send(r *http.Request) error {
	resp, err := d.cfg.HTTP.Do(r)
	if err != nil {
		return fmt.Errorf("sending a webhook: %w", bare(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("sending a webhook: the endpoint answered %d", resp.StatusCode)
	}
	return nil
}

// errAnswer reports whatever is no answer of HTTP.
var errAnswer = errors.New("the answer cannot be read")

// bare makes of a client's error what may be logged. It takes the URL out, since
// requestors put secrets of theirs into paths and queries; and whatever the
// endpoint wrote, which may be what it was sent.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	_, ofNetwork := errors.AsType[net.Error](err)
	_, ofCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	if ofNetwork || ofCertificate || errors.Is(err, io.EOF) || strings.HasPrefix(err.Error(), "tls: ") {
		return err
	}
	return errAnswer
}

// errPrivate reports an endpoint whose name leads to an address inside.
var errPrivate = errors.New("the address is not a public one")

// NewHTTP returns a client for endpoints that strangers name: TLS, no proxy, no
// redirects, ten seconds, and no connection to an address that is not public,
// whatever the name resolves to at that moment. A rehearsal may connect to its
// own machine.
func NewHTTP(rehearsal bool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if !rehearsal {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || !public(a.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 5 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: batch,
			IdleConnTimeout:     90 * time.Second,

			MaxResponseHeaderBytes: maxHeader,
			// Without, a connection that a balancer forgot is used until the system gives
			// it up, which takes a quarter of an hour.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reserved lists prefixes that netip does not call private and that no endpoint
// on the Internet has.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2001:db8::/32"),
}

// global is all of IPv6 that is given out for the Internet. Outside of it are
// the old site-local addresses and the many forms that carry one of IPv4.
var global = netip.MustParsePrefix("2000::/3")

func public(a netip.Addr) bool {
	a = a.Unmap()
	if a.Is6() && !global.Contains(a) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && a.Zone() == ""
}
