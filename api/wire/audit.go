package wire

import "time"

// AuditCheckpoint is the answer of GET /v1/audit/checkpoint.
type AuditCheckpoint struct {
	Origin     string    `json:"origin"` // names the record
	Size       int64     `json:"size"`   // lines
	Root       Hex32     `json:"root"`   // of the Merkle tree, RFC 6962
	Checkpoint string    `json:"checkpoint"`
	SignedAt   time.Time `json:"signed_at"`
}

// AuditInclusion is the answer of GET /v1/audit/inclusion.
type AuditInclusion struct {
	Line   int64   `json:"line"` // from 1
	Size   int64   `json:"size"`
	Leaf   Hex32   `json:"leaf"` // SHA-256 over 00 and the line
	Hashes []Hex32 `json:"hashes"`
}

// AuditConsistency is the answer of GET /v1/audit/consistency.
type AuditConsistency struct {
	From   int64   `json:"from"`
	To     int64   `json:"to"`
	Hashes []Hex32 `json:"hashes"`
}

// AuditRecords is the answer of GET /v1/audit/records.
type AuditRecords struct {
	Records    []string `json:"records"`     // lines, as they are hashed
	NextCursor string   `json:"next_cursor"` // also when there are no more yet
}
