package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Whole bodies of every kind. The purchase and the load are published card
// logs (FM1208).
const (
	cardText     = `{"realm":"transit","issuer":"1000000010000001","asn":"00003104870000000017","key_version":1,"algorithm_id":0}`
	purchaseText = `"card":` + cardText + `,"rand":"584633C9","offline_seq":0,"amount":1,"txn_type":6,"term_id":"001122334455","term_seq":0,"date":"20161216","time":"134600"`
	loadText     = `"online_seq":0,"balance":0,"amount":8192,"txn_type":2,"term_id":"001122334455","date":"20161216","time":"105800"`
	unloadText   = `"card":` + cardText + `,"rand":"C4121FC6","online_seq":60082,"balance":105864,"amount":74675,"term_id":"0857DFFEFC74","date":"20350610","time":"123316"`
	overText     = `"online_seq":60082,"balance":105864,"old_limit":120,"new_limit":23807,"term_id":"0857DFFEFC74","date":"20350610","time":"123316"`
	tapText      = `{"term_id":"001122334455","issuer":"1000000010000001","payment_token":"6235290123456781","ud":"00E1F40001006431","rand":"584633C9",` +
		`"offline_seq":1,"amount":300,"txn_type":9,"term_seq":41,"date":"20260724","time":"081530","key_version":1,"algorithm_id":0,"balance":2000,` +
		`"mac1":"D45737C5","mac2":"66B54A6B","tac":"8AF270DC","list_version":7}`
	controlsText = `{"requestors":["50120834693"],"locations":["03"],"merchants":["shop-1","shop-2"],"terminal_groups":["gate"],` +
		`"mcc":["4111"],"channels":["contactless","inapp"],"countries":["156"],"max_amount":1000,"max_sum":9000,"max_count":20}`
	whereText = `{"merchant":"shop-1","terminal_group":"gate","mcc":"4111","channel":"ecommerce","country":"156"}`
	jwkText   = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc"}`
)

const attestationText = `{"verdict":"TRUSTED","level":"TEE","at":"2026-07-24T08:00:00Z","patch_level":"2026-06","boot":"VERIFIED","locked":true,` +
	`"leaf":"0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A","hardware_mac":false,"use_count":"ANY","sign_p95_ms":60}`

// body is a kind of request: an empty one, and texts that it takes.
type body struct {
	name  string
	empty func() Body
	texts []string
}

