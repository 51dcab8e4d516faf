package quorum

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// TestDecisionIsDescribed: what officers are asked to approve is said in words, and
// no card number stands in them, however it is spread.
func TestDecisionIsDescribed(t *testing.T) {
	body := func(reason, evidence string) []byte {
		b, err := json.Marshal(map[string]string{"load": "ld" + strings.Repeat("A", 26), "state": "SUSPENSE", "decision": "REVERSE",
			"reason": reason, "evidence": evidence})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	said, err := loadDecision(body("the card was read", "case 11720261129"))
	if err != nil || !strings.Contains(said, `"case 11720261129"`) || !strings.Contains(said, `"the card was read"`) {
		t.Errorf("%q, %v", said, err)
	}
	for name, bad := range map[string][2]string{
		"in one": {"card 6222-0212-3456", "case"}, "in the other": {"read", "6222 0212 3456"}, "over both": {"card 6222 0212", "3456-7894"},
	} {
		if said, err := loadDecision(body(bad[0], bad[1])); !errors.Is(err, ErrDigits) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
	for name, bad := range map[string][2]string{
		"no reason": {"", "case"}, "no evidence": {"read", ""}, "too long": {strings.Repeat("x", 129), "case"},
	} {
		if said, err := loadDecision(body(bad[0], bad[1])); !errors.Is(err, ErrAsk) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
}
