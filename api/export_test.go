package api

import "time"

// Sample is a request that succeeds where its objects exist, for tests that
// send it to the whole service.
type Sample struct{ Method, Path, Route, Body string }

// Samples lists one request for each operation.
func Samples() (all []Sample) {
	for _, s := range samples() {
		all = append(all, Sample{s.method, s.path, s.template(), s.body})
	}
	return all
}

// SampleTime is when the samples are good.
func SampleTime() time.Time { return now }

// What stands for objects in samples.
const (
	SampleWallet = sampleWallet
	SampleDevice = sampleDevice
	SampleLoad   = load1
	SampleToken  = "r1"

	SampleApproval = sampleApproval
)

// SampleCursor is the cursor that stands in samples.
var SampleCursor = places.format(100)