func bodies() []body {
	return []body{
		{"TokenRequest", func() Body { return &TokenRequest{} }, []string{
			`{"pan":"6222021234567894","pan_expiry":"2912","token_location":"03"}`,
			`{"pan":"6222021234567894","pan_expiry":"2912","psn":"01","token_requestor_id":"50120834693","token_location":"03","service_day":"2026-07-24"}`,
			`{"pan_jwe":"a.b.c.d.e","token_location":"00","form_factor":"watch","device_id":"watch:7","lifetime_sec":86400,` +
				`"token_assurance":{"method":"10"},"domain_controls":` + controlsText + `}`}},
		{"TokenBatch", func() Body { return &TokenBatch{} }, []string{
			`{"tokens":[{"pan":"6222021234567894","pan_expiry":"2912","token_location":"03"},{"pan_jwe":"a.b.c.d.e","token_location":"01"}]}`}},
		{"Attributes", func() Body { return &Attributes{} }, []string{
			`{"not_after":"2026-07-24T19:00:00.250Z"}`, `{"token_assurance":{"method":"  "}}`,
			`{"domain_controls":` + controlsText + `,"token_assurance":{"method":"10","data":"issuer app"}}`, `{"domain_controls":{}}`}},
		{"ApprovalRequest", func() Body { return &ApprovalRequest{} }, []string{
			`{"verb":"vault-export","method":"RUN","path":"export","body":"{\"file\":\"x\"}"}`, `{"verb":"settings","method":"POST","path":"/v1/detokenize/batch","body":" {}","reason":"why"}`}},
		{"ApprovalGiven", func() Body { return &ApprovalGiven{} }, []string{`{"digest":"` + strings.Repeat("0A", 32) + `"}`}},
		{"Renewal", func() Body { return &Renewal{} }, []string{`{}`}},
		{"Decision", func() Body { return &Decision{} }, []string{`{"decision":"APPROVED"}`}},
		{"Notice", func() Body { return &Notice{} }, []string{`{"result":"SUCCESS"}`, `{"result":"FAILURE","reason":"no lock"}`}},
		{"ReplaceCard", func() Body { return &ReplaceCard{} }, []string{
			`{"pan":"6222021234567894","new_pan":"6212345600001234","new_pan_expiry":"3012"}`,
			`{"pan_jwe":"a.b.c.d.e","new_pan_jwe":"a.b.c.d.e"}`, `{"pan":"6222021234567894","new_pan_expiry":"3012"}`}},
		{"PAREnquiry", func() Body { return &PAREnquiry{} }, []string{`{"pan":"6222021234567894"}`, `{"pan_jwe":"a.b.c.d.e"}`}},
		{"DetokenizeBatch", func() Body { return &DetokenizeBatch{} }, []string{
			`{"purpose":"settlement","queries":[{"payment_token":"6235290123456781","tap_id":"t1"},{"token_reference_id":"r1","tap":` + tapText + `,"answer":"jwe"}]}`}},
		{"DirectRequest", func() Body { return &DirectRequest{} }, []string{
			`{"token_reference_id":"r1","where":` + whereText + `,"amount":300,"purchase":"order-17","answer":"jwe","purpose":"authorisation"}`}},
		{"DirectBatch", func() Body { return &DirectBatch{} }, []string{`{"purpose":"dispute","queries":[{"payment_token":"6235290123456781"}]}`}},
		{"WalletRequest", func() Body { return &WalletRequest{} }, []string{`{}`,
			`{"token_requestor_id":"50120834693","holder":"REAL_NAME","overdraft_allowance":5000,"overdraft_quota":20000}`}},
		{"WalletToken", func() Body { return &WalletToken{} }, []string{`{"token_reference_id":"r1","device_id":"d1"}`}},
		{"WalletMove", func() Body { return &WalletMove{} }, []string{`{}`, `{"reason":"identified anew"}`}},
		{"AccountEvent", func() Body { return &AccountEvent{} }, []string{`{"event_id":"e1","type":"TOP_UP","amount":5000}`, `{"event_id":"e2","type":"CARD_BOUND"}`}},
		{"Move", func() Body { return &Move{} }, []string{`{}`, `{"suspender":"PIN_LOCK"}`, `{"reason":"phone lost"}`, `{"reason":"a \"b\" \u0041"}`}},
		{"BundleRequest", func() Body { return &BundleRequest{} }, []string{`{"device_key":` + jwkText + `}`}},
		{"Attestation", func() Body { return &Attestation{} }, []string{attestationText}},
		{"Enrolment", func() Body { return &Enrolment{} }, []string{
			`{"wallet_id":"wlAAAAAAAAAAAAAAAAAAAAAAAAAA","wrap_key":` + jwkText + `,"sign_key":` + jwkText + `,"attestation":` + attestationText + `}`}},
		{"ElementEnrolment", func() Body { return &ElementEnrolment{} }, []string{
			`{"wallet_id":"wlAAAAAAAAAAAAAAAAAAAAAAAAAA","serial":"0102030405060708","modulus":"C0FF","attestation":` + attestationText + `}`}},
		{"ElementOrder", func() Body { return &ElementOrder{} }, []string{`{"verb":"ERASE"}`,
			`{"verb":"ISSUE","token_reference_id":"r1","pin_jwe":"a.b.c.d.e"}`}},
		{"ElementCourier", func() Body { return &ElementCourier{} }, []string{`{}`, `{"receipt":"E201"}`}},
		{"PINSet", func() Body { return &PINSet{} }, []string{`{"pin_jwe":"a.b.c.d.e"}`, `{"pin_jwe":"a.b.c.d.e","holder":["+86 138","1988"]}`}},
		{"PINVerify", func() Body { return &PINVerify{} }, []string{`{"pin_jwe":"a.b.c.d.e"}`}},
		{"PINChange", func() Body { return &PINChange{} }, []string{`{"old_pin_jwe":"a.b.c.d.e","pin_jwe":"a.b.c.d.f","holder":["1988"]}`}},
		{"Sync", func() Body { return &Sync{} }, []string{`{"device_id":"dvAAAAAAAAAAAAAAAAAAAAAAAAAA","sync":"a.b.c"}`}},
		{"Ack", func() Body { return &Ack{} }, []string{`{"bundle_id":"b1","mac":"` + strings.Repeat("0A", 32) + `"}`}},
		{"DetokenizeRequest", func() Body { return &DetokenizeRequest{} }, []string{
			`{"payment_token":"6235290123456781","tap_id":"t1","purpose":"settlement"}`,
			`{"token_reference_id":"r1","tap":` + tapText + `,"purpose":"dispute","where":` + whereText + `,"answer":"clear","result":"jws"}`}},
		{"Progress", func() Body { return &Progress{} }, []string{`{"term_id":"310000000001","until":"2026-07-24T19:00:00Z"}`}},
		{"Taps", func() Body { return &Taps{} }, []string{`{"taps":[` + tapText + `]}`, ` { "taps" : [ ` + tapText + ` , ` + tapText + ` ] } `}},
		{"Purchase", func() Body { return &Purchase{} }, []string{`{` + purchaseText + `}`, `{` + purchaseText + `,"auth_code":"8588D32B7688D32B76"}`}},
		{"PurchaseVerify", func() Body { return &PurchaseVerify{} }, []string{
			`{` + purchaseText + `,"mac2":"66B54A6B"}`, `{"tac":"8af270dc","mac1":"D45737C5","mac2":"66B54A6B",` + purchaseText + `}`}},
		{"TACVerify", func() Body { return &TACVerify{} }, []string{
			`{"card":` + cardText + `,"tac":"FA00066D","load":{` + loadText + `}}`,
			`{"card":` + cardText + `,"tac":"974773D2","overdraft":{` + overText + `}}`,
			`{"card":` + cardText + `,"tac":"8AF270DC","purchase":{"amount":1,"txn_type":6,"term_id":"001122334455","term_seq":0,"date":"20161216","time":"134600"}}`}},
		{"Load", func() Body { return &Load{} }, []string{`{"card":` + cardText + `,"rand":"C903814D",` + loadText + `,"mac1":"03976C22"}`}},
		{"Unload", func() Body { return &Unload{} }, []string{`{` + unloadText + `,"mac1":"7BF6A2E6"}`}},
		{"UnloadVerify", func() Body { return &UnloadVerify{} }, []string{`{` + unloadText + `,"mac3":"901096D5"}`}},
		{"Overdraft", func() Body { return &Overdraft{} }, []string{`{"card":` + cardText + `,"rand":"C4121FC6",` + overText + `,"mac1":"DBC07D9F"}`}},
		{"CardLoadOrder", func() Body { return &CardLoadOrder{} }, []string{`{"card":` + cardText + `,"rand":"C4121FC6","online_seq":7,"balance":100,"term_id":"0857DFFEFC74","date":"20350610","time":"123316","mac1":"DBC07D9F","amount":700,"txn_type":1}`}},
		{"CardUnloadOrder", func() Body { return &CardUnloadOrder{} }, []string{`{"card":` + cardText + `,"rand":"C4121FC6","online_seq":7,"balance":100,"term_id":"0857DFFEFC74","date":"20350610","time":"123316","mac1":"DBC07D9F","amount":700}`}},
		{"CardLimitOrder", func() Body { return &CardLimitOrder{} }, []string{`{"card":` + cardText + `,"rand":"C4121FC6","online_seq":7,"balance":100,"term_id":"0857DFFEFC74","date":"20350610","time":"123316","mac1":"DBC07D9F","old_limit":0,"new_limit":500}`}},
		{"CardProof", func() Body { return &CardProof{} }, []string{`{"card":` + cardText + `,"tac":"DBC07D9F"}`}},
		{"EMVTransaction", func() Body { return &EMVTransaction{} }, []string{
			`{"pan":"6222021234567894","psn":"01","profile":"visa-18","key_version":2,"data":{"9F36":"0007","CVR":"03A00000"},"cryptogram":"61EDCC708B4C97B4"}`,
			`{"pan_jwe":"a.b.c.d.e","profile":"city","de55":"9F36020007","cryptogram":"61EDCC708B4C97B4"}`}},
		{"EMVRequest", func() Body { return &EMVRequest{} }, []string{
			`{"payment_token":"6235290123456781","profile":"visa-10","data":{"9F36":"0007"},"cryptogram":"61EDCC708B4C97B4","answer":{"arc":"3030"}}`,
			`{"token_reference_id":"r1","profile":"visa-18","data":{"9F36":"0007"},"cryptogram":"61EDCC708B4C97B4","answer":{"csu":"00820000","proprietary":"01"}}`}},
		{"EMVBatch", func() Body { return &EMVBatch{} }, []string{
			`{"transactions":[{"pan":"6222021234567894","profile":"visa-18","data":{"9F36":"0007"},"cryptogram":"61EDCC708B4C97B4"},` +
				`{"token_reference_id":"r1","profile":"visa-18","de55":"9F36020007","cryptogram":"61EDCC708B4C97B4","answer":{"arc":"3030"}}]}`}},
		{"EMVVerifyBatch", func() Body { return &EMVVerifyBatch{} }, []string{
			`{"transactions":[{"pan":"6222021234567894","psn":"01","profile":"visa-18","data":{"9F36":"0007"},"cryptogram":"61EDCC708B4C97B4"},` +
				`{"token_reference_id":"r1","profile":"visa-18","de55":"9F36020007","cryptogram":"61EDCC708B4C97B4"}]}`}},
		{"EMVValue", func() Body { return &EMVValue{} }, []string{
			`{"pan":"6222021234567894","kind":"cvv","expiry":"2912","service_code":"101","key_version":2}`, `{"pan_jwe":"a.b.c.d.e","kind":"cvv2","expiry":"2912"}`,
			`{"pan":"6222021234567894","kind":"dcvv","expiry":"2912","service_code":"101","atc":"0007"}`}},
		{"EMVValueCheck", func() Body { return &EMVValueCheck{} }, []string{
			`{"pan":"6222021234567894","psn":"01","kind":"cvc3","atc":"0007","un":"00000899","track":"42313233","value":"01234"}`}},
		{"EMVScript", func() Body { return &EMVScript{} }, []string{
			`{"pan":"6222021234567894","psn":"01","profile":"visa-22","key_version":1,"atc":"0007","cryptogram":"61EDCC708B4C97B4","commands":[{"header":"8424000210"}]}`,
			`{"token_reference_id":"r1","profile":"visa-22","atc":"0007","cryptogram":"61EDCC708B4C97B4","first":2,"commands":[{"header":"8424000210","data":"0102","encipher":"mchip"}]}`}},
		{"PurchaseBatch", func() Body { return &PurchaseBatch{} }, []string{
			`{"purchases":[{` + purchaseText + `,"mac2":"66B54A6B"},{` + purchaseText + `,"mac2":"66B54A6B","mac1":"D45737C5"}]}`}},
		{"EMVValueBatch", func() Body { return &EMVValueBatch{} }, []string{
			`{"values":[{"pan":"6222021234567894","kind":"cvv","expiry":"2912","service_code":"101"},{"pan_jwe":"a.b.c.d.e","kind":"cvv2","expiry":"2912"}]}`}},
		{"EMVValueCheckBatch", func() Body { return &EMVValueCheckBatch{} }, []string{
			`{"values":[{"pan":"6222021234567894","psn":"01","kind":"cvc3","atc":"0007","un":"00000899","track":"42313233","value":"01234"}]}`}},
		{"EMVScriptBatch", func() Body { return &EMVScriptBatch{} }, []string{
			`{"scripts":[{"pan":"6222021234567894","psn":"01","profile":"visa-10","atc":"0007","cryptogram":"61EDCC708B4C97B4","rule":"visa","commands":[{"header":"8424000210","pin_jwe":"a.b.c.d.e","encipher":"visa"}]}]}`}},
		{"EMVPurchase", func() Body { return &EMVPurchase{} }, []string{`{"payment_token":"6235290123456781","profile":"visa-18","amount":1200,"currency":"156"}`}},
		{"EMVPurchaseCheck", func() Body { return &EMVPurchaseCheck{} }, []string{
			`{"token_reference_id":"r1","profile":"visa-18","amount":1200,"currency":"156","token_requestor_id":"50120834693","cryptogram":"AQEAAAABAQIDBGHtzHCLTJe0AAA="}`}},
		{"EMVPhone", func() Body { return &EMVPhone{} }, []string{
			`{"token_reference_id":"r1","profile":"mchip-20","atc":"0007","message":"0102","user_cryptogram":"61EDCC708B4C97B4","device_cryptogram":"6112233445"}`}},
		{"LoadDecision", func() Body { return &LoadDecision{} }, []string{
			`{"load":"ldAAAAAAAAAAAAAAAAAAAAAAAAAA","state":"SUSPENSE","decision":"REVERSE","reason":"read at the desk","evidence":"case-7/2"}`,
			`{"load":"ldAAAAAAAAAAAAAAAAAAAAAAAAAA","state":"DISPUTED","decision":"SETTLE","reason":"the holder was told","evidence":"letter of 3 May"}`}},
		{"CardShown", func() Body { return &CardShown{} }, []string{`{"card":` + cardText + `,"rand":"C4121FC6","online_seq":8,"balance":800,"amount":1,"mac1":"DBC07D9F"}`}},
	}
}

