package emv

// IADLayout says how a scheme divides tag 9F10, the issuer application data.
type IADLayout string

// Layouts.
const (
	IADVisa1 IADLayout = "visa-1" // length, key index, CVN, CVR of 4
	IADVisa2 IADLayout = "visa-2" // 1F, CVN, key index, CVR of 4 and what follows
	IADMChip IADLayout = "mchip"  // key index, CVN, CVR of 6, DAC of 2, counters of 8 or 16
)

// IAD is issuer application data, divided.
type IAD struct {
	KeyIndex, CVN byte
	CVR           []byte
	Counters      []byte
}

// SplitIAD divides the value of tag 9F10. One that does not have the layout's length
// or marks is [ErrMalformed].
func SplitIAD(l IADLayout, v []byte) (IAD, error) {
	switch {
	case l == IADVisa1 && len(v) >= 7 && v[0] == 6:
		return IAD{KeyIndex: v[1], CVN: v[2], CVR: v[3:7:7]}, nil
	case l == IADVisa2 && len(v) == 32 && v[0] == 0x1F:
		return IAD{KeyIndex: v[2], CVN: v[1], CVR: v[3:7:7]}, nil
	case l == IADMChip && (len(v) == 18 || len(v) == 26):
		return IAD{KeyIndex: v[0], CVN: v[1], CVR: v[2:8:8], Counters: v[10:]}, nil
	}
	return IAD{}, &FieldError{"9F10", "be of layout " + string(l)}
}

// Fill adds what the profiles take from the issuer application data to d.
func (i IAD) Fill(d Data) {
	d["CVR"] = i.CVR
	if len(i.Counters) > 0 {
		d["COUNTERS"] = i.Counters
	}
}
