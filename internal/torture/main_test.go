package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// The environment of this package.
const (
	longEnv = "CUSTODY_TORTURE"      // "long": more rounds
	seedEnv = "CUSTODY_TORTURE_SEED" // of every random choice; empty: another one in each run

	roleEnv   = "CUSTODY_TORTURE_ROLE" // of a child process
	configEnv = "CUSTODY_TORTURE_CONFIG"
)

// patience bounds what a test waits for. Nothing is expected to take nearly as long.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	case roleServe:
		exit(serve(childConfig[serveConfig]()))
	case roleEmit:
		exit(emit(childConfig[emitConfig]()))
	default:
		exit(fmt.Errorf("no role %q", role))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childConfig reads what the parent has said.
func childConfig[T any]() (config T) {
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &config); err != nil {
		exit(err)
	}
	return config
}

// rounds is how often something random is repeated.
func rounds(usual, long int) int {
	if os.Getenv(longEnv) == "long" {
		return long
	}
	return usual
}

// random returns the generator of a test, and says how to get the same again.
func random(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	return rand.New(rand.NewPCG(seed, 0))
}