// roundTrip holds a body that was taken to what encoding/json makes of the
// same text, and prints and reads it again.
func roundTrip(t *testing.T, v, again, other Body, text []byte) {
	t.Helper()
	if err := json.Unmarshal(text, other); err != nil || !reflect.DeepEqual(v, other) {
		t.Fatalf("encoding/json reads another value (%v)\n%+v\n%+v", err, v, other)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := Decode(out, again); err != nil {
		t.Fatalf("own text is refused: %v", err)
	}
	if !reflect.DeepEqual(v, again) {
		t.Fatalf("read again, it differs\n%+v\n%+v", v, again)
	}
}

func TestDecode(t *testing.T) {
	for _, b := range bodies() {
		for i, text := range b.texts {
			t.Run(fmt.Sprint(b.name, i), func(t *testing.T) {
				v := b.empty()
				if err := Decode([]byte(text), v); err != nil {
					t.Fatal(err)
				}
				roundTrip(t, v, b.empty(), b.empty(), []byte(text))
			})
		}
	}
}

// TestTruncated cuts every body everywhere: no beginning of one is one.
func TestTruncated(t *testing.T) {
	for _, b := range bodies() {
		for _, text := range b.texts {
			text = strings.TrimSpace(text)
			for n := range len(text) {
				if Decode([]byte(text[:n]), b.empty()) == nil {
					t.Errorf("%s: %d of %d bytes are taken", b.name, n, len(text))
				}
			}
		}
	}
}

// TestEveryMember drops, doubles and spoils each member of each body.
func TestEveryMember(t *testing.T) {
	for _, b := range bodies() {
		for _, text := range b.texts {
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(text), &members); err != nil {
				t.Fatal(err)
			}
			for name, value := range members {
				refuses(t, b, strings.TrimSuffix(strings.TrimSpace(text), "}")+fmt.Sprintf(",%q:%s}", name, value), name, "stands twice")
				for _, bad := range []string{`null`, `true`, `{}`, `[]`, `-1`, `1.5`, `1e3`, `18446744073709551616`, `"\u0000"`, `"zz zz"`, `01`, `"\ud800"`} {
					if (name == "reason" || name == "evidence") && bad == `"zz zz"` || (name == "domain_controls" || name == "where") && bad == `{}` ||
						(name == "locked" || name == "hardware_mac") && bad == `true` {
						continue
					}
					members[name] = json.RawMessage(bad)
					refuses(t, b, object(members), name, "")
				}
				delete(members, name)
				members[strings.ToUpper(name)] = value
				refuses(t, b, object(members), "", "does not know")
				delete(members, strings.ToUpper(name))
				members[name] = value
			}
		}
	}
}

