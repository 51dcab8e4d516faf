package wire

import "time"

// Progress is the body of POST /v1/terminals/{terminal}/progress: the word of a
// terminal that it has uploaded every tap it took before a moment.
type Progress struct {
	TermID Hex6       `json:"term_id"`
	Until  *time.Time `json:"until"`
}

var progress = table[Progress]{
	{"term_id", must, func(d *decoder, v *Progress) *FieldError { return parse(d, &v.TermID) }},
	{"until", must, func(d *decoder, v *Progress) *FieldError { return moment(d, &v.Until) }},
}

func (q *Progress) read(d *decoder) *FieldError { return progress.read(d, q) }

// Progressed is the answer to [Progress]: how far the terminal is known to be.
type Progressed struct {
	Until time.Time `json:"until"`
}
