package wire

import (
	"errors"
	"strings"
	"testing"
)

// fuzzBody fuzzes one kind of body: what is taken reads the same with
// encoding/json and survives being printed; what is refused is a *FieldError
// of bounded length.
func fuzzBody(f *testing.F, name string) {
	var kind body
	for _, b := range bodies() {
		if b.name == name {
			kind = b
		}
	}
	for _, text := range kind.texts {
		f.Add([]byte(text))
		f.Add([]byte(strings.Replace(text, "0", "9", 3)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v := kind.empty()
		err := Decode(text, v)
		if err == nil {
			roundTrip(t, v, kind.empty(), kind.empty(), text)
			return
		}
		var field *FieldError
		if !errors.As(err, &field) || len(err.Error()) > 400 {
			t.Fatalf("error %T: %v", err, err)
		}
	})
}

func FuzzTokenRequest(f *testing.F)       { fuzzBody(f, "TokenRequest") }
func FuzzMove(f *testing.F)               { fuzzBody(f, "Move") }
func FuzzBundleRequest(f *testing.F)      { fuzzBody(f, "BundleRequest") }
func FuzzAck(f *testing.F)                { fuzzBody(f, "Ack") }
func FuzzDetokenizeRequest(f *testing.F)  { fuzzBody(f, "DetokenizeRequest") }
func FuzzProgress(f *testing.F)           { fuzzBody(f, "Progress") }
func FuzzTaps(f *testing.F)               { fuzzBody(f, "Taps") }
func FuzzPurchase(f *testing.F)           { fuzzBody(f, "Purchase") }
func FuzzPurchaseBatch(f *testing.F)      { fuzzBody(f, "PurchaseBatch") }
func FuzzPurchaseVerify(f *testing.F)     { fuzzBody(f, "PurchaseVerify") }
func FuzzTACVerify(f *testing.F)          { fuzzBody(f, "TACVerify") }
func FuzzLoad(f *testing.F)               { fuzzBody(f, "Load") }
func FuzzUnload(f *testing.F)             { fuzzBody(f, "Unload") }
func FuzzUnloadVerify(f *testing.F)       { fuzzBody(f, "UnloadVerify") }
func FuzzOverdraft(f *testing.F)          { fuzzBody(f, "Overdraft") }
func FuzzCardLoadOrder(f *testing.F)      { fuzzBody(f, "CardLoadOrder") }
func FuzzCardUnloadOrder(f *testing.F)    { fuzzBody(f, "CardUnloadOrder") }
func FuzzCardLimitOrder(f *testing.F)     { fuzzBody(f, "CardLimitOrder") }
func FuzzCardProof(f *testing.F)          { fuzzBody(f, "CardProof") }
func FuzzCardShown(f *testing.F)          { fuzzBody(f, "CardShown") }
func FuzzLoadDecision(f *testing.F)       { fuzzBody(f, "LoadDecision") }
func FuzzTokenBatch(f *testing.F)         { fuzzBody(f, "TokenBatch") }
func FuzzAttributes(f *testing.F)         { fuzzBody(f, "Attributes") }
func FuzzRenewal(f *testing.F)            { fuzzBody(f, "Renewal") }
func FuzzDecision(f *testing.F)           { fuzzBody(f, "Decision") }
func FuzzNotice(f *testing.F)             { fuzzBody(f, "Notice") }
func FuzzReplaceCard(f *testing.F)        { fuzzBody(f, "ReplaceCard") }
func FuzzPAREnquiry(f *testing.F)         { fuzzBody(f, "PAREnquiry") }
func FuzzDetokenizeBatch(f *testing.F)    { fuzzBody(f, "DetokenizeBatch") }
func FuzzDirectRequest(f *testing.F)      { fuzzBody(f, "DirectRequest") }
func FuzzWalletRequest(f *testing.F)      { fuzzBody(f, "WalletRequest") }
func FuzzWalletToken(f *testing.F)        { fuzzBody(f, "WalletToken") }
func FuzzWalletMove(f *testing.F)         { fuzzBody(f, "WalletMove") }
func FuzzAccountEvent(f *testing.F)       { fuzzBody(f, "AccountEvent") }
func FuzzDirectBatch(f *testing.F)        { fuzzBody(f, "DirectBatch") }
func FuzzAttestation(f *testing.F)        { fuzzBody(f, "Attestation") }
func FuzzEnrolment(f *testing.F)          { fuzzBody(f, "Enrolment") }
func FuzzElementEnrolment(f *testing.F)   { fuzzBody(f, "ElementEnrolment") }
func FuzzElementOrder(f *testing.F)       { fuzzBody(f, "ElementOrder") }
func FuzzElementCourier(f *testing.F)     { fuzzBody(f, "ElementCourier") }
func FuzzPINSet(f *testing.F)             { fuzzBody(f, "PINSet") }
func FuzzPINVerify(f *testing.F)          { fuzzBody(f, "PINVerify") }
func FuzzPINChange(f *testing.F)          { fuzzBody(f, "PINChange") }
func FuzzSync(f *testing.F)               { fuzzBody(f, "Sync") }
func FuzzEMVTransaction(f *testing.F)     { fuzzBody(f, "EMVTransaction") }
func FuzzEMVRequest(f *testing.F)         { fuzzBody(f, "EMVRequest") }
func FuzzEMVBatch(f *testing.F)           { fuzzBody(f, "EMVBatch") }
func FuzzEMVVerifyBatch(f *testing.F)     { fuzzBody(f, "EMVVerifyBatch") }
func FuzzEMVValue(f *testing.F)           { fuzzBody(f, "EMVValue") }
func FuzzEMVValueCheck(f *testing.F)      { fuzzBody(f, "EMVValueCheck") }
func FuzzEMVScript(f *testing.F)          { fuzzBody(f, "EMVScript") }
func FuzzEMVValueBatch(f *testing.F)      { fuzzBody(f, "EMVValueBatch") }
func FuzzEMVValueCheckBatch(f *testing.F) { fuzzBody(f, "EMVValueCheckBatch") }
func FuzzEMVScriptBatch(f *testing.F)     { fuzzBody(f, "EMVScriptBatch") }
func FuzzEMVPurchase(f *testing.F)        { fuzzBody(f, "EMVPurchase") }
func FuzzEMVPurchaseCheck(f *testing.F)   { fuzzBody(f, "EMVPurchaseCheck") }
func FuzzEMVPhone(f *testing.F)           { fuzzBody(f, "EMVPhone") }
