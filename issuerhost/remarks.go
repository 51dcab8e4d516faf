package issuerhost

import (
	"fmt"

	"github.com/tapvault/tapvault/cryptogram/emv"
)

// usual are the profiles that cryptogram version numbers stand for, by the
// layout of 9F10 that they are found in.
var usual = map[emv.IADLayout]map[byte]string{
	emv.IADVisa1: {0x0A: "visa-10", 0x12: "visa-18"},
	emv.IADVisa2: {0x22: "visa-22"},
	emv.IADMChip: {0x10: "mchip-16", 0x11: "mchip-17", 0x14: "mchip-20", 0x15: "mchip-21"},
}

// remarks says what can be seen of a request without any key.
func (f subject) remarks(t Transaction) (all []Remark) {
	for _, field := range f.profile.Fields {
		switch n := len(t.Data[field.Name]); {
		case n == 0:
			all = append(all, Remark{"field-missing", field.Name, "the profile covers this field, and it is not there"})
		case n < field.Least || n > field.Most:
			all = append(all, Remark{"field-length", field.Name, fmt.Sprintf("the profile wants %s, in bytes; there are %d", field, n)})
		}
	}
	for _, tag := range []string{"9F02", "9F03", "9A"} {
		for _, b := range t.Data[tag] {
			if b>>4 > 9 || b&0x0F > 9 {
				all = append(all, Remark{"not-decimal", tag, "amounts and dates are decimal digits, two in a byte"})
				break
			}
		}
	}
	return append(all, f.iadRemarks(t.Data["9F10"])...)
}

// iadRemarks reads 9F10 by each layout and compares what it says with the
// profile.
func (f subject) iadRemarks(v []byte) (all []Remark) {
	for _, l := range []emv.IADLayout{emv.IADVisa1, emv.IADVisa2, emv.IADMChip} {
		iad, err := emv.SplitIAD(l, v)
		if err != nil {
			continue
		}
		name, known := usual[l][iad.CVN]
		if known && name != f.profile.Name {
			all = append(all, Remark{"cvn", "9F10", fmt.Sprintf("read as %s it says cryptogram version %02X, which is usually profile %s", l, iad.CVN, name)})
		}
		if known {
			all = append(all, Remark{"key-index", "9F10", fmt.Sprintf("read as %s it says key index %02X", l, iad.KeyIndex)})
		}
	}
	return all
}
