package transcript

import (
	"encoding/base64"
	"fmt"

	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// Names of data in records.
const (
	DataScript    = "script"
	DataDigest    = "digest"
	DataMode      = "mode"
	DataNonce     = "nonce"
	DataSignature = "signature"
	DataPublic    = "public"
	DataKey       = "key"
	DataCheck     = "check"
	DataState     = "state"
	DataReplaces  = "replaces"
	// DataTokenCheck is the check value that the token itself shows: of some keys
	// it is another one, see keyref.CheckValue.
	DataTokenCheck = "token_check"
	// DataMark is in the CKA_ID of the key that a step makes: see [hsm.Token.Bears].
	DataMark     = "mark"
	personPrefix = "person."
)

// Modes.
const (
	Live      = "live"
	Rehearsal = "rehearsal"
)

// Domains of signatures.
const (
	DomainApproval   = "approval"
	DomainTranscript = "transcript"
)

// PersonData is the name of the data that holds a person's public key.
func PersonData(name string) string { return personPrefix + name }

// ApprovalMessage is what an approval is over: the plan and this holding of
// it, so that an approval of one day does not serve another.
func ApprovalMessage(digest [32]byte, nonce string) []byte {
	return append(digest[:], nonce...)
}

// Expect says what a verifier knows of the ceremony beforehand. The zero value
// knows nothing: the transcript is then judged by the keys that it names.
type Expect struct {
	Script   []byte // as it was approved before the day, with the people's keys
	AuditKey string // public key of the token that signs, as [AuditPublic] prints it
}

// Story is a transcript that holds.
type Story struct {
	Plan    script.Plan
	Mode    string
	Records []Record
	Digest  string // hash of the last record: the name of this transcript
	Audit   string // public key of the token that signed; empty: none did
	Open    bool   // not closed yet
	// Head is the hash of the last record that every signature covers, and At its
	// time: who and when a ceremony was. What stands behind it can be written anew
	// by whoever holds the file.
	Head, At string
}

// Verify judges a whole transcript. It holds only when every record is as it
// was written, the script is the one that was approved, every step of the plan
// was done, and everybody who had to has signed.
func Verify(text []byte, want Expect) (Story, error) {
	s, hashes, err := read(text)
	if err != nil {
		return s, err
	}
	if want.Script != nil && string(want.Script) != string(s.Plan.Text) {
		return s, broken(1, "it holds another script than the one that was approved")
	}
	if err := s.signatures(hashes); err != nil {
		return s, err
	}
	if s.Open {
		return s, fmt.Errorf("%w: after record %d", ErrUnfinished, len(s.Records))
	}
	if err := s.complete(); err != nil {
		return s, err
	}
	if err := s.covered(); err != nil {
		return s, err
	}
	if err := s.planned(); err != nil {
		return s, err
	}
	if want.AuditKey != "" && want.AuditKey != s.Audit {
		return s, fmt.Errorf("%w: it is signed by another token than the one that was expected", ErrBroken)
	}
	return s, nil
}

// Peek reads a transcript that may be unfinished, and checks what is there.
func Peek(text []byte) (Story, error) {
	s, hashes, err := read(text)
	if err == nil {
		err = s.signatures(hashes)
	}
	return s, err
}

func read(text []byte) (s Story, hashes []string, err error) {
	s.Records, hashes, _, err = chain(text)
	if err != nil {
		return s, nil, err
	}
	n := len(s.Records)
	if n == 0 || s.Records[0].Type != Opened {
		return s, nil, broken(1, "a transcript begins with the record of its opening")
	}
	d := s.Records[0].Data
	if s.Plan, err = script.Read([]byte(d[DataScript])); err != nil {
		return s, nil, broken(1, "its script is none: %v", err)
	}
	if digest := s.Plan.Digest(); fmt.Sprintf("%X", digest) != d[DataDigest] {
		return s, nil, broken(1, "the digest is not that of its plan: another version of the program may have written it")
	}
	if s.Mode = d[DataMode]; s.Mode != Live && s.Mode != Rehearsal {
		return s, nil, broken(1, "it is neither live nor a rehearsal")
	}
	if err := s.people(); err != nil {
		return s, nil, err
	}
	s.Digest, s.Open = hashes[n-1], s.Records[n-1].Type != Closed
	for i, r := range s.Records {
		if (r.Type == Opened) != (i == 0) || r.Type == Closed && i != n-1 || r.Step < 0 || r.Step > len(s.Plan.Steps) {
			return s, nil, broken(i+1, "a record of type %s has no place here", r.Type)
		}
	}
	return s, hashes, nil
}

// people checks that everybody has a key of their own, and in a live ceremony the
// one that the approved script gives them: otherwise one person could stand for
// all who approve.
func (s Story) people() error {
	holders := map[string]string{}
	for _, p := range s.Plan.Script.People {
		key := s.Records[0].Data[PersonData(p.Name)]
		if s.Mode == Live && (p.Key == "" || key != p.Key) {
			return broken(1, "%s has another key than the script says, or the script says none", p.Name)
		}
		if other := holders[key]; other != "" {
			return broken(1, "%s and %s have one key: nobody has two roles", other, p.Name)
		}
		holders[key] = p.Name
	}
	return nil
}

// Person returns the key by which a person is known in this transcript.
func (s Story) Person(name string) (officer.Public, error) {
	return officer.ParsePublic(s.Records[0].Data[PersonData(name)])
}

// signatures checks every signature that is there.
func (s *Story) signatures(hashes []string) error {
	for i, r := range s.Records {
		if r.Type != Approved && r.Type != Signed {
			continue
		}
		step := script.Step{}
		if r.Step > 0 {
			step = s.Plan.Steps[r.Step-1]
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(r.Data[DataSignature])
		if err != nil || step.Who != r.Who {
			return broken(i+1, "the signature is not the one that the plan asks for here")
		}
		if r.Type == Signed && s.Head == "" && i > 0 {
			s.Head, s.At = hashes[i-1], s.Records[i-1].Time
		}
		switch {
		case r.Type == Approved && step.Op == script.OpApprove:
			err = s.personal(r.Who, DomainApproval, ApprovalMessage(s.Plan.Digest(), s.Records[0].Data[DataNonce]), sig)
		case r.Type == Signed && step.Op == script.OpSign:
			err = s.personal(r.Who, DomainTranscript, []byte(hashes[i-1]), sig)
		case r.Type == Signed && step.Op == script.OpTokenSign:
			s.Audit = r.Data[DataPublic]
			err = verifyToken(s.Audit, hashes[i-1], sig)
		default:
			err = ErrBroken
		}
		if err != nil {
			return broken(i+1, "the signature of %s does not hold: %v", signer(r), err)
		}
	}
	return nil
}

func signer(r Record) string {
	if r.Who == "" {
		return "the token"
	}
	return r.Who
}

func (s *Story) personal(who, domain string, msg, sig []byte) error {
	k, err := s.Person(who)
	if err != nil {
		return err
	}
	return k.Verify(domain, msg, sig)
}
