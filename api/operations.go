package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/quorum"
)

// operation is one line of the API.
type operation struct {
	method, path string
	open         bool  // no caller is needed
	limit        int64 // bytes of the body; 0: none is read
	form         bool  // the body is a form, not JSON
	optional     bool  // the body may be absent
	attempt      need  // the Idempotency-Key
	raw          string
	guard        guard // the zero value: no approval of others is ever needed
	// again, before an approval is looked for: the answer to what was done already, word
	// for word; nil when it was not. It does nothing, and so needs no approval. It looks
	// for what do looks for anew: approvals are asked for here, before anything is done.
	again  func(ctx context.Context, q *request) (any, error)
	query  []string // the parameters that may stand in the query
	do     func(ctx context.Context, q *request) (any, error)
	stream func(c *gin.Context, q *request) error // instead of do: it answers bit by bit
}

// need says how an operation treats an Idempotency-Key.
type need uint8

const (
	ignored need = iota // it has no effect to repeat
	taken
	required
)

// request is what a handler sees of an HTTP request. body is good for as long
// as the handler runs.
type request struct {
	caller  access.Caller
	attempt access.Attempt
	body    []byte
	query   map[string]string
	tag     string // If-None-Match
	param   func(name string) string
}

// operations lists the API. The test of openapi.yaml holds both to each other.
func (s *server) operations() []operation {
	const get, post = http.MethodGet, http.MethodPost
	return []operation{
		{method: post, path: loginPath, open: true, limit: wire.MaxForm, form: true, do: s.login},
		{method: get, path: "/.well-known/oauth-authorization-server", open: true, raw: "application/json", do: s.authServer},
		{method: get, path: "/.well-known/jwks.json", open: true, raw: "application/jwk-set+json", do: s.keySet},
		{method: get, path: "/.well-known/intake.json", open: true, raw: "application/jwk-set+json", do: s.intakeKeys},
		{method: get, path: "/.well-known/webhooks.json", open: true, raw: "application/jwk-set+json", do: s.webhookKeys},
		{method: get, path: "/.well-known/results.json", open: true, raw: "application/jwk-set+json", do: s.resultKeys},
		{method: get, path: "/.well-known/denylist.json", open: true, raw: "application/jwk-set+json", do: s.denyKeys},
		{method: get, path: "/.well-known/audit.json", open: true, raw: "application/jwk-set+json", do: s.auditKeys},
		{method: get, path: "/.well-known/sync.json", open: true, raw: "application/jwk-set+json", do: s.syncKeys},
		{method: get, path: "/openapi.json", open: true, raw: "application/json", do: s.openapi},
		{method: get, path: "/docs", open: true, raw: "text/html; charset=utf-8", do: s.page},
		{method: get, path: healthPath, open: true, do: s.healthz},
		{method: get, path: readyPath, open: true, do: s.readyz},

		{method: post, path: "/v1/tokens", limit: wire.MaxBody, attempt: required, do: s.requestToken},
		{method: get, path: "/v1/tokens", query: []string{"ref", "par", "requestor", "last4", "state", "cursor", "limit"}, do: s.tokens},
		{method: post, path: "/v1/tokens/batch", limit: wire.MaxBatch, attempt: required, do: s.requestTokens},
		{method: get, path: "/v1/tokens/:ref", do: s.token},
		{method: post, path: "/v1/tokens/:ref/suspend", limit: wire.MaxBody, optional: true, attempt: taken, do: s.suspend},
		{method: post, path: "/v1/tokens/:ref/resume", limit: wire.MaxBody, optional: true, attempt: taken, do: s.resume},
		{method: post, path: "/v1/tokens/:ref/delete", limit: wire.MaxBody, optional: true, attempt: taken, do: s.delete},
		{method: post, path: "/v1/tokens/:ref/renew", limit: wire.MaxBody, optional: true, attempt: taken, do: s.renew},
		{method: post, path: "/v1/tokens/:ref/attributes", limit: wire.MaxBody, attempt: taken, do: s.update},
		{method: post, path: "/v1/tokens/:ref/decision", limit: wire.MaxBody, attempt: taken, do: s.decide},
		{method: post, path: "/v1/tokens/:ref/notice", limit: wire.MaxBody, attempt: taken, do: s.notify},
		{method: post, path: "/v1/tokens/:ref/bundles", limit: wire.MaxBody, attempt: required, do: s.bundle},
		{method: post, path: "/v1/tokens/:ref/ack", limit: wire.MaxBody, attempt: taken, do: s.ack},
		{method: post, path: "/v1/devices", limit: wire.MaxBody, attempt: required, do: s.enrol},
		{method: post, path: "/v1/devices/:device/attestation", limit: wire.MaxBody, do: s.attest},
		{method: post, path: "/v1/elements", limit: wire.MaxBody, attempt: required, do: s.enrolElement},
		{method: get, path: "/v1/elements/:element", do: s.element},
		{method: post, path: "/v1/elements/:element/scripts", limit: wire.MaxBody, attempt: required, do: s.orderElement},
		{method: post, path: "/v1/elements/:element/courier", limit: wire.MaxBody, do: s.carryElement},
		{method: post, path: "/v1/wallets/:wallet/pin", limit: wire.MaxBody, attempt: required, do: s.setPIN},
		{method: post, path: "/v1/wallets/:wallet/pin/verify", limit: wire.MaxBody, do: s.verifyPIN},
		{method: post, path: "/v1/wallets/:wallet/pin/change", limit: wire.MaxBody, attempt: required, do: s.changePIN},
		{method: post, path: "/v1/wallets/:wallet/pin/reset", limit: wire.MaxBody, do: s.resetPIN},
		{method: post, path: "/v1/sync", limit: wire.MaxBatch, do: s.sync},
		{method: post, path: "/v1/cards/replace", limit: wire.MaxBody, attempt: required, do: s.replaceCard},
		{method: post, path: "/v1/par", limit: wire.MaxBody, do: s.par},
		{method: post, path: "/v1/detokenize", limit: wire.MaxBody, attempt: taken, do: s.detokenize},
		{method: post, path: "/v1/detokenize/batch", limit: wire.MaxBatch, attempt: taken, guard: guard{quorum.DetokenizeBatch, access.Detokenize, s.batchFits}, do: s.detokenizeBatch},
		{method: post, path: "/v1/detokenize/direct", limit: wire.MaxBody, attempt: taken, do: s.direct},
		{method: post, path: "/v1/detokenize/direct/batch", limit: wire.MaxBatch, attempt: taken, guard: guard{quorum.DetokenizeBatch, access.DetokenizeDirect, s.directFits}, do: s.directBatch},
		{method: get, path: "/v1/events", query: []string{"ref", "wallet", "requestor", "cursor", "limit"}, do: s.events},
		{method: get, path: "/v1/events/stream", query: []string{"ref", "wallet", "requestor", "cursor"}, stream: s.eventStream},
		{method: get, path: "/v1/ranges", do: s.ranges},

		{method: post, path: "/v1/wallets", limit: wire.MaxBody, attempt: required, do: s.openWallet},
		{method: get, path: "/v1/wallets/:wallet", do: s.wallet},
		{method: post, path: "/v1/wallets/:wallet/tokens", limit: wire.MaxBody, do: s.bindToken},
		{method: post, path: "/v1/wallets/:wallet/restore", limit: wire.MaxBody, optional: true, attempt: taken, do: s.restoreWallet},
		{method: post, path: "/v1/wallets/:wallet/close", limit: wire.MaxBody, optional: true, attempt: taken, do: s.closeWallet},
		{method: get, path: "/v1/wallets/:wallet/balances", do: s.balances},
		{method: get, path: "/v1/wallets/:wallet/taps", do: s.walletTaps},
		{method: get, path: "/v1/wallets/:wallet/risk", do: s.risk},
		{method: post, path: "/v1/accounts/:id/events", limit: wire.MaxBody, do: s.happen},
		{method: get, path: "/v1/cases", query: []string{"wallet", "cursor", "limit"}, do: s.cases},
		{method: get, path: "/v1/recon/:date", do: s.recon},

		{method: post, path: "/v1/terminals/:terminal/taps", limit: wire.MaxBatch, attempt: taken, do: s.uploadTaps},
		{method: post, path: "/v1/terminals/:terminal/progress", limit: wire.MaxBody, attempt: taken, do: s.progress},
		{method: get, path: "/v1/terminals/parameters", do: s.parameters},
		{method: get, path: "/v1/terminals/policy", raw: policyType, do: s.terminalPolicy},
		{method: post, path: "/v1/terminals/:terminal/authorize", limit: wire.MaxBody, attempt: taken, do: s.authorize},
		{method: get, path: "/v1/denylist/snapshot", raw: listType, do: s.denySnapshot},
		{method: get, path: "/v1/denylist/delta", raw: listType, query: []string{"from"}, do: s.denyDelta},
		{method: post, path: "/v1/denylist/entries", limit: wire.MaxBody, attempt: taken, do: s.denyOrder},

		{method: post, path: "/v1/cryptograms/purchase/mac1", limit: wire.MaxBody, do: s.purchaseMAC1},
		{method: post, path: "/v1/cryptograms/purchase/verify", limit: wire.MaxBody, do: s.purchaseVerify},
		{method: post, path: "/v1/cryptograms/purchase/verify/batch", limit: wire.MaxBatch, do: s.purchaseVerifyBatch},
		{method: post, path: "/v1/cryptograms/tac/verify", limit: wire.MaxBody, do: s.tacVerify},
		{method: post, path: "/v1/cryptograms/load", limit: wire.MaxBody, do: s.load},
		{method: post, path: "/v1/cryptograms/unload", limit: wire.MaxBody, do: s.unload},
		{method: post, path: "/v1/cryptograms/unload/verify", limit: wire.MaxBody, do: s.unloadVerify},
		{method: post, path: "/v1/cryptograms/overdraft", limit: wire.MaxBody, do: s.overdraft},

		{method: post, path: "/v1/emv/arqc", limit: wire.MaxBody, attempt: taken, do: s.emvARQC},
		{method: post, path: "/v1/emv/arqc/batch", limit: wire.MaxBatch, attempt: taken, do: s.emvBatch},
		{method: post, path: "/v1/emv/verify", limit: wire.MaxBody, do: s.emvVerify},
		{method: post, path: "/v1/emv/verify/batch", limit: wire.MaxBatch, do: s.emvVerifyBatch},
		{method: post, path: "/v1/emv/values", limit: wire.MaxBody, do: s.emvValue},
		{method: post, path: "/v1/emv/values/verify", limit: wire.MaxBody, attempt: taken, do: s.emvValueVerify},
		{method: post, path: "/v1/emv/values/batch", limit: wire.MaxBatch, do: s.emvValueBatch},
		{method: post, path: "/v1/emv/values/verify/batch", limit: wire.MaxBatch, attempt: taken, do: s.emvValueCheckBatch},
		{method: post, path: "/v1/emv/scripts", limit: wire.MaxBody, do: s.emvScript},
		{method: post, path: "/v1/emv/scripts/batch", limit: wire.MaxBatch, do: s.emvScriptBatch},
		{method: post, path: "/v1/emv/token-cryptograms", limit: wire.MaxBody, attempt: required, do: s.emvToken},
		{method: post, path: "/v1/emv/token-cryptograms/verify", limit: wire.MaxBody, attempt: taken, do: s.emvTokenVerify},
		{method: post, path: "/v1/emv/phones/verify", limit: wire.MaxBody, attempt: taken, do: s.emvPhone},
		{method: post, path: "/v1/emv/explain", limit: wire.MaxBody, do: s.emvExplain},

		{method: post, path: "/v1/accounts/:id/loads", limit: wire.MaxBody, attempt: taken, do: s.loadCard},
		{method: get, path: "/v1/accounts/:id/loads", query: []string{"state", "cursor", "limit"}, do: s.cardLoads},
		{method: post, path: "/v1/accounts/:id/unloads", limit: wire.MaxBody, attempt: taken, do: s.unloadCard},
		{method: post, path: "/v1/accounts/:id/overdrafts", limit: wire.MaxBody, attempt: taken, do: s.limitCard},
		{method: get, path: "/v1/loads", query: []string{"load", "account", "state", "cursor", "limit"}, do: s.loadMatters},
		{method: post, path: "/v1/loads/decisions", limit: wire.MaxBody, guard: guard{quorum.LoadDecision, access.LoadDecide, nil}, again: s.decidedLoad, do: s.decideLoad},
		{method: get, path: "/v1/loads/:load", do: s.cardLoad},
		{method: post, path: "/v1/loads/:load/confirm", limit: wire.MaxBody, attempt: taken, do: s.confirmLoad},
		{method: post, path: "/v1/loads/:load/reverse", limit: wire.MaxBody, attempt: taken, do: s.reverseLoad},

		{method: post, path: "/v1/approvals", limit: wire.MaxBatch, do: s.requestApproval},
		{method: get, path: "/v1/approvals", query: []string{"cursor", "limit"}, do: s.approvals},
		{method: get, path: "/v1/approvals/:approval", do: s.approval},
		{method: post, path: "/v1/approvals/:approval/approve", limit: wire.MaxBody, do: s.approve},
		{method: post, path: "/v1/approvals/:approval/cancel", limit: wire.MaxBody, optional: true, do: s.cancelApproval},
		{method: get, path: "/v1/audit/checkpoint", do: s.checkpoint},
		{method: get, path: "/v1/audit/inclusion", query: []string{"line", "size"}, do: s.inclusion},
		{method: get, path: "/v1/audit/consistency", query: []string{"from", "to"}, do: s.consistency},
		{method: get, path: "/v1/audit/records", query: []string{"cursor", "limit"}, do: s.auditRecords},
		{method: get, path: "/v1/keys", do: s.keys},
	}
}
