package emv

import "fmt"

const maxTLV = 1024 // bytes; field 55 of ISO 8583 has at most 255, or 999

// ParseTLV reads a string of BER-TLV data objects, such as field 55 of ISO
// 8583, into fields by tag. Only what EMV has there is taken: primitive
// objects, tags of one to three bytes, definite lengths, each tag once.
func ParseTLV(b []byte) (Data, error) {
	if len(b) == 0 || len(b) > maxTLV {
		return nil, fmt.Errorf("%w: %d bytes of data objects", ErrMalformed, len(b))
	}
	d := Data{}
	for len(b) > 0 {
		tag, value, rest, err := nextTLV(b)
		if err != nil {
			return nil, err
		}
		if _, ok := d[tag]; ok {
			return nil, fmt.Errorf("%w: tag %s stands twice", ErrMalformed, tag)
		}
		d[tag], b = value, rest
	}
	return d, nil
}

func nextTLV(b []byte) (tag string, value, rest []byte, err error) {
	n := 1
	if b[0]&0x1F == 0x1F {
		for n < len(b) && b[n]&0x80 != 0 {
			n++
		}
		n++
	}
	if b[0]&0x20 != 0 || b[0] == 0 || n > 3 || n >= len(b) {
		return "", nil, nil, fmt.Errorf("%w: no tag of a primitive data object", ErrMalformed)
	}
	tag, b = fmt.Sprintf("%X", b[:n]), b[n:]
	size, b := int(b[0]), b[1:]
	if size == 0x81 && len(b) > 0 {
		size, b = int(b[0]), b[1:]
	} else if size >= 0x80 {
		return "", nil, nil, fmt.Errorf("%w: tag %s has no length that it could have", ErrMalformed, tag)
	}
	if size > len(b) {
		return "", nil, nil, fmt.Errorf("%w: tag %s ends early", ErrMalformed, tag)
	}
	return tag, b[:size:size], b[size:], nil
}
