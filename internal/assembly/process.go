package assembly

import (
	"time"

	"github.com/tapvault/tapvault/internal/obs"
)

// processGauges tell of the process itself. Its start is told here because the common
// process_start_time_seconds needs /proc/stat, which the systemd unit hides.
func (p *parts) processGauges() []obs.Gauge {
	now := p.opt.Now()
	began := obs.Gauge{Name: "start_time_seconds", Help: "When this process began, in seconds since 1970.",
		Value: func() float64 { return seconds(now) }}
	all := []obs.Gauge{began}
	if ends := p.opt.CertificateEnds; ends != nil {
		all = append(all, obs.Gauge{Name: "certificate_end_seconds", Help: "When the TLS certificate that is shown ends, in seconds since 1970.",
			Value: func() float64 { return seconds(ends()) }})
	}
	return all
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }
