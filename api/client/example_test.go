package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
)

// An issuer's backend asks for today's token of a card.
func Example() {
	// Stands for the service; a program has its address and its roots instead.
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/token" {
			_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":600,"scope":"tokens:request"}`)
			return
		}
		_, _ = io.WriteString(w, `{"token_reference_id":"k3f9v2m8q0","payment_token":"6235290123456781","pan_last4":"1232","state":"REQUESTED"}`)
	}))
	defer service.Close()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // or client.ReadKey("issuer.pem")
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{BaseURL: service.URL, ClientID: "issuer-1", Key: key, HTTP: service.Client()})
	if err != nil {
		panic(err)
	}
	// Asking again under the same attempt gives the same token, never a second.
	ctx := client.WithAttempt(context.Background(), "order-2026-000117")
	t, err := c.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits("6212345678901232"), PANExpiry: "3012", Location: "03"})
	switch {
	case client.IsProblem(err, "card-expired"):
		fmt.Println("ask the holder for the new card")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(t.Ref, "stands for the card that ends in", t.PANLast4)
	}
	// Output: k3f9v2m8q0 stands for the card that ends in 1232
}