// object prints members whose values need not be JSON.
func object(members map[string]json.RawMessage) string {
	var parts []string
	for name, value := range members {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

func refuses(t *testing.T, b body, text, path, says string) {
	t.Helper()
	err := Decode([]byte(text), b.empty())
	var f *FieldError
	if !errors.As(err, &f) {
		t.Errorf("%s takes %s", b.name, text)
		return
	}
	if !strings.HasPrefix(f.Path, path) || !strings.Contains(f.Text, says) {
		t.Errorf("%s: %q, want %q at %q", b.name, f, says, path)
	}
}

func TestRefuses(t *testing.T) {
	const noName = "must be a JSON object: it ends, or goes on without a name in double quotes, where a member is expected"
	verify := func(old, now string) string {
		return strings.Replace(`{`+purchaseText+`,"mac2":"66B54A6B"}`, old, now, 1)
	}
	for _, c := range []struct {
		v          Body
		text, want string
	}{
		{&PurchaseVerify{}, verify(`"20161216"`, `"20161316"`), "date: must be a date, YYYYMMDD"},
		{&PurchaseVerify{}, verify(`"20161216"`, `"2016121A"`), "date: must be a date, YYYYMMDD"},
		{&PurchaseVerify{}, verify(`"134600"`, `"246000"`), "time: must be a time, HHMMSS"},
		{&PurchaseVerify{}, verify(`"584633C9"`, `"584633C"`), "rand: must be 8 hex digits"},
		{&PurchaseVerify{}, verify(`"584633C9"`, `"584633C900"`), "rand: must be 8 hex digits"},
		{&PurchaseVerify{}, verify(`"584633C9"`, `"584633CG"`), "rand: must be 8 hex digits"},
		{&PurchaseVerify{}, verify(`"asn":"00003104870000000017"`, `"asn":"0000310487"`), "card.asn: must be 20 hex digits"},
		{&PurchaseVerify{}, verify(`"key_version":1`, `"key_version":256`), "card.key_version: must be a whole number from 0 to 255"},
		{&PurchaseVerify{}, verify(`"offline_seq":0`, `"offline_seq":65536`), "offline_seq: must be a whole number from 0 to 65535"},
		{&PurchaseVerify{}, verify(`"amount":1`, `"amount":4294967296`), "amount: must be a whole number from 0 to 4294967295"},
		{&PurchaseVerify{}, verify(`"amount":1`, `"amount":"1"`), "amount: must be a whole number from 0 to 4294967295"},
		{&PurchaseVerify{}, verify(`,"mac2":"66B54A6B"`, ``), "mac2: is missing"},
		{&PurchaseVerify{}, verify(`"realm":"transit"`, `"realm":"transit","realm":"x"`), "card.realm: stands twice"},
		{&PurchaseVerify{}, verify(`"mac2"`, `"pin":"1234","mac2"`), "holds a member that this operation does not know; it knows card, rand, offline_seq, amount, txn_type, term_id, term_seq, date, time, auth_code, mac2, mac1, tac"},
		{&PurchaseVerify{}, verify(`"mac2"`, `"m\u0061c2"`) + `x`, "text follows the JSON value"},
		{&PurchaseVerify{}, verify(`"66B54A6B"}`, `"66B54A6B",}`), noName},
		{&PurchaseVerify{}, `{`, noName},
		{&PurchaseVerify{}, `{amount:1}`, noName},
		{&PurchaseVerify{}, ``, "must be a JSON object"},
		{&PurchaseVerify{}, `[]`, "must be a JSON object"},
		{&PurchaseVerify{}, "\xef\xbb\xbf{}", "must be a JSON object"},
		{&Overdraft{}, `{"old_limit":16777216}`, "old_limit: must be a whole number from 0 to 16777215"},
		{&TokenRequest{}, `{"pan":"6222` + "\xff" + `"}`, "pan: must be UTF-8"},
		{&TokenRequest{}, `{"pan":"62220212345"}`, "pan: must be 12 to 19 digits"},
		{&TokenRequest{}, `{"pan":"62220212345678901234"}`, "pan: must be 12 to 19 digits"},
		{&TokenRequest{}, `{"pan":6222021234567894}`, "pan: must be a string"},
		{&TokenRequest{}, `{"pan_expiry":"291"}`, "pan_expiry: must be 4 digits"},
		{&TokenRequest{}, `{"service_day":"2026-02-30"}`, "service_day: must be a day, YYYY-MM-DD"},
		{&Move{}, `{"reason":"` + strings.Repeat("x", 65) + `"}`, "reason: must be 0 to 64 printable ASCII characters"},
		{&Move{}, `{"reason":"card 6222021234567894"}`, "reason: must not hold more than 11 digits"},
		{&DetokenizeRequest{}, `{"token_reference_id":"6222021234567894"}`, "token_reference_id: must be 1 to 64 letters, digits, dots, dashes and underlines, without more than 11 digits between letters: it could hold a card number"},
		{&Move{}, `{"reason":"` + "\x01" + `"}`, "reason: a control character stands in a string"},
		{&BundleRequest{}, `{"device_key":{"kty":"EC","d":"x"}}`, "device_key: holds a member that this operation does not know; it knows kty, crv, x, y, kid, use, alg"},
		{&BundleRequest{}, `{"device_key":{"kty":"EC","crv":"P-256","x":"aa"}}`, "device_key.x: must be 43 printable ASCII characters"},
		{&BundleRequest{}, `{"device_key":{"kty":"oct"}}`, `device_key.kty: must be one of ["EC"]`},
		{&DetokenizeRequest{}, `{"tap_id":"t","purpose":"settlement"}`, "must name the token by payment_token or by token_reference_id, one of them"},
		{&DetokenizeRequest{}, `{"payment_token":"6235290123456781","token_reference_id":"r","tap_id":"t","purpose":"settlement"}`, "must name the token by payment_token or by token_reference_id, one of them"},
		{&DetokenizeRequest{}, `{"token_reference_id":"r","purpose":"settlement"}`, "must prove its use by tap_id or by tap, one of them"},
		{&TACVerify{}, `{"card":` + cardText + `,"tac":"8AF270DC"}`, "must hold one of purchase, load and overdraft"},
		{&Taps{}, `{"taps":[]}`, "taps: must hold at least one item"},
		{&Taps{}, `{"taps":[` + tapText + `,` + strings.Replace(tapText, `"584633C9"`, `"5846"`, 1) + `]}`, "taps[1].rand: must be 8 hex digits"},
		{&Taps{}, `{"taps":[` + strings.Repeat(tapText+`,`, MaxRecords) + tapText + `]}`, "taps: must hold at most 500 items"},
		{&Taps{}, `{"taps":` + strings.Repeat(`[`, 10_000), "taps[0]: must be a JSON object"},
	} {
		if err := Decode([]byte(c.text), c.v); err == nil || err.Error() != c.want {
			t.Errorf("%.90s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestErrorsRepeatNothing spoils every member with a marker and looks for it
// in the error.
func TestErrorsRepeatNothing(t *testing.T) {
	const marker = "4929123412341234567890"
	for _, b := range bodies() {
		for _, bad := range []string{`"` + marker + `"`, marker, `{"` + marker + `":1}`, `["` + marker + `"]`} {
			for _, text := range b.texts {
				var members map[string]json.RawMessage
				if err := json.Unmarshal([]byte(text), &members); err != nil {
					t.Fatal(err)
				}
				members[marker] = json.RawMessage(bad)
				for name := range members {
					members[name] = json.RawMessage(bad)
					if err := Decode([]byte(object(members)), b.empty()); err == nil || strings.Contains(err.Error(), marker[:6]) {
						t.Errorf("%s: %v", b.name, err)
					}
				}
			}
		}
	}
}

func TestDigitsHide(t *testing.T) {
	q := TokenRequest{PAN: NewDigits("6222021234567894")}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		if s := fmt.Sprintf(f, q); strings.Contains(s, "6222") || strings.Contains(s, "7894") {
			t.Errorf("%s prints %s", f, s)
		}
	}
	b, err := json.Marshal(q)
	if err != nil || !strings.Contains(string(b), "6222021234567894") {
		t.Errorf("JSON is %s (%v)", b, err)
	}
}

func TestVerifyAllocatesLittle(t *testing.T) {
	text := []byte(`{` + purchaseText + `,"mac2":"66B54A6B","tac":"8AF270DC"}`)
	n := testing.AllocsPerRun(100, func() {
		var v PurchaseVerify
		if err := Decode(text, &v); err != nil {
			t.Fatal(err)
		}
	})
	if n > 8 {
		t.Errorf("reading a purchase check allocates %v times", n)
	}
}

func BenchmarkDecodePurchaseVerify(b *testing.B) {
	text := []byte(`{` + purchaseText + `,"mac2":"66B54A6B","tac":"8AF270DC"}`)
	b.ReportAllocs()
	for b.Loop() {
		var v PurchaseVerify
		if err := Decode(text, &v); err != nil {
			b.Fatal(err)
		}
	}
}
