package issuerhost

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tapvault/tapvault/cryptogram/emv"
)

// turn is one thing that hosts, cards and test tools do differently.
type turn struct {
	Change
	do      func(*way)
	without []string // changes that it makes no sense with
	alone   bool     // tried by itself only: there are many of its kind
}

// turns lists what is known to go wrong, most frequent first.
func (s *search) turns(base way, t Transaction) []turn {
	all := slices.Concat(psnTurns(base), s.profileTurns(base, t), paddingTurns(base), masterTurns(base), sessionTurns(base, t),
		s.versionTurns(base), counterTurns(base, t))
	return slices.Concat(all, algorithmTurns(base), fieldTurns(base, t))
}

func psnTurns(base way) (all []turn) {
	for n := range 10 {
		psn := fmt.Sprintf("%02d", n)
		if psn == base.psn {
			continue
		}
		note := "the card's key was made with another sequence number (tag 5F34)"
		if psn == "00" {
			note = "the card's key was made without a sequence number, which counts as 00"
		}
		all = append(all, turn{Change: Change{"psn", base.psn, psn, note}, do: func(w *way) { w.psn = psn }})
	}
	return all
}

// profileTurns are the other profiles, those of the issuer first.
func (s *search) profileTurns(base way, t Transaction) (all []turn) {
	names := slices.Clone(s.issuer.Profiles)
	for _, n := range slices.Sorted(maps.Keys(s.profiles)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, n := range names {
		p := s.profiles[n]
		if n == base.profile || p.Usage() != base.key.Usage {
			continue
		}
		data := maps.Clone(t.Data)
		if p.IAD != "" { // it may divide 9F10 elsewhere
			delete(data, "CVR")
			delete(data, "COUNTERS")
			if p.Divide(data) != nil {
				data = t.Data
			}
		}
		note := "the card uses another scheme or cryptogram version (see the CVN in 9F10)"
		all = append(all, turn{Change: Change{"profile", base.profile, n, note}, without: []string{"master", "session", "padding", "fields"},
			do: func(w *way) {
				w.follow(p)
				for _, name := range []string{"CVR", "COUNTERS"} {
					if len(data[name]) > 0 {
						w.data[name] = data[name]
					}
				}
			}})
	}
	return all
}

func paddingTurns(base way) (all []turn) {
	if base.padding == 0 {
		return nil
	}
	other := emv.PadZeros + emv.PadMarker - base.padding
	note := "one side pads by ISO 9797-1 method 1 (zeros), the other by method 2 (80, then zeros)"
	return []turn{
		{Change: Change{"padding", fmt.Sprint(base.padding), fmt.Sprint(other), note}, do: func(w *way) { w.padding = other }},
		{Change: Change{"padding", fmt.Sprint(base.padding), "2, twice", "the data was padded before it was handed to what pads it"},
			do: func(w *way) { w.padding, w.twice = emv.PadMarker, true }},
	}
}

func masterTurns(base way) (all []turn) {
	for _, m := range []emv.MasterRule{emv.OptionA, emv.OptionB, emv.OptionBHash} {
		if m == base.master || base.master.AES() {
			continue
		}
		note := "the card's key was made by another option of EMV Book 2, A1.4; they differ above 16 digits"
		if m == emv.OptionBHash {
			note = "the card's key was made by hashing a number that is short enough not to be"
		}
		all = append(all, turn{Change: Change{"master", string(base.master), string(m), note}, do: func(w *way) { w.master = m }})
	}
	return all
}

func sessionTurns(base way, t Transaction) (all []turn) {
	notes := map[emv.SessionRule]string{
		emv.SessionNone:   "the card's own key was used, as by Visa CVN 10",
		emv.SessionCommon: "the common session key was used, of the counter alone",
		emv.SessionMChip:  "the session key takes the unpredictable number as well, as by M/Chip's own derivation",
	}
	for _, r := range []emv.SessionRule{emv.SessionNone, emv.SessionCommon, emv.SessionMChip} {
		if r == base.session || base.session == emv.SessionLimited || base.master.AES() && r == emv.SessionMChip {
			continue
		}
		all = append(all, turn{Change: Change{"session", string(base.session), string(r), notes[r]}, do: func(w *way) { w.session = r }})
	}
	return all
}

func (s *search) versionTurns(base way) (all []turn) {
	for _, v := range s.issuer.Versions {
		if v == base.key.Version {
			continue
		}
		all = append(all, turn{Change: Change{"key-version", fmt.Sprint(base.key.Version), fmt.Sprint(v), "the card has another version of the issuer's key (see the key index in 9F10)"},
			do: func(w *way) { w.key.Version = v }})
	}
	return all
}

// counterTurns turn the counter's bytes round, in either place.
func counterTurns(base way, t Transaction) (all []turn) {
	atc := t.Data["9F36"]
	if len(atc) != 2 || atc[0] == atc[1] {
		return nil
	}
	round := []byte{atc[1], atc[0]}
	return []turn{
		{Change: Change{"atc", "as given", "reversed", "the counter's bytes stand the other way round"},
			do: func(w *way) { w.data["9F36"], w.derive["9F36"] = round, round }},
		{Change: Change{"atc", "as given", "reversed in the key", "the counter's bytes stand the other way round where the session key is made"},
			do: func(w *way) { w.derive["9F36"] = round }},
		{Change: Change{"atc", "as given", "reversed in the data", "the counter's bytes stand the other way round in the data"},
			do: func(w *way) { w.data["9F36"] = round }},
	}
}

func algorithmTurns(base way) []turn {
	if base.master.AES() {
		return nil
	}
	return []turn{{Change: Change{"algorithm", "iso9797-3", "iso9797-1", "every block was enciphered with the whole key, not only the last"},
		do: func(w *way) { w.chained = true }}}
}

// fieldTurns change which fields are covered, and those values that hosts
// replace.
func fieldTurns(base way, t Transaction) (all []turn) {
	for i, name := range base.names {
		all = append(all, turn{Change: Change{"fields", name + " covered", name + " left out", "this field is not covered"}, alone: true,
			do: func(w *way) { w.names = slices.Delete(w.names, i, i+1) }})
		if v := t.Data[name]; len(v) > 0 && slices.ContainsFunc(v, func(b byte) bool { return b != 0 }) {
			all = append(all, turn{Change: Change{"value", name + " as given", name + " all zeros", "the card covered zeros: the terminal did not hand it this value, or not this one"}, alone: true,
				do: func(w *way) { w.data[name] = make([]byte, len(v)) }})
		}
		if i > 0 {
			all = append(all, turn{Change: Change{"fields", base.names[i-1] + " before " + name, name + " before " + base.names[i-1], "these fields stand the other way round"}, alone: true,
				do: func(w *way) { w.names[i-1], w.names[i] = w.names[i], w.names[i-1] }})
		}
	}
	for _, tail := range [][]string{{}, {"CVR"}, {"9F10"}, {"CVR", "COUNTERS"}} {
		names := append(slices.Clone(base.names[:min(10, len(base.names))]), tail...)
		if slices.Equal(names, base.names) || len(base.names) < 10 {
			continue
		}
		held := "the ten common fields alone"
		if len(tail) > 0 {
			held = fmt.Sprintf("then %v", tail)
		}
		all = append(all, turn{Change: Change{"fields", fmt.Sprintf("then %v", base.names[10:]), held, "the card covers another part of the issuer application data"},
			do: func(w *way) { w.names = names }})
	}
	return all
}
