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

// An authorisation host checks a card's cryptogram; when it does not hold, it
// asks why.
func ExampleClient_ExplainEMV() {
	// Stands for the service; a program has its address and its roots instead.
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oauth2/token":
			_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":600,"scope":"emv:verify emv:explain"}`)
		case "/v1/emv/arqc":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"type":"urn:tapvault:problem:refused","title":"A verification did not hold","status":403}`)
		default:
			_, _ = io.WriteString(w, `{"holds":false,"used":{"profile":"visa-18"},"remarks":[],"variants":[{"changes":[{"what":"psn","used":"00","held":"01","note":"another sequence number"}]}],"tried":4}`)
		}
	}))
	defer service.Close()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{BaseURL: service.URL, ClientID: "issuer-1", Key: key, HTTP: service.Client()})
	if err != nil {
		panic(err)
	}
	ctx := client.WithAttempt(context.Background(), "auth-000117")
	q := wire.EMVRequest{EMVTransaction: wire.EMVTransaction{PAN: wire.NewDigits("4761739001010119"), Profile: "visa-18",
		DE55: wire.Bytes{0x9F, 0x36, 2, 0, 11}, Cryptogram: wire.Hex8{0x61, 0xED, 0xCC, 0x70, 0x8B, 0x4C, 0x97, 0xB4}},
		Answer: &wire.EMVAnswer{CSU: &wire.Hex4{0, 0x82, 0, 0}}}
	if _, err = c.AuthoriseEMV(ctx, q); !client.IsProblem(err, "refused") {
		fmt.Println("unexpected:", err)
		return
	}
	why, err := c.ExplainEMV(ctx, q.EMVTransaction)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range why.Variants {
		for _, change := range v.Changes {
			fmt.Printf("it holds with %s %s instead of %s: %s\n", change.What, change.Held, change.Used, change.Note)
		}
	}
	// Output: it holds with psn 01 instead of 00: another sequence number
}
