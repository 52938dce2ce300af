package main

import (
	"sort"
	"sync"
	"time"
)

const errorsShown = 5

// Outcome is what a load did. Times are of whole operations (an image, a request), in milliseconds.
type Outcome struct {
	Done     int               `json:"done"`
	Errors   int               `json:"errors"`
	Reasons  []string          `json:"reasons"`
	Bytes    int64             `json:"bytes"`
	ElapsedS float64           `json:"elapsed_s"`
	P50Ms    float64           `json:"p50_ms"`
	P99Ms    float64           `json:"p99_ms"`
	Digests  map[string]string `json:"digests"`
}

// Tally gathers an Outcome from many goroutines.
type Tally struct {
	mutex   sync.Mutex
	outcome Outcome
	took    []time.Duration
	started time.Time
}

func newTally() *Tally {
	return &Tally{started: time.Now(), outcome: Outcome{Reasons: []string{}, Digests: map[string]string{}}}
}

// Add counts one operation that began at `started`.
func (t *Tally) Add(started time.Time, bytes int64, err error) {
	took := time.Since(started)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if err != nil {
		t.outcome.Errors++
		if len(t.outcome.Reasons) < errorsShown {
			t.outcome.Reasons = append(t.outcome.Reasons, err.Error())
		}
		return
	}
	t.outcome.Done++
	t.outcome.Bytes += bytes
	t.took = append(t.took, took)
}

// Name remembers the digest of what was pushed under a name, for a caller that wants to pull it.
func (t *Tally) Name(name, digest string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.outcome.Digests[name] = digest
}

// Outcome ends the count.
func (t *Tally) Outcome() *Outcome {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.outcome.ElapsedS = time.Since(t.started).Seconds()
	sort.Slice(t.took, func(a, b int) bool { return t.took[a] < t.took[b] })
	t.outcome.P50Ms, t.outcome.P99Ms = t.percentile(0.50), t.percentile(0.99)
	return &t.outcome
}

func (t *Tally) percentile(share float64) float64 {
	if len(t.took) == 0 {
		return 0
	}
	at := int(share * float64(len(t.took)-1))
	return float64(t.took[at].Microseconds()) / 1000
}
