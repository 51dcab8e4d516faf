package main

import (
	"slices"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// ability is something that people use the service for, and the keys by which
// it is done.
type ability struct {
	name   string
	usages []keyref.Usage
	always bool // no service starts without such keys, whatever its configuration
}

var abilities = []ability{
	{"checks of purse cards of 3DES (MAC1, MAC2, MAC3, TAC)", []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.TACMaster,
		keyref.UnloadMaster, keyref.OverdraftMaster, keyref.MaintenanceMaster, keyref.FoldedTAC, keyref.RetailTAC}, false},
	{"slot keys and taps of phones", []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster, keyref.Script}, true},
	{"checks of purse cards of SM4", []keyref.Usage{keyref.PurchaseMasterSM4, keyref.LoadMasterSM4, keyref.TACMasterSM4,
		keyref.UnloadMasterSM4, keyref.OverdraftMasterSM4, keyref.TACSM4, keyref.SM4Seal}, false},
	{"EMV cards of 3DES", []keyref.Usage{keyref.ACMaster, keyref.IntegrityMaster, keyref.ConfidentialityMaster, keyref.DynamicMaster,
		keyref.CVC3Master, keyref.CVK, keyref.SessionKey}, false},
	{"EMV on phones", []keyref.Usage{keyref.DeviceMaster, keyref.UserMaster, keyref.LimitedUseMaster}, false},
	{"EMV cards of AES", []keyref.Usage{keyref.ACMasterAES, keyref.SessionKeyAES}, false},
	{"card numbers and tokens in the database", []keyref.Usage{keyref.PANSeal, keyref.RangeKEK, keyref.PANIndex}, true},
	{"payment account references", []keyref.Usage{keyref.PARKey}, true},
	{"PINs of wallets", []keyref.Usage{keyref.PINSeal, keyref.PINVerify}, true},
	{"access tokens of callers", []keyref.Usage{keyref.JWTSign}, true},
	{"signed credentials and deny lists", []keyref.Usage{keyref.CredSign, keyref.DenySign}, true},
	{"card numbers sealed to the HSM", []keyref.Usage{keyref.Intake}, true},
	{"what phones seal about their taps", []keyref.Usage{keyref.SyncIntake}, true},
	{"signed verdicts and events", []keyref.Usage{keyref.ResultSign, keyref.WebhookSign}, true},
	{"the signed audit record, and ceremonies", []keyref.Usage{keyref.AuditSign, keyref.OfficerSign}, true},
}

// costs names what cannot be done for want of l.
func costs(l hsm.Lack) (names []string) {
	switch {
	case l.Need == hsm.ForElements:
		return []string{"token keys for secure elements"}
	case l.Need == hsm.ForBirth && slices.ContainsFunc(l.Usages, onlyBorn):
		return []string{"making such keys, which are never brought in"}
	case l.Need == hsm.ForBirth:
		return []string{"making such keys inside: they can only be brought in"}
	}
	for _, a := range abilities {
		if a.needs(l) {
			names = append(names, a.name)
		}
	}
	return names
}

// onlyBorn reports whether keys of a usage are made inside, and never brought in.
func onlyBorn(u keyref.Usage) bool {
	spec, _ := u.Spec()
	return spec.Type == keyref.ECP256
}

func (a ability) needs(l hsm.Lack) bool {
	return slices.ContainsFunc(a.usages, func(u keyref.Usage) bool { return slices.Contains(l.Usages, u) })
}

// stops reports whether no service starts for want of l, whatever its configuration.
func stops(l hsm.Lack) bool {
	return l.Need == hsm.ForUse && slices.ContainsFunc(abilities, func(a ability) bool { return a.always && a.needs(l) })
}
