// Package report collects what a benchmark measured, holds it to its bounds, and shows it.
//
// A bound is on a ratio to a limit that was measured in the same run on the same machine, so that a slow disk or a busy
// neighbour makes both smaller. Absolute figures are recorded beside it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Verdict says whether a bound is met.
type Verdict string

// The verdicts. What could not be measured is not met.
const (
	Met      Verdict = "met"
	NotMet   Verdict = "NOT MET"
	Recorded Verdict = "recorded" // there is no bound
)

// Sense says which side of a bound is good.
type Sense uint8

// The senses.
const (
	AtLeast Sense = iota
	AtMost
)

// Row is one line of the result.
type Row struct {
	What     string  `json:"what"`
	Limit    float64 `json:"limit,omitempty"` // what was measured beside it, in Unit
	Measured float64 `json:"measured"`        // median, in Unit
	Unit     string  `json:"unit"`            // of Limit and Measured: "events/s", "ms", "MiB", …
	Ratio    float64 `json:"ratio,omitempty"` // median of Measured / Limit round by round
	Bound    string  `json:"bound,omitempty"` // "ratio ≥ 0.40", "≤ 3 s"
	Verdict  Verdict `json:"verdict"`
	Note     string  `json:"note,omitempty"`
}

// Report is a whole run.
type Report struct {
	Began   time.Time `json:"began"`
	Machine Machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Short   bool      `json:"short"`
	Rows    []Row     `json:"rows"`
}

// Record adds a figure without a bound.
func (r *Report) Record(what string, values []float64, unit, note string) {
	r.Rows = append(r.Rows, Row{What: what, Measured: Median(values), Unit: unit, Verdict: Recorded, Note: note})
}

// Ratio adds a figure whose ratio to a limit is bound. Both have one value a round.
func (r *Report) Ratio(what string, limits, values []float64, unit string, sense Sense, bound float64, note string) {
	if len(limits) == 0 {
		r.Missing(what, errors.New("its limit has no figure"))
		return
	}
	ratios := make([]float64, 0, len(values))
	for i, v := range values {
		ratios = append(ratios, v/limits[min(i, len(limits)-1)])
	}
	ratio := Median(ratios)
	r.Rows = append(r.Rows, Row{
		What: what, Limit: Median(limits), Measured: Median(values), Unit: unit, Ratio: ratio,
		Bound: "ratio " + sense.show(bound), Verdict: sense.judge(ratio, bound), Note: note,
	})
}

// Absolute adds a figure that is bound itself.
func (r *Report) Absolute(what string, values []float64, unit string, sense Sense, bound float64, note string) {
	measured := Median(values)
	r.Rows = append(r.Rows, Row{
		What: what, Measured: measured, Unit: unit, Bound: sense.show(bound) + " " + unit, Verdict: sense.judge(measured, bound), Note: note,
	})
}

// Missing adds a bound that could not be measured, and why.
func (r *Report) Missing(what string, err error) {
	r.Rows = append(r.Rows, Row{What: what, Verdict: NotMet, Note: "not measured: " + err.Error()})
}

// Met says whether every bound is met.
func (r *Report) Met() bool {
	return !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Verdict == NotMet })
}

func (s Sense) show(bound float64) string {
	if s == AtMost {
		return "≤ " + figure(bound)
	}
	return "≥ " + figure(bound)
}

func (s Sense) judge(value, bound float64) Verdict {
	if s == AtLeast && value >= bound || s == AtMost && value <= bound {
		return Met
	}
	return NotMet // also for NaN
}

// Median is the middle value, the mean of both middle values of an even number, NaN of none.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Percentile is the smallest value that is not below p percent of the values (nearest rank), NaN of none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// WriteTable shows the report to a person.
func (r *Report) WriteTable(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"what", "limit measured", "measured", "unit", "ratio", "bound", "verdict", "note"})
	for _, row := range r.Rows {
		t.AppendRow(table.Row{row.What, blankZero(row.Limit), figure(row.Measured), row.Unit, blankZero(row.Ratio), row.Bound, string(row.Verdict), row.Note})
	}
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, Align: text.AlignRight},
		{Number: 3, Align: text.AlignRight},
		{Number: 5, Align: text.AlignRight},
		{Number: 8, WidthMax: 70},
	})
	t.Render()
}

// WriteJSON writes the report to a file.
func (r *Report) WriteJSON(path string) error {
	clean := *r
	clean.Rows = slices.Clone(r.Rows)
	for i := range clean.Rows {
		for _, v := range []*float64{&clean.Rows[i].Limit, &clean.Rows[i].Measured, &clean.Rows[i].Ratio} {
			if math.IsNaN(*v) || math.IsInf(*v, 0) {
				*v = 0 // JSON has no such number; the verdict and the note say what is wrong
			}
		}
	}
	b, err := json.MarshalIndent(clean, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

func blankZero(v float64) string {
	if v == 0 {
		return ""
	}
	return figure(v)
}

// figure shows three significant digits, and large numbers in groups of three.
func figure(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case v == math.Trunc(v) && abs < 1000:
		return fmt.Sprintf("%.0f", v)
	case abs < 10:
		return fmt.Sprintf("%.2f", v)
	case abs < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), ",")
}
