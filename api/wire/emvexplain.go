package wire

// EMVMethod is one way to compute a cryptogram.
type EMVMethod struct {
	Profile   string     `json:"profile"`
	Key       string     `json:"key"` // label of the issuer's key
	Master    string     `json:"master"`
	Session   string     `json:"session"`
	Algorithm string     `json:"algorithm"`
	Padding   uint8      `json:"padding"` // method of ISO 9797-1; 0: CMAC pads by itself
	PSN       string     `json:"psn"`
	Fields    []EMVField `json:"fields"`
	Length    int        `json:"length"` // bytes of the message
	Padded    int        `json:"padded"` // and with padding
}

// EMVField is a field of a message.
type EMVField struct {
	Name   string `json:"name"`
	Length int    `json:"length"`          // bytes; 0: missing
	Wants  string `json:"wants,omitempty"` // what the profile wants, where that is something else
}

// EMVRemark is something odd that can be seen without a key.
type EMVRemark struct {
	Code  string `json:"code"`
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

// EMVChange is a difference to the way that was used.
type EMVChange struct {
	What string `json:"what"`
	Used string `json:"used"`
	Held string `json:"held"`
	Note string `json:"note"`
}

// EMVVariant is a way in which a cryptogram would have held.
type EMVVariant struct {
	Changes []EMVChange `json:"changes"`
	Method  EMVMethod   `json:"method"`
}

// EMVExplanation is the answer of POST /v1/emv/explain.
type EMVExplanation struct {
	Holds    bool         `json:"holds"`
	Used     EMVMethod    `json:"used"`
	Remarks  []EMVRemark  `json:"remarks"`
	Variants []EMVVariant `json:"variants"`
	Tried    int          `json:"tried"`
}
