package apdu

import "fmt"

// Status is a status word.
type Status uint16

// Status words that electronic purses and PSAMs answer.
const (
	OK               Status = 0x9000
	MemoryFailure    Status = 0x6581
	WrongLength      Status = 0x6700
	OutOfOrder       Status = 0x6901 // command not allowed in this state
	SecurityStatus   Status = 0x6982
	Blocked          Status = 0x6983
	Conditions       Status = 0x6985
	WrongData        Status = 0x6A80
	NotSupported     Status = 0x6A81
	FileNotFound     Status = 0x6A82
	WrongP1P2        Status = 0x6A86
	KeyNotFound      Status = 0x6A88 // referenced data (a PSAM key) not found
	WrongOffset      Status = 0x6B00
	UnknownINS       Status = 0x6D00
	UnknownCLA       Status = 0x6E00
	BadMAC           Status = 0x9302
	Insufficient     Status = 0x9401
	CounterSpent     Status = 0x9402
	KeyIndex         Status = 0x9403
	ProofUnavailable Status = 0x9406 // GET TRANSACTION PROVE has nothing to give
)

// String prints the four hex digits.
func (s Status) String() string { return fmt.Sprintf("%04X", uint16(s)) }

// StatusError is an answer other than 9000.
type StatusError struct {
	INS byte
	SW  Status
}

// Error names instruction and status.
func (e StatusError) Error() string {
	return fmt.Sprintf("card answered %v to instruction %02X", e.SW, e.INS)
}
