package report

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	var r Report
	r.Ratio("faster", []float64{100, 200, 100}, []float64{50, 80, 40}, "events/s", AtLeast, 0.4, "")
	r.Ratio("slower", []float64{100}, []float64{39, 39.9, 41}, "events/s", AtLeast, 0.4, "")
	r.Absolute("small", []float64{3}, "s", AtMost, 3, "")
	r.Ratio("of nothing", nil, []float64{1}, "events/s", AtLeast, 0.4, "")
	r.Absolute("none", nil, "s", AtMost, 3, "")
	r.Missing("gone", errors.New("no such command"))
	r.Record("fsync", []float64{1.5}, "ms", "")
	want := []Verdict{Met, NotMet, Met, NotMet, NotMet, NotMet, Recorded}
	for i, row := range r.Rows {
		if row.Verdict != want[i] {
			t.Errorf("%s: %s, want %s", row.What, row.Verdict, want[i])
		}
	}
	if r.Rows[0].Ratio != 0.4 {
		t.Errorf("ratio %v", r.Rows[0].Ratio)
	}
	if r.Met() {
		t.Error("met")
	}
	var text strings.Builder
	r.WriteTable(&text)
	for _, part := range []string{"NOT MET", "ratio ≥ 0.40", "not measured: no such command"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("no %q in\n%s", part, text.String())
		}
	}
	if err := r.WriteJSON(t.TempDir() + "/r.json"); err != nil {
		t.Error(err)
	}
}

func TestStatistics(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{50: 3, 99: 5, 1: 1, 20: 1, 21: 2} {
		if got := Percentile(values, p); got != want {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if Median(values) != 3 || Median([]float64{1, 2}) != 1.5 || !math.IsNaN(Median(nil)) || !math.IsNaN(Percentile(nil, 9)) {
		t.Error("median")
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.4: "0.40", 3: "3", 12.34: "12.3", 150000: "150,000", 1234567: "1,234,567", 999: "999", 1.5: "1.50"} {
		if got := figure(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}
