package main

import (
	"strings"
	"testing"
	"time"
)

// TestTimes is of what people give as bounds. One that 64 bits cannot hold would be another one, and 0 would be none.
func TestTimes(t *testing.T) {
	now := time.Now()
	tests := map[string]struct {
		want time.Time
		err  string
	}{
		"2026-01-31":                     {want: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
		"2026-01-31T12:00:00":            {want: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
		"2026-01-31 12:00:00":            {want: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
		"2026-01-31T12:00:00.5+02:00":    {want: time.Date(2026, 1, 31, 10, 0, 0, 5e8, time.UTC)},
		"24h":                            {want: now.Add(-24 * time.Hour)},
		"7d":                             {want: now.Add(-7 * 24 * time.Hour)},
		"1970-01-01T00:00:00.000000001Z": {want: time.Unix(0, 1)},
		"2262-04-11":                     {want: time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC)},
		"1970-01-01":                     {err: "is not between"},
		"1600-01-01":                     {err: "is not between"},
		"2262-04-12":                     {err: "is not between"},
		"9999-01-01":                     {err: "is not between"},
		"32767d":                         {err: "is not between"},
		"32768d":                         {err: "is not a date"},
		"0d":                             {err: "is not a date"},
		"-5h":                            {err: "is not a date"},
		"2026-02-30":                     {err: "is not a date"},
		"yesterday":                      {err: "is not a date"},
	}
	for s, test := range tests {
		t.Run(s, func(t *testing.T) {
			got, err := parseTime(s)
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%v, %v, want %s", got, err, test.err)
			case test.err == "" && (err != nil || time.Unix(0, got).Sub(test.want).Abs() > time.Minute):
				t.Errorf("%v, %v, want %v", time.Unix(0, got), err, test.want)
			}
		})
	}
	if ahead, err := parseAhead("90d"); err != nil || time.Unix(0, ahead).Before(now.Add(89*24*time.Hour)) {
		t.Errorf("90d ahead: %v, %v", time.Unix(0, ahead), err)
	}
}
