package wire

import (
	"strings"
	"testing"
)

// TestNamesHoldNoCard: a card number does not get into records as a name, however
// it is written, and the refusal does not repeat it.
func TestNamesHoldNoCard(t *testing.T) {
	for where, body := range map[string]func(string) (Body, string){
		"event_id": func(s string) (Body, string) {
			return &AccountEvent{}, `{"event_id":"` + s + `","type":"TOP_UP","amount":5000}`
		},
		"tap_id": func(s string) (Body, string) {
			return &DetokenizeRequest{}, `{"token_reference_id":"r","tap_id":"` + s + `","purpose":"settlement"}`
		},
		"purchase": func(s string) (Body, string) {
			return &DirectRequest{}, `{"token_reference_id":"r","purchase":"` + s + `","purpose":"dispute"}`
		},
		"device_id": func(s string) (Body, string) {
			return &WalletToken{}, `{"token_reference_id":"r","device_id":"` + s + `"}`
		},
	} {
		for _, bad := range []string{"6222021234567894", "6222-0212-3456-7890-123", "pay.6222.0212.3456.7894", "card6222021234567894"} {
			into, text := body(bad)
			err := Decode([]byte(text), into)
			if err == nil || !strings.HasPrefix(err.Error(), where+": ") || strings.Contains(err.Error(), "6222") {
				t.Errorf("%s %s: %v", where, bad, err)
			}
		}
		for _, good := range []string{"till-7-0001", "20261129T044200Z", "9b2d8a54-6c3f-4a7e-8e21-f0a1b2c3d4e5", "0a12345678901234567890123456789f"} {
			into, text := body(good)
			if err := Decode([]byte(text), into); err != nil {
				t.Errorf("%s %s: %v", where, good, err)
			}
		}
	}
	var q TokenRequest
	if err := Decode([]byte(`{"pan":"6222021234567894","pan_expiry":"2912","token_location":"03","device_id":"6222:0212:3456:7894"}`), &q); err == nil {
		t.Error("a device is called by a card number")
	}
}

// TestDecisionNamesBothTexts: where two texts hold too much together, both are named.
func TestDecisionNamesBothTexts(t *testing.T) {
	var q LoadDecision
	err := Decode([]byte(`{"load":"ld1","state":"SUSPENSE","decision":"REVERSE","reason":"card 6222 0212","evidence":"3456-7894"}`), &q)
	if err == nil || err.Error() != "evidence: must not hold, together with reason, more than 11 digits" {
		t.Error(err)
	}
}
