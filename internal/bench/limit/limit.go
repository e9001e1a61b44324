// Package limit measures what the parts under Custody can do by themselves on this machine: the disk's sync, the hash and
// the signature, JetStream, and the ClickHouse engine. The benchmark's bounds are shares of these.
package limit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/agentcustody/custody/internal/bench/report"
)

// AppendSize is what is appended for one sync: 256 events of 400 bytes.
const AppendSize = 100 << 10

// Sync is how long an append of AppendSize bytes and its fsync take.
type Sync struct{ P50, P99 time.Duration }

// MeasureSync appends to a file in dir for the given time.
func MeasureSync(dir string, d time.Duration) (s Sync, err error) {
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return s, fmt.Errorf("measure sync: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, AppendSize)
	var seconds []float64
	for end := time.Now().Add(d); time.Now().Before(end); {
		began := time.Now()
		if _, err := file.Write(block); err != nil {
			return s, fmt.Errorf("measure sync: %w", err)
		}
		if err := file.Sync(); err != nil {
			return s, fmt.Errorf("measure sync: %w", err)
		}
		seconds = append(seconds, time.Since(began).Seconds())
	}
	return Sync{duration(report.Percentile(seconds, 50)), duration(report.Percentile(seconds, 99))}, nil
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// EventSize is the size of the event that hashing is measured with.
const EventSize = 400

// Hashes is how many SHA-256 hashes of EventSize bytes one core makes in a second.
func Hashes(d time.Duration) float64 {
	block := make([]byte, EventSize)
	return rate(d, 1000, func() {
		sum := sha256.Sum256(block)
		block[0] = sum[0]
	})
}

// Signatures is how many Ed25519 signatures of 300 bytes one core makes, and how many it verifies, in a second.
func Signatures(d time.Duration) (sign, verify float64) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, message := key.Public().(ed25519.PublicKey), make([]byte, 300)
	sign = rate(d/2, 10, func() { message[0] = ed25519.Sign(key, message)[0] })
	signature := ed25519.Sign(key, message)
	verify = rate(d/2, 10, func() { ed25519.Verify(public, message, signature) })
	return sign, verify
}

// rate runs do for the given time, looking at the clock every so many calls, and returns calls a second.
func rate(d time.Duration, every int, do func()) float64 {
	began, calls := time.Now(), 0
	for time.Since(began) < d {
		for range every {
			do()
		}
		calls += every
	}
	return float64(calls) / time.Since(began).Seconds()
}
