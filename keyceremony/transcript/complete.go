package transcript

import (
	"fmt"

	"github.com/tapvault/tapvault/keyceremony/script"
)

// ClosedSays is the text of the last record, which no signature covers.
const ClosedSays = "The ceremony is over."

// covered checks that nothing which matters stands where a signature does not
// cover it: after the first one only logging in again, which a resumption needs,
// and after the last one nothing but the end.
func (s *Story) covered() error {
	first, last := len(s.Records), -1
	for i, r := range s.Records {
		if r.Type == Signed {
			first, last = min(first, i), i
		}
	}
	for i, r := range s.Records {
		switch {
		case r.Type == Closed && (r.Says != ClosedSays || r.Step != 0 || r.Who != "" || len(r.Data) > 0):
			return broken(i+1, "the last record says more than that the ceremony is over")
		case i > last && r.Type != Closed:
			return broken(i+1, "it stands after the last signature, which does not cover it")
		case i > first && (r.Type == Done || r.Type == Approved):
			if op := s.Plan.Steps[max(r.Step, 1)-1].Op; op != script.OpPIN && op != script.OpOpen {
				return broken(i+1, "step %d was done after the first signature, which does not cover it", r.Step)
			}
		}
	}
	return nil
}

// complete checks that every step was done, in order, with the signature that
// its op asks for.
func (s *Story) complete() error {
	done := map[int]int{} // step → record that did it last
	for i, r := range s.Records {
		switch r.Type {
		case Done, Approved, Signed:
			if r.Step == 0 {
				return broken(i+1, "it says which step was done of none")
			}
			op := s.Plan.Steps[r.Step-1].Op
			if (op == script.OpApprove) != (r.Type == Approved) || (op == script.OpSign || op == script.OpTokenSign) != (r.Type == Signed) {
				return broken(i+1, "step %d is not one that is done like this", r.Step)
			}
			if r.Step > 1 && done[r.Step-1] == 0 {
				return broken(i+1, "step %d was done before step %d", r.Step, r.Step-1)
			}
			done[r.Step] = i + 1
		}
	}
	for _, st := range s.Plan.Steps {
		if done[st.Number] == 0 {
			return fmt.Errorf("%w: step %d was never done: %s", ErrBroken, st.Number, st.Says)
		}
	}
	return nil
}

// planned checks that a record of what was done tells of the plan's step and of
// nothing else: whoever signs last writes what only that signature covers, and
// must not be able to bring a key into another state by it.
func (s *Story) planned() error {
	for i, r := range s.Records {
		if r.Type != Done {
			continue
		}
		st := s.Plan.Steps[r.Step-1]
		key := s.key(st.Key)
		state, replaces := becomes(st.Op, key)
		switch {
		case r.Who != st.Who || r.Says != st.Says:
			return broken(i+1, "it says another thing than step %d of the plan", r.Step)
		case r.Data[DataKey] != "" && r.Data[DataKey] != st.Key:
			return broken(i+1, "it tells of %s, and step %d is not about that key", r.Data[DataKey], r.Step)
		case r.Data[DataState] != "" && r.Data[DataState] != string(state):
			return broken(i+1, "step %d of the plan does not bring a key into the state %s", r.Step, r.Data[DataState])
		case r.Data[DataReplaces] != "" && r.Data[DataReplaces] != replaces:
			return broken(i+1, "step %d of the plan does not replace %s", r.Step, r.Data[DataReplaces])
		}
	}
	return nil
}

func (s *Story) key(label string) script.Key {
	for _, k := range s.Plan.Script.Keys {
		if k.Label == label {
			return k
		}
	}
	return script.Key{}
}

// becomes is the state that a step brings its key into, and the key that makes
// way for it.
func becomes(op script.Op, k script.Key) (state script.State, replaces string) {
	switch op {
	case script.OpGenerate, script.OpImport, script.OpUnwrap, script.OpRestore:
		return k.State, ""
	case script.OpActivate:
		return script.Active, k.Replaces
	case script.OpRetire:
		return script.Retired, ""
	case script.OpDestroy:
		return script.Destroyed, ""
	}
	return "", ""
}
