package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEvalOnPublicTraces replays one run in fifty of the public traces. It asserts no figure: the figures are in docs/DETECTION.md,
// and a test that held rules to them would tempt to tune rules to the set.
func TestEvalOnPublicTraces(t *testing.T) {
	dir := os.Getenv("CUSTODY_DATA")
	if dir == "" {
		t.Skip("CUSTODY_DATA names no folder of traces: see docs/DATA.md")
	}
	labels := filepath.Join(dir, "agentdojo", "labels.jsonl.zst")
	if _, err := os.Stat(labels); err != nil {
		t.Skip("CUSTODY_DATA has no agentdojo/labels.jsonl.zst: see docs/DATA.md")
	}
	files, err := filepath.Glob(filepath.Join(dir, "agentdojo", "*.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	var before []byte
	for range 2 {
		var out, problems bytes.Buffer
		if code := execute(t.Context(), append([]string{"rules", "eval", "--sample", "50", "--labels", labels, "-o", "json"}, files...), strings.NewReader(""), &out, &problems); code != 0 {
			t.Fatalf("exit code %d: %s", code, problems.Bytes())
		}
		if before != nil && !bytes.Equal(before, out.Bytes()) {
			t.Error("the second time other figures")
		}
		before = out.Bytes()
	}
	checkScores(t, before)
}

type share struct{ Part, Of int }

// checkScores holds the scores to each other: all are about the same runs, and several rules stop what one of them stops.
func checkScores(t *testing.T, out []byte) {
	t.Helper()
	var result struct {
		Runs   int
		Bad    int
		Scores []struct {
			Name      string
			InTime    share `json:"attacks_in_time"`
			Unplaced  share `json:"attacks_without_listed_call"`
			Failed    share `json:"attacks_failed"`
			Benign    share `json:"benign_contained"`
			Unlabeled share `json:"background_contained"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatal(err)
	}
	pack := result.Scores[len(result.Scores)-1]
	if total := pack.InTime.Of + pack.Unplaced.Of + pack.Failed.Of + pack.Benign.Of + pack.Unlabeled.Of; total != result.Runs || total < 100 || result.Bad != 0 {
		t.Errorf("%d runs, %d of them scored, %d bad", result.Runs, total, result.Bad)
	}
	if pack.Unlabeled.Of != 0 || pack.InTime.Of == 0 || pack.Benign.Of == 0 {
		t.Errorf("labels do not fit the runs: %+v", pack)
	}
	for _, s := range result.Scores {
		if s.InTime.Of != pack.InTime.Of || s.InTime.Part > pack.InTime.Part || s.Benign.Of != pack.Benign.Of || s.Benign.Part > pack.Benign.Part {
			t.Errorf("%+v does not fit the pack's %+v", s, pack)
		}
	}
}
